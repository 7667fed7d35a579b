"""Jobs on a real Ray cluster: they come back as from a process pool, whoever dies; and what is said without a cluster.

Those that need Ray (`pip install ray`, or `make test-cluster`) are skipped without it.
"""

from __future__ import annotations

import os
import pickle
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path

import psutil
import pytest

from reconstruction.errors import ClusterError, InputError, MissingToolError, UsageError
from simulation import cluster as cluster_module
from simulation import cluster_node
from simulation.cluster import RAY, ClusterExecutor, checked_address, cluster_pool
from simulation.cluster_node import CODE, PACKAGES, Stored, likeness, perform
from tests.cluster_jobs import (
    Counted,
    beat,
    die,
    die_once,
    fail,
    sizes,
    stubborn,
    threads,
    total,
    unreadable,
    where,
    where_with_much,
)
from tests.ray_cluster import HAS_RAY, RayCluster, eventually, needs_ray, ray_cluster

# ------------------------------------------------------------------------------------------------------ without Ray


@pytest.mark.parametrize(
    "address",
    ["", "here", "local", "127.0.0.1", "ray://10.0.0.1:10001", "http://10.0.0.1:6379", "head:port", "head:6379/x",
     "a b:6379", ":6379", "head:123456", "::1:6379"],
)  # fmt: skip
def test_what_is_no_address_of_a_cluster_is_refused(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        checked_address(address)
    assert caught.value.remedy


def test_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    for address in ("auto", "head:6379", "10.0.0.1:6379", "[::1]:6379"):
        assert checked_address(address) == address
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert checked_address("auto") == "10.0.0.1:6379"
    assert checked_address("head:6379") == "head:6379"
    monkeypatch.setenv("RAY_ADDRESS", "ray://10.0.0.1:10001")
    with pytest.raises(UsageError, match="client"):
        checked_address("auto")


def test_the_extra_is_of_the_same_ray() -> None:
    assert f'\ncluster = ["{RAY}"]\n' in (PACKAGES / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed here")
def test_without_ray_the_command_that_installs_it_is_named() -> None:
    with pytest.raises(MissingToolError) as caught:
        ClusterExecutor("127.0.0.1:6379")
    assert caught.value.remedy == f'{sys.executable} -m pip install "{RAY}"'


def test_a_job_as_a_node_does_it() -> None:
    here = likeness()
    job = pickle.dumps((total, [Stored(0), 3], {"times": 2}))
    kind, said = perform(here, job, [pickle.dumps(Counted(5))])
    assert kind == "done"
    assert pickle.loads(said) == 16.0  # type: ignore[arg-type]
    kind, said = perform(here, pickle.dumps((fail, [InputError("bad", remedy="mend", code="c")], {})), ())
    error = cluster_module._error_of(kind, said)
    assert isinstance(error, InputError)
    assert (error.message, error.remedy, error.code) == ("bad", "mend", "c")
    assert "in fail" in str(error.__cause__)
    error = cluster_module._error_of(*perform(here, pickle.dumps((stubborn, [], {})), ()))
    assert repr(error) == repr(RuntimeError("StubbornError: it broke"))


def test_a_node_with_other_code_or_packages_does_nothing() -> None:
    here = likeness()
    job = pickle.dumps((fail, [AssertionError("it was done all the same")], {}))
    kind, said = perform({**here, "numpy": "1.0", "glue": "2"}, job, ())
    assert kind == "unlike"
    assert f"numpy is {here['numpy']} there, 1.0 here; glue is None there, 2 here" in str(said)
    error = cluster_module._error_of(kind, said)
    assert isinstance(error, ClusterError)
    assert error.code == "cluster_mismatch"


def test_likeness_is_of_every_file_of_the_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_node, "PACKAGES", tmp_path)
    fresh = likeness.__wrapped__
    file = tmp_path / "simulation" / "deep" / "code.py"
    file.parent.mkdir(parents=True)
    seen = [fresh()]
    file.write_text("a = 1", encoding="utf-8")
    seen.append(fresh())
    file.write_text("a = 2", encoding="utf-8")
    seen.append(fresh())
    file.rename(file.with_name("other.py"))
    seen.append(fresh())
    assert len({found["Pocketworld's code"] for found in seen}) == 4
    (tmp_path / "simulation" / "code.pyc").touch()
    assert fresh() == seen[-1]


# --------------------------------------------------------------------------------------------------------- with Ray


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two nodes that everybody leaves as it is."""
    with ray_cluster(1, 1) as (cluster, _):
        yield cluster.address


@needs_ray
def test_results_in_order_and_errors_as_themselves(address: str) -> None:
    with cluster_pool(address) as pool:
        assert pool.slots == 2
        results = list(pool.map(where, range(40)))
        assert [number for number, _ in results] == list(range(40))
        assert os.getpid() not in {pid for _, pid in results}
        wrong = pool.submit(fail, InputError("bad", remedy="mend", code="c"))
        with pytest.raises(InputError) as caught:
            wrong.result(60)
        assert (caught.value.message, caught.value.remedy, caught.value.code) == ("bad", "mend", "c")
        assert "in fail" in str(caught.value.__cause__)
        with pytest.raises(KeyError, match="x"):
            pool.submit(fail, KeyError("x")).result(60)
        with pytest.raises(RuntimeError, match="StubbornError: it broke"):
            pool.submit(stubborn).result(60)
        with pytest.raises((AttributeError, pickle.PicklingError)):
            pool.submit(unreadable).result(60)
        with pytest.raises((AttributeError, pickle.PicklingError)):
            pool.submit(lambda: 0)
        assert pool.submit(where, 1).result(60)[0] == 1
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit(where, 1)


@needs_ray
def test_a_job_has_one_thread(address: str) -> None:
    with cluster_pool(address) as pool:
        assert pool.submit(threads).result(60) == (0, "1")


@needs_ray
def test_a_large_argument_is_sent_once_and_a_large_result_comes_back(address: str) -> None:
    many = [Counted(20_000) for _ in range(12)]
    with cluster_pool(address) as pool:
        sums = list(pool.map(total, [many[0]] * 20, range(20)))
        assert sums == [20_000 + more for more in range(20)]
        assert many[0].pickled == 1
        assert [pool.submit(total, values, 0, times=2) for values in many][-1].result(60) == 40_000
        assert pool.submit(total, many[0], 1).result(60) == 20_001  # it had to make room for others
        all_at_once = [Counted(20_000) for _ in range(12)]
        assert pool.submit(sizes, *all_at_once).result(60) == [20_000] * 12
        assert pool.submit(where_with_much, 7, 0.0).result(60)[2] == bytes([7]) * 300_000


@needs_ray
def test_a_job_whose_process_dies_is_done_again_but_not_for_ever(address: str, tmp_path: Path) -> None:
    pool = ClusterExecutor(address, retries=1)
    try:
        assert pool.submit(die_once, tmp_path / "mark").result(60) == "alive"
        with pytest.raises(ClusterError) as caught:
            pool.submit(die).result(60)
        assert caught.value.code == "job_lost"
        assert pool.submit(where, 1).result(60)[0] == 1
    finally:
        pool.shutdown(cancel_futures=True)


@needs_ray
def test_what_is_cancelled_stops(address: str, tmp_path: Path) -> None:
    marks = [tmp_path / str(number) for number in range(3)]
    with cluster_pool(address) as pool:
        beating = [pool.submit(beat, mark) for mark in marks]
        eventually(lambda: sum(mark.exists() for mark in marks) == 2, 60)
        first = next(number for number, mark in enumerate(marks) if mark.exists())
        assert beating[first].cancel()
        assert wait(beating, timeout=0).done == {beating[first]}
        eventually(lambda: all(mark.exists() for mark in marks), 60)  # there is room for the third
        before = marks[first].read_text(encoding="utf-8")
        left = time.monotonic()
    assert time.monotonic() - left < 10
    assert wait(beating, timeout=0).not_done == set()
    assert marks[first].read_text(encoding="utf-8") == before
    time.sleep(3)
    last = [mark.read_text(encoding="utf-8") for mark in marks]
    time.sleep(1)
    assert [mark.read_text(encoding="utf-8") for mark in marks] == last


@needs_ray
def test_leaving_waits_for_what_is_not_cancelled(address: str) -> None:
    pool = ClusterExecutor(address)
    jobs = [pool.submit(where, number, 0.5) for number in range(6)]
    pool.shutdown(wait=False)
    assert not all(job.done() for job in jobs)
    assert [job.result(60)[0] for job in jobs] == list(range(6))


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("size", ["small", "large"])
def test_a_node_that_is_killed_loses_nothing(size: str) -> None:
    with ray_cluster(1, 1) as (cluster, (_, second)), cluster_pool(cluster.address) as pool:
        count = 40
        job = where if size == "small" else where_with_much
        jobs: list[Future[tuple[int, ...]]] = [pool.submit(job, number, 0.3) for number in range(count)]
        eventually(lambda: sum(job.done() for job in jobs) >= 6 and bool(second.busy()), 60)
        killed = second.pids()
        second.kill()
        assert sum(job.done() for job in jobs) < count - 6
        results = [job.result(120) for job in jobs]
        assert [result[0] for result in results] == list(range(count))
        assert {result[1] for result in results} & killed, "nothing was ever done on the node"
        assert len({result[1] for result in results} - killed) >= 1
        if size == "large":
            assert all(result[2] == bytes([result[0]]) * 300_000 for result in results)  # type: ignore[misc]
        cluster.add()  # and one that comes later helps
        pids: set[int] = set()
        eventually(lambda: len(pids) == 2 or pids.update(pid for _, pid in pool.map(where, range(9), [0.2] * 9)), 60)


@needs_ray
@pytest.mark.slow
def test_jobs_do_not_wait_for_ever_for_a_node() -> None:
    with ray_cluster(0, 1) as (cluster, (_, second)):
        pool = ClusterExecutor(cluster.address, nodeless_s=3)
        try:
            assert pool.submit(where, 1).result(60)[0] == 1
            job = pool.submit(where, 2, 60.0)
            eventually(lambda: bool(second.busy()), 60)
            second.kill()
            with pytest.raises(ClusterError, match="no CPU to work on") as caught:
                job.result(90)
            assert caught.value.code == "cluster_lost"
            with pytest.raises(ClusterError):
                pool.submit(where, 1)
        finally:
            pool.shutdown(cancel_futures=True)
        with pytest.raises(ClusterError, match="no CPUs") as caught:
            ClusterExecutor(cluster.address)
        assert caught.value.code == "no_cluster"


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["head", "raylet"])
def test_a_cluster_that_is_gone_is_an_error_not_the_end_of_this_process(
    victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_gcs_rpc_server_reconnect_timeout_s", "5")
    with ray_cluster(1) as (cluster, (head,)), cluster_pool(cluster.address) as pool:
        job = pool.submit(where, 1, 100.0)
        eventually(lambda: bool(head.busy()), 60)
        if victim == "head":
            head.kill()
        else:
            raylet = next(pid for pid in head.pids() if psutil.Process(pid).name() == "raylet")
            os.kill(raylet, 9)
        with pytest.raises(ClusterError) as caught:
            job.result(120)
        assert caught.value.code == "cluster_lost"
        assert caught.value.remedy


@needs_ray
@pytest.mark.slow
def test_a_node_with_another_pocketworld_or_none_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other, broken = tmp_path / "other", tmp_path / "broken"
    for package in CODE:
        shutil.copytree(PACKAGES / package, other / package, ignore=shutil.ignore_patterns("*.zip", "__pycache__"))
    (broken / "simulation").mkdir(parents=True)
    (broken / "simulation" / "__init__.py").write_text("raise ImportError('no such thing')", encoding="utf-8")
    monkeypatch.setattr(cluster_module, "_checkout", lambda: None)
    for folder, said in ((other, "Pocketworld's code is"), (broken, "Pocketworld is not installed")):
        with pytest.MonkeyPatch.context() as patch, RayCluster() as cluster:
            patch.setenv("RAY_AUTH_MODE", "disabled")
            cluster.add(env={"PYTHONPATH": str(folder)})
            with cluster_pool(cluster.address) as pool, pytest.raises(ClusterError, match=said) as caught:
                pool.submit(where, 1).result(60)
            assert caught.value.code == "cluster_mismatch"
            assert socket.gethostname() in caught.value.message


@needs_ray
def test_another_version_of_ray_is_named() -> None:
    with ray_cluster(1) as (cluster, _):
        # The head says that it is of another version.
        pretend = (
            "import json, sys; from ray._raylet import GcsClient; client = GcsClient(address=sys.argv[1]); "
            "space = b'cluster'; key = b'CLUSTER_METADATA'; found = json.loads(client.internal_kv_get(key, space)); "
            "found['ray_version'] = '2.1.9'; client.internal_kv_put(key, json.dumps(found).encode(), True, space)"
        )
        subprocess.run([sys.executable, "-c", pretend, cluster.address], check=True, capture_output=True, timeout=60)
        with pytest.raises(ClusterError, match=r"2\.1\.9") as caught:
            ClusterExecutor(cluster.address)
        assert caught.value.code == "cluster_mismatch"
        assert "Traceback" not in caught.value.message


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:6379", "127.0.0.1:99999"])
def test_no_cluster_is_said_at_once(address: str) -> None:
    started = time.monotonic()
    with pytest.raises(ClusterError) as caught:
        ClusterExecutor(address)
    assert caught.value.code == "no_cluster"
    assert address in caught.value.message
    assert "Errno" not in caught.value.message
    assert time.monotonic() - started < 10


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("wait_s", [3.0, 20.0])
def test_who_listens_but_is_no_cluster_is_not_waited_for_long(wait_s: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        address = f"127.0.0.1:{deaf.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(ClusterError) as caught:
            ClusterExecutor(address, wait_s=wait_s)
        assert caught.value.code == "no_cluster"
        assert time.monotonic() - started < wait_s + 8
    eventually(lambda: not [thread for thread in threading.enumerate() if thread.name == "ray"], 10)


@needs_ray
def test_auto_is_what_the_environment_says(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with cluster_pool("auto") as pool:
        assert pool.submit(where, 5).result(60)[0] == 5
