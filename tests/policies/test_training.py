"""The training loop on other devices than one CPU in float32: as far as that can be tried without them."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from policies import batches
from policies.batches import Brought, Resident, batches_of
from policies.checkpoint import load_model
from policies.compiling import compiled
from policies.files import BEST, METRICS
from policies.hand import Arm, Hand
from policies.policy import Policy
from policies.precision import computing
from policies.train import LoopSettings, train
from policies.windows import POSE
from simulation.robots import robot_of
from tests.toy_training import Certain, certain_model, small_model, toy_windows

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


def _curve(folder: Path) -> Tensor:
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return torch.tensor([row["acting"] for row in rows if "acting" in row])


def _torchrun(folder: Path, loop: LoopSettings, kind: str) -> list[dict[str, object]]:
    """What two processes that train together say."""
    folder.mkdir()
    words = [str(folder), json.dumps(dataclasses.asdict(loop)), kind]
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    subprocess.run(
        [*run, "-m", "tests.training_process", *words],
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=200,
        capture_output=True,
    )
    return [json.loads((folder / f"rank_{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_learn_what_one_does_with_the_same_batch(tmp_path: Path) -> None:
    windows = toy_windows()
    loop = LoopSettings(steps=100, batch=32, matrix_rate=0.005, warm_up=10, check_every=50)
    train(certain_model(windows), windows, loop, tmp_path / "one", check=lambda _: 0.5)
    first, second = _torchrun(tmp_path / "two", loop, "certain")
    one, two = _curve(tmp_path / "one"), _curve(tmp_path / "two")
    assert len(one) == 2
    assert torch.allclose(one, two, rtol=2e-3)
    assert one[-1] < 0.5 * certain_model(windows).loss(windows)[0].item()
    assert first["weights"] == second["weights"]
    assert (first["checks"], second["checks"]) == (2, 0)  # the first alone measures …
    assert (second["best"], second["success"]) == (100, 0.5)  # … and tells the other
    assert len((tmp_path / "two" / METRICS).read_text().splitlines()) == 4  # and alone it writes


def test_what_two_processes_draw_differs(tmp_path: Path) -> None:
    """Were it the same, half of a batch would be as good as all of it."""
    from policies.ranks import Ranks

    drawn = []

    class Watched(Certain):
        def loss(self, windows, stray_rad=0.0):  # type: ignore[no-untyped-def]
            drawn.append((windows.actions[:, 0, :3], torch.rand(4)))
            return super().loss(windows, stray_rad)

    windows = toy_windows()
    with mock.patch.multiple(
        Ranks, average=lambda self, weights: None, alike=lambda self, model: None, mean=lambda self, value: value,
        told=lambda self, found: found(),
    ):  # fmt: skip
        for rank in (0, 1):
            model = certain_model(windows)
            model.__class__ = Watched
            train(model, windows, LoopSettings(steps=1, batch=8), tmp_path / str(rank), ranks=Ranks(rank, 2))
    train(model, windows, LoopSettings(steps=1, batch=8), tmp_path / "whole")
    (rows, noise), (others, other), (both, _) = drawn
    assert torch.equal(torch.stack([rows, others], dim=1).flatten(0, 1), both)
    assert not torch.equal(noise, other)


def test_windows_that_do_not_fit_are_brought_and_come_to_the_same_bits(tmp_path: Path) -> None:
    windows = toy_windows()
    loop = LoopSettings(steps=12, batch=16, check_every=6)
    train(small_model(windows), windows, loop, tmp_path / "there")
    with mock.patch.object(batches, "room_bytes", return_value=windows.nbytes - 1):
        assert isinstance(batches_of(windows, CPU), Brought)
        train(small_model(windows), windows, loop, tmp_path / "brought")
    assert (tmp_path / "there" / BEST).read_bytes() == (tmp_path / "brought" / BEST).read_bytes()
    with mock.patch.object(batches, "room_bytes", return_value=windows.nbytes):
        assert isinstance(batches_of(windows, CPU), Resident)


def test_a_batch_that_was_announced_is_brought_once() -> None:
    windows = toy_windows()
    brought, rows = Brought(windows, CPU), torch.tensor([3, 1, 3])
    with mock.patch.object(brought, "_bring", wraps=brought._bring) as bring:
        brought.soon(rows)
        assert torch.equal(brought.some(rows).actions, windows.actions[rows])
        assert bring.call_count == 1
        brought.soon(rows)
        other = brought.some(torch.tensor([7]))  # another one than announced
        assert torch.equal(other.actions, windows.actions[7:8])


def test_in_bf16_it_learns_as_well_and_the_policy_stays_float32(tmp_path: Path) -> None:
    windows = toy_windows()
    for precision in ("float32", "bf16"):
        loop = LoopSettings(steps=200, batch=32, matrix_rate=0.02, check_every=200, precision=precision)
        train(small_model(windows), windows, loop, tmp_path / precision)
    exact, rough = _curve(tmp_path / "float32"), _curve(tmp_path / "bf16")
    assert not torch.equal(exact, rough)
    assert torch.allclose(exact, rough, rtol=0.1)
    assert all(value.dtype == torch.float32 for value in load_model(tmp_path / "bf16" / BEST)[0].parameters())


def test_geometry_is_exact_where_networks_are_not() -> None:
    chain = robot_of("panda").chain
    arm = Arm(len(chain.low))
    arm.describe(chain)
    q, poses = torch.rand(20, len(chain.low)), torch.randn(20, 4, POSE)
    position, rotation = arm(q)
    with computing("bf16", CPU):
        assert (position @ rotation).dtype == torch.bfloat16  # what a network would get
        found = arm(q)
        assert torch.equal(found[0], position)
        assert torch.equal(Hand(*found).poses(poses), Hand(position, rotation).poses(poses))


def test_auto_is_float32_on_a_cpu() -> None:
    with computing("auto", CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_where_nothing_can_be_compiled_it_goes_on_without(tmp_path: Path) -> None:
    windows = toy_windows()
    said = list[str]()

    def broken(*_: object, **__: object) -> object:
        def fails(_: object) -> object:
            raise RuntimeError("no compiler here\nand more")

        return fails

    loop = LoopSettings(steps=6, batch=8)
    train(small_model(windows), windows, loop, tmp_path / "plain")
    with mock.patch.object(torch, "compile", broken):
        train(
            small_model(windows),
            windows,
            dataclasses.replace(loop, compile="on"),
            tmp_path / "broken",
            lambda _, words: said.append(words),
        )
    assert said[0] == "goes on without compiling (no compiler here)"
    plain, other = (load_model(tmp_path / name / BEST)[0].state_dict() for name in ("plain", "broken"))
    assert all(torch.equal(value, other[name]) for name, value in plain.items())


@pytest.mark.parametrize(("wanted", "steps"), [("off", 10**9), ("auto", 10**9)])
def test_on_a_cpu_auto_compiles_nothing(wanted: str, steps: int) -> None:
    windows = toy_windows(8)
    model = small_model(windows)
    with mock.patch.object(torch, "compile", side_effect=AssertionError):
        assert compiled(model.loss, windows, steps, wanted) == (model.loss, "")


class Killed(BaseException):
    pass


def test_killed_while_it_cools_down_it_stops_at_the_same_step(tmp_path: Path) -> None:
    windows = toy_windows()
    loop = LoopSettings(steps=200, batch=8, warm_up=5, check_every=10, patience=2)
    told = [0.1, 0.5, 0.4, 0.5, 0.3, 0.6, 0.2, 0.2]

    def answers(successes: list[float]) -> Iterator[float]:
        yield from successes
        raise Killed

    def trained(folder: Path, successes: list[float]) -> object:
        coming = answers(successes)

        def check(_: Policy) -> float:
            return next(coming)

        return train(small_model(windows), windows, loop, folder, check=check)

    best = trained(tmp_path / "whole", told)  # 2 better, 2 no better, and 40 steps of cooling down
    assert (best.step, best.success) == (60, 0.6)
    for kill in (3, 6):  # before its patience has run out, and after
        folder = tmp_path / f"killed_{kill}"
        with pytest.raises(Killed):
            trained(folder, told[:kill])
        assert trained(folder, told[kill:]) == best
        assert (folder / BEST).read_bytes() == (tmp_path / "whole" / BEST).read_bytes()
        steps = [json.loads(line)["step"] for line in (folder / METRICS).read_text().splitlines()]
        assert steps[-1] == 80
