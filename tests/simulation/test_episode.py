from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reconstruction.errors import InputError
from tests.episodes import made_episode

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no task": ({"task": " "}, "no task"),
    "no rate": ({"rate_hz": 0}, "rate_hz is 0"),
    "infinite rate": ({"rate_hz": float("inf")}, "rate_hz is inf"),
    "state in double": ({"state": np.zeros((12, 6))}, "state is float64"),
    "state of one dimension": ({"state": np.zeros(12, np.float32)}, r"state is float32 \(12,\)"),
    "no frames": ({"state": np.zeros((0, 6), np.float32)}, r"\(0, 6\)"),
    "state that is not finite": ({"state": np.full((12, 6), np.nan, np.float32)}, "state has a value"),
    "action too short": ({"action": np.zeros((11, 6), np.float32)}, "action has 11 frames, state 12"),
    "too few names": ({"action_names": ("a", "b")}, "names of action"),
    "names twice": ({"state_names": ("a",) * 6}, "names of state"),
    "camera with a path": ({"images": {"../x": np.zeros((12, 8, 8, 3), np.uint8)}}, "camera is named '../x'"),
    "images too few": ({"images": {"front": np.zeros((11, 8, 8, 3), np.uint8)}}, "images of front"),
    "images in float": ({"images": {"front": np.zeros((12, 8, 8, 3), np.float32)}}, "float32"),
    "images grey": ({"images": {"front": np.zeros((12, 8, 8), np.uint8)}}, r"uint8 \(12, 8, 8\)"),
    "extra too long": ({"extra": {"reward": np.zeros(13)}}, "reward is float64"),
    "extra of text": ({"extra": {"note": np.array(["a"] * 12)}}, "note is"),
    "extra as a column of its own": ({"extra": {"timestamp": np.zeros(12)}}, "'timestamp' is no name"),
    "extra that is not finite": ({"extra": {"reward": np.full(12, np.inf)}}, "reward has a value"),
    "failed without reason": ({"success": False}, "reason is ''"),
    "succeeded with reason": ({"reason": "dropped"}, "reason is 'dropped'"),
    "negative index": ({"index": -1}, "index is -1"),
    "recipe of two lines": ({"recipe": '{"seed":\n1}'}, "recipe"),
    "recipe that is no JSON": ({"recipe": "seed 3"}, "recipe"),
}


def test_an_episode_knows_its_length() -> None:
    assert len(made_episode(0, frames=12)) == 12


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_fit_together_is_refused(name: str) -> None:
    change, message = WRONG[name]
    with pytest.raises(InputError, match=message) as caught:
        replace(made_episode(0), **change)
    assert caught.value.remedy
