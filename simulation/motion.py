"""From a path in joint space to goals for the motors at a steady rate, within the limits of speed and acceleration."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
STEP_RAD = 0.02
"""Distance between the points of a dense path."""


def dense(corners: FloatArray, step: float = STEP_RAD) -> FloatArray:
    """``(K, J)`` points on the straight lines between corners ``(C, J)``, at most `step` apart in every joint."""
    pieces = [corners[:1]]
    for start, end in zip(corners[:-1], corners[1:], strict=True):
        count = max(1, int(np.ceil(np.abs(end - start).max() / step)))
        pieces.append(start + np.linspace(0.0, 1.0, count + 1)[1:, None] * (end - start))
    return np.vstack(pieces)


def even(path: FloatArray, step: float = STEP_RAD) -> FloatArray:
    """Points ``(K, J)`` evenly along a path, about `step` apart; its first and last point stay, one if it goes nowhere.

    Points that all but coincide, as solvers of inverse kinematics return them, would bend a path without end.
    """
    length = _lengths(path)
    if length[-1] < 1e-6:
        return path[-1:]
    at = np.linspace(0.0, length[-1], max(3, int(np.ceil(length[-1] / step)) + 1))
    return np.stack([np.interp(at, length, path[:, joint]) for joint in range(path.shape[1])], axis=1)


def rounded(path: FloatArray, reach: int = 12) -> FloatArray:
    """A dense path with its corners rounded: each point is the mean of up to `reach` on either side; ends stay."""
    if len(path) < 3:
        return path
    total = np.vstack([np.zeros(path.shape[1]), np.cumsum(path, axis=0)])
    index = np.arange(len(path))
    half = np.minimum(np.minimum(index, len(path) - 1 - index), reach)
    return np.asarray((total[index + half + 1] - total[index - half]) / (2 * half + 1)[:, None])


def timed(
    path: FloatArray, speed: FloatArray, acceleration: FloatArray, rate_hz: float, pace: FloatArray | None = None
) -> FloatArray:
    """Points ``(T, J)`` of a dense path, a `rate_hz`-th of a second apart, from rest to rest, as fast as allowed.

    The speed along the path is bounded by each joint's speed and by its acceleration, forwards and backwards (Bobrow,
    Dubowsky & Gibson, "Time-optimal control of robotic manipulators along specified paths", 1985, for constant bounds).

    Args:
        path: ``(K, J)`` rad.
        speed: ``(J,)`` rad/s.
        acceleration: ``(J,)`` rad/s².
        rate_hz: of the result. Its first point is one tick after the start, its last the end of the path.
        pace: ``(K,)`` share of the speed at each point of the path; left out: all of it.
    """
    given, path = path, even(path)
    if len(path) < 2:
        return path[-1:]
    length = _lengths(path)
    slope = np.gradient(path, length, axis=0)
    bend = np.gradient(slope, length, axis=0)
    with np.errstate(divide="ignore"):
        top = (speed / np.maximum(np.abs(slope), 1e-9)).min(axis=1)
        if pace is not None:
            top *= np.interp(length / length[-1], _lengths(given) / _lengths(given)[-1], pace)
        top = np.minimum(top, np.sqrt((0.5 * acceleration / np.maximum(np.abs(bend), 1e-9)).min(axis=1)))
        push = (0.5 * acceleration / np.maximum(np.abs(slope), 1e-9)).min(axis=1)
    fast = top.copy()
    fast[0] = fast[-1] = 0.0
    for k in range(1, len(fast)):
        ahead = length[k] - length[k - 1]
        fast[k] = min(fast[k], np.sqrt(fast[k - 1] ** 2 + 2 * push[k - 1] * ahead))
    for k in range(len(fast) - 2, -1, -1):
        ahead = length[k + 1] - length[k]
        fast[k] = min(fast[k], np.sqrt(fast[k + 1] ** 2 + 2 * push[k + 1] * ahead))
    times = np.append(0.0, np.cumsum(2 * np.diff(length) / np.maximum(fast[1:] + fast[:-1], 1e-6)))
    ticks = max(1, int(np.ceil(times[-1] * rate_hz - 1e-6)))
    # Stretched so that the end falls on a tick; in between, the path is at most as fast as computed.
    at = np.arange(1, ticks + 1) / ticks * times[-1]
    along = np.interp(at, times, length)
    return np.stack([np.interp(along, length, path[:, joint]) for joint in range(path.shape[1])], axis=1)


def _lengths(path: FloatArray) -> FloatArray:
    """How far ``(K,)`` along a path its points are, by the joint that moves most."""
    return np.append(0.0, np.cumsum(np.abs(np.diff(path, axis=0)).max(axis=1)))
