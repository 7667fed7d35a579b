"""What goes to the robot: it stands alone, reads only what is whole, keeps time, and stops when it should."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from policies.deploy.bundle import JOINTS, Bundle, BundleError, sha256
from policies.deploy.decisions import Decisions
from policies.deploy.keys import any_key
from policies.deploy.loop import DOUBTED, KEY, TIME_OVER, drive
from policies.deploy.main import dry_robot
from policies.deploy.robot import DryRun, Reading
from policies.export import check_parity, trials_of
from reconstruction.errors import OutputError
from simulation.privileged import BOX, COLUMN
from tests import bundles


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_bundle(tmp_path_factory.mktemp("bundle") / "für den Arm")


@pytest.fixture(scope="module")
def bundle(folder: Path) -> Bundle:
    return Bundle(folder)


@pytest.fixture(scope="module")
def doubting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_bundle(tmp_path_factory.mktemp("bundle") / "doubting", limit_m=0.01)


def test_the_exported_network_does_what_the_policy_does(bundle: Bundle) -> None:
    model, seen = bundles.model(), bundles.seen()
    chunk = bundle.decide({name: values[3] for name, values in seen.items()}).poses
    with torch.inference_mode():
        told = {name: torch.from_numpy(values[3:4]) for name, values in seen.items()}
        wanted = model.act(told, torch.zeros(1, 16, 10)).numpy()[0]
    assert np.abs(chunk - wanted).max() < 1e-5
    assert np.abs(wanted).max() > 0.01


def test_a_network_that_does_something_else_is_not_exported(bundle: Bundle, tmp_path: Path) -> None:
    other = bundles.model()
    with torch.no_grad():
        other.action_out.bias += 1e-3
    with pytest.raises(OutputError, match="differs from the policy"):
        check_parity(bundle.network, other, trials_of(bundles.seen(), 16, count=2), 4)
    with torch.no_grad():
        other.action_out.bias.fill_(float("nan"))
    with pytest.raises(OutputError, match="differs from the policy"):
        bundles.make_bundle(tmp_path / "none", other)
    assert list(tmp_path.iterdir()) == []  # nothing half done


def test_the_exported_network_dreams_what_the_policy_dreams(doubting: Path) -> None:
    model, seen = bundles.model(), bundles.seen()
    found = Bundle(doubting).decide({name: values[3] for name, values in seen.items()})
    with torch.inference_mode():
        told = {name: torch.from_numpy(values[3:4]) for name, values in seen.items()}
        poses, dream = model.foresee(told, torch.zeros(1, 16, 10), torch.zeros(1, 3, model.foretold))
        assert torch.allclose(poses, model.act(told, torch.zeros(1, 16, 10)), atol=1e-5)
    assert found.places is not None
    assert found.dream is not None
    assert np.abs(found.dream - dream.numpy()[0]).max() < 1e-4
    assert np.allclose(found.places[1:], seen[COLUMN][3].reshape(2, BOX)[:, :3], atol=1e-6)
    states = seen[JOINTS][3, 1].astype(float)
    assert np.allclose(found.places[0], Bundle(doubting).manifest.chain.tool(states[None, :-1])[0, :3, 3], atol=1e-4)


def test_an_arm_whose_dreams_do_not_come_true_is_stopped(doubting: Path, bundle: Bundle) -> None:
    """A network that has learnt nothing foretells what does not come."""
    knowing = Bundle(doubting)
    meter: list[float] = []
    report = drive(knowing, Arm(knowing), 8.0, fast=True, trusted=meter.append)
    assert (report.stopped, report.fault) == (DOUBTED, False)
    assert 20 < len(meter) <= report.ticks  # from the first dream on, at each tick
    assert all(0.0 < trust <= 1.0 for trust in meter)
    assert len(set(meter)) > 3
    assert 30 < report.ticks < 80  # the first time that it can have been wrong for a while, or later
    assert report.trust is not None
    assert report.trust < 0.5
    blind = drive(knowing, Arm(knowing), 8.0, fast=True, heed=False)
    assert (blind.stopped, blind.ticks) == (TIME_OVER, 80)
    assert blind.trust is not None
    assert blind.trust <= report.trust
    assert drive(bundle, Arm(bundle), 2.0, fast=True).trust is None  # of an older bundle nothing is known


ALONE = """
import runpy, sys
class Alone:
    def find_spec(self, name, path=None, target=None):
        allowed = name.split(".")[0] not in BANNED and name not in ("policies.model", "simulation.kinematics")
        if not allowed:
            raise AssertionError(f"the runner imports {name}")
BANNED = {"app", "reconstruction", "torch", "scipy", "cv2", "onnx", "pybullet", "safetensors", "resources"}
sys.meta_path.insert(0, Alone())
sys.argv = [FOLDER, "--fast", "--seconds", "3"]
try:
    runpy.run_path(FOLDER, run_name="__main__")
finally:
    import policies
    assert policies.__file__.startswith(FOLDER), policies.__file__
    known = {name.split(".")[0] for name in sys.modules if "site-packages" in str(getattr(sys.modules[name], "__file__", ""))}
    sys.stderr.write(" ".join(sorted(known)))
"""  # noqa: E501


def test_the_runner_needs_numpy_and_onnx_runtime_alone(folder: Path, tmp_path: Path) -> None:
    runner = str(folder / "runner")
    code = ALONE.replace("FOLDER", repr(runner))
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV"))}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=plain, capture_output=True, text=True, check=False)  # fmt: skip  # noqa: E501
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["ticks"] == 30
    assert said["stopped"] == TIME_OVER
    foreign = {name for name in done.stderr.split() if not name.startswith(("_", "numpy", "onnxruntime"))}
    assert not foreign & {"torch", "scipy", "pandas", "pyarrow", "tyro", "rich"}


def damaged(folder: Path, place: Path) -> Path:
    shutil.copytree(folder, place / "copy")
    return place / "copy"


def cut(name: str, to: int) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:to])


def cut_and_hashed(name: str, to: int) -> Callable[[Path], None]:
    def work(folder: Path) -> None:
        cut(name, to)(folder)
        files = json.loads((folder / "manifest.json").read_text())["files"]
        files[name] = sha256((folder / name).read_bytes())
        bundles.change(folder, "files", to=files)

    return work


def pickled(folder: Path) -> None:
    arrays = {JOINTS: np.array([{"a": 1}], dtype=object), COLUMN: np.zeros((1, 2 * BOX))}
    np.savez(folder / "sample.npz", **arrays, allow_pickle=True)  # type: ignore[arg-type]
    cut_and_hashed("sample.npz", 1 << 30)(folder)


def told(*keys: str, to: Any) -> Callable[[Path], None]:
    return lambda folder: bundles.change(folder, *keys, to=to)


HARM: dict[str, tuple[Callable[[Path], Any], str]] = {
    "gone": (lambda folder: (folder / "policy.onnx").unlink(), "is missing"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "cannot be read"),
    "cut manifest": (cut("manifest.json", 500), "no JSON"),
    "cut network": (cut("policy.onnx", 1000), "SHA-256"),
    "cut runner": (cut("runner/policies/deploy/guard.py", 10), "SHA-256"),
    "network of rubbish": (cut_and_hashed("policy.onnx", 1000), "no readable network"),
    "empty network": (cut_and_hashed("policy.onnx", 0), "no readable network"),
    "sample of rubbish": (cut_and_hashed("sample.npz", 100), "sample.npz"),
    "pickle": (pickled, "damaged"),
    "path": (told("files", "../x", to=""), "outside"),
    "format": (told("format", to="tea"), "no bundle"),
    "version": (told("version", to=99), "version 99"),
    "no files": (told("files", to={}), "does not name"),
    "nan limits": (told("guard", "speed", to=[float("nan")] * 7), "numbers"),
    "limits": (told("robot", "low", to=[9.0] * 7), "no room"),
    "joints": (told("robot", "joints", to=["one"]), "damaged"),
    "no guard": (told("guard", to=None), "damaged"),
    "workspace": (told("guard", "workspace", to={"low": [0, 0, 1], "high": [1, 1, 0]}), "workspace"),
    "chain": (told("robot", "chain", "axes", to=[[0, 0, 2]] * 7), "rigid"),
    "rate": (told("rate_hz", to=0), "number"),
    "stale": (told("guard", "stale_s", to=1e9), "number"),
    "shape": (told("policy", "inputs", COLUMN, "shape", to=[1, 25]), "sample.npz"),
    "huge shape": (told("policy", "inputs", COLUMN, "shape", to=[1] + [1 << 20] * 4), "shape"),
    "length": (told("policy", "length", to=9), "not the network"),
    "execute": (told("policy", "execute", to=16), "shorter"),
    "trust": (told("trust", to={"horizons": [4, 8, 16], "limit_m": float("nan")}), "no limit"),
    "trust in what": (told("trust", to={"horizons": [8, 4], "limit_m": 0.1}), "its dreams"),
    "trust in others": (told("trust", to={"horizons": [4, 8], "limit_m": 0.1}), "not the network"),
}


@pytest.mark.parametrize("harm", HARM)
def test_damaged_bundles_are_refused(folder: Path, tmp_path: Path, harm: str) -> None:
    place = damaged(folder, tmp_path)
    work, why = HARM[harm]
    work(place)
    with pytest.raises(BundleError, match=why):
        Bundle(place)


class Arm(DryRun):
    """A dry run that can be harmed at some tick."""

    def __init__(self, bundle: Bundle, harm: Callable[[Arm, Reading], Reading] | None = None, at: int = 12) -> None:
        seen = {COLUMN: bundle.sample[COLUMN]}
        super().__init__(np.array(bundle.manifest.home), seen, time.monotonic)
        self.harm, self.at, self.told, self.stopped = harm, at, [np.array(bundle.manifest.home)], 0

    def read(self) -> Reading:
        reading = super().read()
        return self.harm(self, reading) if self.harm and len(self.told) > self.at else reading

    def act(self, command: np.ndarray) -> None:
        self.told.append(np.array(command))
        super().act(command)

    def stop(self) -> None:
        self.stopped += 1


def lost(arm: Arm, reading: Reading) -> Reading:
    raise ConnectionResetError("cable")


def aged(name: str) -> Callable[[Arm, Reading], Reading]:
    return lambda arm, r: Reading(r.positions, {**r.measured_s, name: time.monotonic() - 1.0}, r.seen)


FAULTS: dict[str, tuple[Callable[[Arm, Reading], Reading], str]] = {
    "stale joints": (aged("joints"), "stale data: joints"),
    "stale camera": (aged(COLUMN), f"stale data: {COLUMN}"),
    "no time": (lambda arm, r: Reading(r.positions, {**r.measured_s, "joints": float("nan")}, r.seen), "stale"),
    "nan joints": (lambda arm, r: Reading(r.positions * np.nan, r.measured_s, r.seen), "make no sense"),
    "fewer joints": (lambda arm, r: Reading(r.positions[:3], r.measured_s, r.seen), "make no sense"),
    "blind": (lambda arm, r: Reading(r.positions, r.measured_s, {}), "does not measure"),
    "other picture": (lambda arm, r: Reading(r.positions, r.measured_s, {COLUMN: np.zeros(3)}), "the policy failed"),
    "lost": (lost, "the connection is lost: cable"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_stop_the_arm(bundle: Bundle, fault: str) -> None:
    harm, why = FAULTS[fault]
    arm = Arm(bundle, harm)
    report = drive(bundle, arm, 5.0, fast=True)
    assert why in report.stopped
    assert report.fault
    assert report.ticks < 25
    assert arm.stopped == 1
    pace = np.diff(np.array(arm.told), axis=0)[:, :-1]
    assert np.abs(pace).max() > 1e-3  # it did move
    change = np.abs(np.diff(pace, axis=0))
    assert (change <= bundle.manifest.limits.acceleration / 100 + 1e-9).all()
    if fault != "lost":
        assert not pace[-1].any() or np.abs(pace[-1]).max() <= (bundle.manifest.limits.acceleration / 100).max()


def test_ctrl_c_brings_it_to_rest_first(bundle: Bundle) -> None:
    def interrupted(arm: Arm, reading: Reading) -> Reading:
        raise KeyboardInterrupt

    arm = Arm(bundle, interrupted, at=10)
    with pytest.raises(KeyboardInterrupt):
        drive(bundle, arm, 5.0, fast=True)
    pace, slower = np.abs(np.diff(np.array(arm.told), axis=0))[:, :-1], bundle.manifest.limits.acceleration / 100
    assert (pace[8] > 1.5 * slower).any()  # too fast to stop within a tick
    assert (pace[-1] <= slower + 1e-9).all()
    assert len(arm.told) > 11
    assert arm.stopped == 1


def test_an_arm_that_is_elsewhere_does_not_begin(bundle: Bundle) -> None:
    arm = Arm(bundle)
    arm._positions[0] += 2.5
    report = drive(bundle, arm, 5.0, fast=True)
    assert "outside of its workspace" in report.stopped
    assert len(arm.told) == 1
    assert arm.stopped == 1


def test_a_key_stops_it_and_the_time_does(bundle: Bundle) -> None:
    presses = iter([False] * 7 + [True] * 100)
    report = drive(bundle, Arm(bundle), 5.0, fast=True, pressed=lambda: next(presses))
    assert (report.stopped, report.ticks, report.fault) == (KEY, 7, False)
    report = drive(bundle, Arm(bundle), 2.0, fast=True)
    assert (report.stopped, report.ticks, report.fault) == (TIME_OVER, 20, False)


def test_keys_of_a_terminal_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    with open(slave) as terminal:  # noqa: PTH123 - a descriptor
        monkeypatch.setattr(sys, "stdin", terminal)
        with any_key() as pressed:
            assert not pressed()
            os.write(master, b" ")
            limit = time.monotonic() + 5
            while not pressed() and time.monotonic() < limit:
                time.sleep(0.01)
            assert pressed()
    os.close(master)


def test_fast_runs_are_the_same_every_time(bundle: Bundle) -> None:
    runs = []
    for _ in range(2):
        arm = Arm(bundle)
        drive(bundle, arm, 3.0, fast=True)
        runs.append(np.array(arm.told))
    assert np.array_equal(*runs)


def test_actions_are_done_at_the_tick_that_they_are_for() -> None:
    """Chunk c of tick t holds 100 t + index: what is done at tick n says which decision it came from."""
    decide = lambda seen: 100.0 * seen["tick"] + np.arange(16.0)[:, None]  # noqa: E731
    for lead in (0, 1, 3):
        with Decisions(decide, 8, lead, threaded=False) as decisions:
            done = [decisions.action(n, lambda n=n: {"tick": n}) for n in range(30)]
        for n, action in enumerate(done):
            if n < lead:
                assert action is None
                continue
            asked = (n - lead) // 8 * 8
            assert action is not None
            assert action[0] == 100.0 * asked + (n - asked)


def test_slow_decisions_never_make_the_arm_wait() -> None:
    gate = threading.Event()

    def decide(seen: Any) -> np.ndarray:
        if seen["tick"] > 0:
            gate.wait(20)
        return np.full((12, 1), float(seen["tick"]))

    with Decisions(decide, 8, 1, threaded=True) as decisions:
        first = decisions.action(0, lambda: {"tick": 0})
        assert first is None
        limit = time.monotonic() + 10
        tick = 1
        while decisions.action(tick, dict) is None and time.monotonic() < limit:  # the thread has started
            time.sleep(0.01)
        started = time.perf_counter()
        done = [decisions.action(n, lambda n=n: {"tick": n}) for n in range(2, 14)]
        assert time.perf_counter() - started < 5.0  # not the 20 s of the decision
        assert [None if row is None else row[0] for row in done] == [0.0] * 10 + [None] * 2
        assert decisions.late >= 4
        gate.set()


class Clock:
    """Time that passes only when somebody sleeps or works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_deadlines_that_are_missed_are_counted(bundle: Bundle) -> None:
    clock = Clock()

    class Slow(Arm):
        def read(self) -> Reading:
            reading = super().read()
            return Reading(reading.positions, dict.fromkeys(reading.measured_s, clock()), reading.seen)

        def act(self, command: np.ndarray) -> None:
            super().act(command)
            clock.now += 0.25 if len(self.told) in (5, 10, 11) else 0.01

    report = drive(bundle, Slow(bundle), 3.0, clock=clock, sleep=clock.sleep)
    assert report.ticks == 30
    assert report.missed == 3
    # Late ticks shift those after them: the arm is never told two things at once.
    assert report.seconds == pytest.approx(3.0 + 3 * 0.15, abs=0.02)


def test_a_dry_run_keeps_ten_hertz(bundle: Bundle) -> None:
    report = drive(bundle, dry_robot(bundle), 2.0)
    assert report.ticks == 20
    assert report.seconds == pytest.approx(2.0, abs=0.5)
    assert report.missed <= 5
