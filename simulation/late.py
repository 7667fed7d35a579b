"""Goals that come late to a motor."""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Late:
    """Goals, one a step of physics, as they are after a dead time and a first-order lag."""

    def __init__(self, dead_s: float, lag_s: npt.ArrayLike, step_s: float) -> None:
        """Nothing was told yet; what is told first holds from then on.

        Args:
            dead_s: time after which a goal arrives.
            lag_s: time, one or ``(J + 1,)``, in which a share of 1 - 1/e of what is left is made up.
            step_s: of physics.
        """
        self._most = 1 + round(dead_s / step_s)
        self._share = 1.0 - np.exp(-step_s / np.maximum(np.asarray(lag_s, dtype=np.float64), 1e-9))
        self._waiting: deque[FloatArray] = deque()
        self._smooth: FloatArray | None = None

    def after(self, goal: FloatArray) -> FloatArray:
        """What has come through when a goal ``(J + 1,)`` is told."""
        self._waiting.append(goal)
        if len(self._waiting) > self._most:
            self._waiting.popleft()
        goal = self._waiting[0]
        if self._smooth is None:
            self._smooth = goal
        self._smooth = self._smooth + (goal - self._smooth) * self._share
        return self._smooth
