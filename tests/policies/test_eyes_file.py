"""Eyes taken over from a file: those that fit, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from policies.checkpoint import save
from policies.eyes_file import SEEING, mark_of_eyes, take_eyes
from policies.model import WorldActionModel
from reconstruction.errors import InputError, UsageError
from tests.toy_training import AROUND, SMALL, STATES


def _seeing(seed: int, around: int = AROUND, observe: str = "rgb") -> WorldActionModel:
    torch.manual_seed(seed)
    model = WorldActionModel(SMALL, observe, STATES, around)
    if observe == "rgb":
        model.encoder.eyes.usual.uniform_()
    return model


def _eyes(model: WorldActionModel) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if name.startswith(SEEING)}


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("whole", [True, False])
def test_eyes_of_a_policy_and_weights_of_their_names_are_taken_over(tmp_path: Path, whole: bool) -> None:
    model, other, path = _seeing(0), _seeing(1), tmp_path / "Augen ä.safetensors"
    if whole:
        save(path, other, {})
    else:
        save_file(_eyes(other), path)
    rest = {name: value.clone() for name, value in model.state_dict().items() if not name.startswith(SEEING)}
    marks = mark_of_eyes(model), mark_of_eyes(other)
    assert marks[0] != marks[1]
    take_eyes(model, path)
    assert mark_of_eyes(model) == marks[1]
    assert _same(_eyes(model), _eyes(other))
    assert _same(rest, {name: model.state_dict()[name] for name in rest})


def test_what_does_not_fit_is_refused_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "eyes.safetensors"
    own, model = _eyes(_seeing(0)), _seeing(1)
    before = mark_of_eyes(model)
    some = "eyes.front.fine.0.weight"
    cases = {
        "are for 1 things, not 2 in this task": _eyes(_seeing(0, AROUND // 2)),
        "are for the cameras front, not front, wrist": {k: v for k, v in own.items() if ".wrist." not in k},
        f"whose {some} is missing": {k: v for k, v in own.items() if not k.endswith(some)},
        f"whose {some} is of (2, 2)": {**own, SEEING + some: torch.zeros(2, 2)},
        "has no eyes": {"x": torch.zeros(2)},
    }
    for words, tensors in cases.items():
        save_file(tensors, path)
        with pytest.raises(UsageError) as caught:
            take_eyes(model, path)
        assert words in caught.value.message
    save_file(_eyes(_seeing(0, observe="pointcloud")), path)
    with pytest.raises(UsageError, match="are for clouds of points, not front, wrist"):
        take_eyes(model, path)
    with pytest.raises(UsageError, match="The policy has no eyes"):
        take_eyes(_seeing(0, observe="state"), path)
    assert mark_of_eyes(model) == before  # nothing was taken over by half


@pytest.mark.parametrize("damage", ["missing", "pickle", "cut", "infinite"])
def test_what_is_damaged_is_an_input_error(tmp_path: Path, damage: str) -> None:
    path, own = tmp_path / "eyes.safetensors", _eyes(_seeing(0))
    save_file(own, path)
    if damage == "missing":
        path.unlink()
    elif damage == "pickle":
        torch.save(own, path)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-50])
    else:
        save_file({**own, SEEING + "usual": torch.full((2, 3), torch.inf)}, path)
    with pytest.raises(InputError, match="cannot be read as eyes"):
        take_eyes(_seeing(1), path)
