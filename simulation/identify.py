"""What a recorded run says of the world: the mass and the friction of a thing that was probed, the delay of the arm.

Runs are probed as `simulation.probing` does it, tick by tick alike with and without what is looked for. Of a run,
frame t holds what was measured at time t, and the goal that was told then, to be reached one tick later.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from simulation.chain import Chain
from simulation.probing import AIR, EMPTY, LOADED, PRESSED

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
GRAVITY = 9.81
CAME_RAD = 0.012
"""A joint (rad, or m) that has come less far since it turned may still be in its play, or held by its friction …"""
SLOW_RAD_S = 0.004
"""… and one that is slower than this may stick: what bears on it then, its motor need not feel."""
BESIDE_M = 0.04
"""A thing's middle, and where it touches the table, are about so far from the tool (standard deviation)."""
SETTLED = 5
"""Ticks after a turn that are left out altogether."""
BIN = 5
"""Ticks of a drag in which the thing is pressed equally firmly."""
HELD = 0.01
"""A gripper that is told to close and is open by less than this holds nothing."""
LEAST_N = 1.0
SYSTEMATIC = 0.03
"""What is not known of gears and of the arm's description, a share (standard deviation)."""
OF_80 = 1.2816
"""Standard deviations on either side in which 80 % lie."""
UNSURE = 0.25
"""What is known no better than this (standard deviation, a share) is not said."""
GRID_S, LONGEST_S = 0.005, 0.4
FEW_FRAMES, LEAST_WAY_RAD = 20, 0.05


@dataclass(frozen=True)
class Recorded:
    """A run, as it was recorded.

    Attributes:
        rate_hz: frames a second.
        state: ``(T, J + 1)`` measured joint positions and opening.
        goal: ``(T, J + 1)`` told.
        phase: ``(T,)`` of `probing`; None of a run that was no probe.
        effort: ``(T, J)`` what the motors said that they do; None where they said nothing.
    """

    rate_hz: float
    state: FloatArray
    goal: FloatArray
    phase: npt.NDArray[np.int64] | None = None
    effort: FloatArray | None = None


@dataclass(frozen=True)
class Estimate:
    """A number that was found.

    Attributes:
        value: of it.
        sigma: its standard deviation.
        runs: in how many runs it was found.
    """

    value: float
    sigma: float
    runs: int

    @property
    def interval(self) -> tuple[float, float]:
        """In which it is with 80 %."""
        return max(0.0, self.value - OF_80 * self.sigma), self.value + OF_80 * self.sigma


@dataclass(frozen=True)
class Delay:
    """How an arm follows: first not at all, then as a first-order lag does.

    Attributes:
        dead_s: it does nothing for so long.
        lag_s: and then comes nearer by a share of 1 - 1/e in this time.
        residual_rad: what that does not explain (root of the mean square, rad; m where a joint slides).
    """

    dead_s: float
    lag_s: float
    residual_rad: float

    @property
    def late_s(self) -> float:
        """So long after it was told, it is where it was to be, while it goes steadily."""
        return self.dead_s + self.lag_s


def mass_of(run: Recorded, chain: Chain, noise: FloatArray) -> tuple[float, float]:
    """What a thing weighs that was probed, kg, and the standard deviation of that.

    What the motors do more with it than without, in the same posture, holds its weight, somewhere near the tool.

    Args:
        run: of a probe.
        chain: of the arm.
        noise: ``(J,)`` standard deviation of what a motor says, N·m (N where a joint slides).

    Raises:
        InputError: the run says nothing of it; the message says why.
    """
    loaded, empty = _pairs(run, LOADED, EMPTY)
    if np.abs(run.goal[loaded] - run.goal[empty])[:, :-1].max() > 2e-3:
        raise _nothing("it did not move alike with the thing and without")
    if float(run.state[loaded, -1].min()) < HELD:
        raise _nothing("the gripper held nothing")
    q, counted = run.state[loaded + 1, :-1], _counted(run, loaded)
    more = _efforts(run)[loaded + 1] - _efforts(run)[empty + 1]
    jacobian, turned = chain.jacobian(q), chain.tool(q)[:, :3, :3]
    weight = np.array([0.0, 0.0, GRAVITY])
    moments = [np.einsum("tij,ti->tj", jacobian[:, 3:], np.cross(turned[:, :, axis], weight)) for axis in range(3)]
    rows = np.stack([GRAVITY * jacobian[:, 2], *moments], axis=-1) / (math.sqrt(2.0) * noise)[:, None]
    wanted = more / (math.sqrt(2.0) * noise)
    rows, wanted = rows[counted], wanted[counted]
    if len(wanted) < 20:
        raise _nothing("its joints hardly moved")
    mass = 0.1
    for _ in range(3):  # how far its middle may shift the moment goes with its mass
        square = rows.T @ rows + np.diag([0.0, 1.0, 1.0, 1.0]) / (max(abs(mass), 0.01) * BESIDE_M) ** 2
        found = np.linalg.solve(square, rows.T @ wanted)
        mass = float(found[0])
    return mass, float(np.sqrt(np.linalg.inv(square)[0, 0]))


def friction_of(run: Recorded, chain: Chain, noise: FloatArray) -> tuple[float, float]:
    """Coulomb's coefficient between the thing that was probed and the table, and the standard deviation of that.

    Args:
        run: of a probe.
        chain: of the arm.
        noise: as of `mass_of`.

    Raises:
        InputError: the run says nothing of it; the message says why.
    """
    from scipy.optimize import least_squares

    pressed, air = _pairs(run, PRESSED, AIR)
    if float(run.state[pressed, -1].min()) < HELD:
        raise _nothing("the gripper held nothing")
    q, counted = run.state[pressed + 1, :-1], _counted(run, pressed)
    more = _efforts(run)[pressed + 1] - _efforts(run)[air + 1]
    way = chain.tool(run.goal[air, :-1])[:, :3, 3]  # level, as it is told in the air
    steps = np.diff(way, axis=0, prepend=2 * way[:1] - way[1:2])
    ahead = steps / np.maximum(np.linalg.norm(steps, axis=1, keepdims=True), 1e-9)
    ahead[:, 2] = 0.0
    leg = np.cumsum(np.append(False, (steps[1:] * steps[:-1]).sum(axis=1) < 0))
    kept = counted.any(axis=1)
    if kept.sum() < 20:
        raise _nothing("its joints hardly moved")
    groups = np.stack([leg, np.arange(len(leg)) // BIN], axis=1)[kept]
    group = np.unique(groups, axis=0, return_inverse=True)[1].ravel()
    jacobian, turned = chain.jacobian(q[kept]), chain.tool(q[kept])[:, :3, :3]
    ahead, more, counted = ahead[kept], more[kept], counted[kept]

    def residuals(guess: FloatArray) -> FloatArray:
        friction, beside, firmly = guess[0], guess[1:4], guess[4:][group, None]
        force = firmly * (friction * ahead - [0.0, 0.0, 1.0])
        wrench = np.concatenate([force, np.cross(turned @ beside, force)], axis=1)
        off = (np.einsum("tij,ti->tj", jacobian, wrench) - more) / (math.sqrt(2.0) * noise)
        return np.concatenate([off[counted], beside / BESIDE_M])

    start = np.concatenate([[0.4, 0.0, 0.0, 0.0], np.full(group.max() + 1, 5.0)])
    found = least_squares(residuals, start)
    if float(np.mean(found.x[4:])) < LEAST_N:
        raise _nothing(f"the thing was pressed onto the table with less than {LEAST_N:g} N")
    square = found.jac.T @ found.jac
    return float(found.x[0]), float(np.sqrt(np.linalg.pinv(square)[0, 0]))


def noise_of(runs: Iterable[Recorded]) -> FloatArray:
    """``(J,)`` standard deviation of what the motors of runs say, by how it jumps from one frame to the next."""
    jumps = [np.diff(_efforts(run), 2, axis=0) for run in runs]
    # Of three values that differ by chance alone, a - 2b + c varies by 1 + 4 + 1 times as much; few jumps are real.
    spread = np.median(np.abs(np.concatenate(jumps)), axis=0) / 0.6745 / math.sqrt(6.0)
    return np.asarray(np.maximum(spread, 1e-6))


def delay_of(run: Recorded) -> Delay:
    """How late the arm was, by what it was told and where it then was.

    A dead time and a lag on a grid of `GRID_S`, with the least squares of what is left; each joint may be off by a
    constant.

    Raises:
        InputError: the run says nothing of it: it is short, or the arm hardly moved.
    """
    told, was = run.goal[:, :-1], run.state[:, :-1]
    if len(told) < FEW_FRAMES or float(np.ptp(told, axis=0).max()) < LEAST_WAY_RAD:
        raise _nothing("the arm hardly moved")
    fine = max(1, round(1.0 / (run.rate_hz * GRID_S)))
    # The goal of frame t is reached, told evenly, at the time of frame t + 1; before, the arm stood at the first one.
    times = np.arange((len(told)) * fine + 1) / fine
    marks = np.arange(len(told) + 1)
    path = np.column_stack([np.interp(times, marks, np.append(was[0, j], told[:, j])) for j in range(told.shape[1])])
    step_s = 1.0 / (run.rate_hz * fine)
    most = round(LONGEST_S / step_s)
    best: tuple[float, float, float] | None = None
    for lag in range(0, most + 1):
        share = 1.0 if not lag else 1.0 - math.exp(-1.0 / lag)
        smooth = _smoothed(path, share)
        for dead in range(0, most + 1 - lag):
            at = np.maximum(np.arange(len(told)) * fine - dead, 0)
            off = was - smooth[at]
            left = float(np.mean((off - off.mean(axis=0)) ** 2))
            if best is None or left < best[0]:
                best = left, dead * step_s, lag * step_s
    assert best is not None
    return Delay(round(best[1], 6), round(best[2], 6), math.sqrt(best[0]))


def _smoothed(path: FloatArray, share: float) -> FloatArray:
    """A path ``(K, J)`` behind a first-order lag that makes up `share` of what is left in each step."""
    from scipy.signal import lfilter

    if share >= 1.0:
        return path
    start = (1.0 - share) * path[:1]
    return np.asarray(lfilter([share], [1.0, share - 1.0], path, axis=0, zi=start)[0])


def combined(found: Iterable[tuple[float, float]]) -> Estimate | None:
    """One estimate of those of several runs; outliers are left out. None where it is too unsure to say.

    Args:
        found: of each run the value and its standard deviation.
    """
    rows = np.array(list(found), dtype=np.float64).reshape(-1, 2)
    if not len(rows):
        return None
    middle = np.median(rows[:, 0])
    usual = max(1.4826 * float(np.median(np.abs(rows[:, 0] - middle))), float(np.median(rows[:, 1])))
    rows = rows[np.abs(rows[:, 0] - middle) <= 3.5 * usual]
    value, count = float(rows[:, 0].mean()), len(rows)
    spread = float(rows[:, 0].std(ddof=1)) if count > 2 else 0.0
    chance = max(spread, float(np.sqrt(np.mean(rows[:, 1] ** 2)))) / math.sqrt(count)
    sigma = math.hypot(chance, SYSTEMATIC * value)
    if value <= 0.0 or sigma > UNSURE * value:
        return None
    return Estimate(value, sigma, count)


def _pairs(run: Recorded, first: int, second: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Frames of two phases that go with each other; what comes of each is measured a frame later."""
    if run.phase is None or run.effort is None:
        raise _nothing("it was no probe, or the arm's motors did not say what they do")
    found = [np.flatnonzero(run.phase == phase) for phase in (first, second)]
    if not len(found[0]) or len(found[0]) != len(found[1]) or max(rows[-1] for rows in found) + 1 >= len(run.phase):
        raise _nothing("it was not probed to its end")
    if any((np.diff(rows) != 1).any() for rows in found):
        raise _nothing("its phases are torn")
    return found[0], found[1]


def _efforts(run: Recorded) -> FloatArray:
    if run.effort is None:
        raise _nothing("the arm's motors did not say what they do")
    return run.effort


def _counted(run: Recorded, frames: npt.NDArray[np.int64]) -> Mask:
    """``(T, J)`` which motors feel all that bears on their joint in some frames, after them."""
    moved = np.diff(run.goal[frames, :-1], axis=0, prepend=run.goal[frames[:1], :-1])
    came, since = np.zeros_like(moved), np.zeros(moved.shape, dtype=np.int64)
    for k in range(1, len(moved)):
        on = moved[k] * moved[k - 1] > 0
        came[k] = np.where(on, came[k - 1], 0.0) + np.abs(moved[k])
        since[k] = np.where(on, since[k - 1] + 1, 0)
    return np.asarray((came > CAME_RAD) & (np.abs(moved) > SLOW_RAD_S / run.rate_hz) & (since >= SETTLED))


def _nothing(why: str) -> InputError:
    return InputError(
        f"The run says nothing of it: {why}.", remedy="Record it anew with `pocketworld probe`.", code="says_nothing"
    )
