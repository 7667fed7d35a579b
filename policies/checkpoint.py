"""Networks on the disk: safetensors with what is needed to make them again, never a pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from policies.act import ChunkingModel
from policies.model import WorldActionModel
from policies.policy import Policy
from reconstruction.disk import write_whole
from reconstruction.errors import InputError

FORMAT, VERSION, HEADER = "pocketworld.policy", 3, "pocketworld"
POLICIES: dict[str, type[Policy]] = {kind.kind: kind for kind in (WorldActionModel, ChunkingModel)}
"""Kinds of networks by name: another is one class and one entry here."""


def save(path: Path, model: Policy, notes: Mapping[str, Any], others: Mapping[str, Tensor] = {}) -> None:  # noqa: B006 - never changed
    """Write a network, JSON-able `notes` and `others` than its own tensors, whole or not at all."""
    from safetensors.torch import save as to_bytes

    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors.update({f"other.{name}": value for name, value in others.items()})
    about = {"format": FORMAT, "version": VERSION, "network": network_of(model), "notes": dict(notes)}
    # One entry: safetensors writes several in an order of chance, and the same network should be the same bytes.
    header = {HEADER: json.dumps(about, sort_keys=True)}
    write_whole(path, to_bytes({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, header))


def network_of(model: Policy) -> dict[str, Any]:
    """What `build` needs to make a network of this kind and size."""
    return {
        "kind": model.kind,
        "settings": dataclasses.asdict(model.settings),
        "observe": model.observe,
        "state": model.state,
        "around": model.around,
    }


def build(network: Mapping[str, Any]) -> Policy:
    """A network of the kind and size that `network_of` gave; it did not always say which kind."""
    kind = POLICIES[network.get("kind", WorldActionModel.kind)]
    settings = dict(network["settings"])
    settings["horizons"] = tuple(settings["horizons"])
    sizes = (int(network["state"]), int(network["around"]))
    return kind(kind.sizes(**settings), str(network["observe"]), *sizes)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any], dict[str, Tensor]]:
    """A checkpoint's own tensors, its notes, and the others.

    Raises:
        InputError: it is missing, damaged or no checkpoint of this version.
    """
    tensors, header = _read(path)
    own = {name[6:]: value for name, value in tensors.items() if name.startswith("model.")}
    others = {name[6:]: value for name, value in tensors.items() if name.startswith("other.")}
    return own, dict(header["notes"]), others


def load_model(path: Path) -> tuple[Policy, dict[str, Any]]:
    """The network of a checkpoint, ready to act, and its notes.

    Raises:
        InputError: it is missing, damaged or no checkpoint of this version.
    """
    tensors, header = _read(path)
    try:
        model = build(header["network"])
        model.load_state_dict({name[6:]: value for name, value in tensors.items() if name.startswith("model.")})
        notes = dict(header["notes"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _bad(path, str(error).split("\n")[0]) from None
    return model.eval().requires_grad_(False), notes


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
            if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
                raise _bad(path, "it is no policy of this version")
            return {name: file.get_tensor(name) for name in file.keys()}, header  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise _bad(path, str(error)) from None


def _bad(path: Path, why: str) -> InputError:
    return InputError(
        f"{path} is no readable policy: {why}.", remedy="Train it again with `pocketworld train`.", code="bad_policy"
    )
