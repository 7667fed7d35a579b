"""What every frame of a dataset consists of: LeRobot's ``features``, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconstruction.errors import InputError
from simulation.episode import CAMERA_NAME, EXTRA_NAME, RESERVED, Episode

STATE, ACTION = "observation.state", "action"
IMAGES = "observation.images."
COUNTERS = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""Columns that every dataset has, and their types."""
NUMBERS = {"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64"}
LARGEST_SIDE = 8192
LARGEST_VECTOR = 1 << 16


@dataclass(frozen=True)
class Extra:
    """Type of an extra column.

    Attributes:
        dtype: NumPy's name of it.
        length: entries of a vector; None for one number a frame.
    """

    dtype: str
    length: int | None = None


@dataclass(frozen=True)
class Features:
    """What the episodes of one dataset have in common.

    Attributes:
        rate_hz: frames a second.
        state_names: of the state's entries; `action_names`: of the action's.
        cameras: height and width of each camera's pictures.
        extra: further columns by name.
    """

    rate_hz: float
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    cameras: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    extra: Mapping[str, Extra] = field(default_factory=dict)

    @staticmethod
    def of(episode: Episode) -> Features:
        """The features of an episode."""
        return Features(
            float(episode.rate_hz),
            tuple(episode.state_names),
            tuple(episode.action_names),
            {name: (int(film.shape[1]), int(film.shape[2])) for name, film in sorted(episode.images.items())},
            {
                name: Extra(values.dtype.name, values.shape[1] if values.ndim == 2 else None)
                for name, values in sorted(episode.extra.items())
            },
        )

    @property
    def columns(self) -> dict[str, Extra]:
        """What stands in the tables: state, action and the extra columns."""
        vectors = {STATE: Extra("float32", len(self.state_names)), ACTION: Extra("float32", len(self.action_names))}
        return {**vectors, **self.extra}

    def difference(self, other: Features) -> str:
        """In words, what of `other` is not as here; empty where nothing is."""
        for what in ("rate_hz", "state_names", "action_names", "cameras", "extra"):
            mine, theirs = getattr(self, what), getattr(other, what)
            if mine != theirs:
                return f"{what} is {theirs}, not {mine}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """LeRobot's ``features``, without the ``info`` block of films and without the counters."""
        return {
            STATE: {"dtype": "float32", "shape": [len(self.state_names)], "names": list(self.state_names)},
            ACTION: {"dtype": "float32", "shape": [len(self.action_names)], "names": list(self.action_names)},
            **{
                f"{IMAGES}{name}": {"dtype": "video", "shape": [*size, 3], "names": ["height", "width", "channels"]}
                for name, size in self.cameras.items()
            },
            **{name: _extra_json(extra) for name, extra in self.extra.items()},
        }

    @staticmethod
    def from_json(document: object, rate_hz: object, where: str) -> tuple[Features, tuple[str, ...]]:
        """LeRobot's ``features`` read, and those that an `Episode` has no place for, in words.

        Raises:
            InputError: they are not what LeRobot writes, or state or action is missing.
        """
        if not isinstance(document, dict) or not all(isinstance(entry, dict) for entry in document.values()):
            raise bad_dataset(where, "features is no table of features")
        if not isinstance(rate_hz, int | float) or isinstance(rate_hz, bool) or not 0 < rate_hz <= 1e6:
            raise bad_dataset(where, f"fps is {rate_hz!r}")
        cameras, extra, left_out = {}, {}, []
        for key, entry in document.items():
            if key in (STATE, ACTION) or key in COUNTERS:
                continue
            camera, column = _camera(key, entry, where), _extra(key, entry, where)
            if camera is not None and camera_name(key) not in cameras:
                cameras[camera_name(key)] = camera
            elif column is not None:
                extra[key] = column
            else:
                left_out.append(f"{key}: {entry.get('dtype')} {entry.get('shape')} has no place in an episode"[:300])
        names = {key: _names(key, document.get(key), where) for key in (STATE, ACTION)}
        features = Features(
            float(rate_hz), names[STATE], names[ACTION], dict(sorted(cameras.items())), dict(sorted(extra.items()))
        )
        return features, tuple(left_out)


def _extra_json(extra: Extra) -> dict[str, Any]:
    if extra.length is None:
        return {"dtype": extra.dtype, "shape": [1], "names": None}
    return {"dtype": extra.dtype, "shape": [extra.length], "names": [str(number) for number in range(extra.length)]}


def _shape(key: str, entry: dict[str, Any], where: str) -> tuple[int, ...]:
    shape = entry.get("shape")
    if not isinstance(shape, list) or not all(type(side) is int and side > 0 for side in shape):
        raise bad_dataset(where, f"the shape of {key} is {shape!r}")
    return tuple(shape)


def _camera(key: str, entry: dict[str, Any], where: str) -> tuple[int, int] | None:
    info = entry.get("info")
    depth = isinstance(info, dict) and (info.get("is_depth_map") or info.get("video.is_depth_map"))
    if entry.get("dtype") != "video" or depth or not CAMERA_NAME.fullmatch(camera_name(key)):
        return None
    shape, names = _shape(key, entry, where), entry.get("names")
    if isinstance(names, list) and names[:1] == ["channels"]:  # older sets name channels first
        shape = (*shape[1:], *shape[:1])
    if len(shape) != 3 or shape[2] != 3 or max(shape) > LARGEST_SIDE:
        raise bad_dataset(where, f"the pictures of {key} are {shape}, not up to {LARGEST_SIDE} pixels a side in RGB")
    return shape[0], shape[1]


def _extra(key: str, entry: dict[str, Any], where: str) -> Extra | None:
    dtype = entry.get("dtype")
    if dtype not in NUMBERS or not EXTRA_NAME.fullmatch(key) or key in RESERVED or key.startswith(IMAGES):
        return None
    shape = _shape(key, entry, where)
    if len(shape) != 1:
        return None
    if shape[0] > LARGEST_VECTOR:
        raise bad_dataset(where, f"{key} has {shape[0]} entries a frame")
    scalar = shape == (1,) and not isinstance(entry.get("names"), list)
    return Extra(str(dtype), None if scalar else shape[0])


def _names(key: str, entry: object, where: str) -> tuple[str, ...]:
    if not isinstance(entry, dict):
        raise bad_dataset(where, f"it has no {key}")
    shape, names = _shape(key, entry, where), entry.get("names")
    if len(shape) != 1 or shape[0] > LARGEST_VECTOR or entry.get("dtype") not in ("float32", "float64"):
        raise bad_dataset(where, f"{key} is {entry.get('dtype')} {shape}, no vector of floating point numbers")
    if isinstance(names, dict) and len(names) == 1:  # {"motors": [...]}
        (names,) = names.values()
    words = [name for name in names if isinstance(name, str) and name] if isinstance(names, list) else []
    if len(words) == len(set(words)) == shape[0]:
        return tuple(words)
    return tuple(f"{key.rpartition('.')[2]}_{number}" for number in range(shape[0]))


def bad_dataset(where: object, reason: str) -> InputError:
    """The error for a dataset that cannot be read: which file, and why."""
    return InputError(
        f"{where} cannot be read as a dataset: {reason}.",
        remedy="Copy or download the dataset again, or make it again.",
        code="bad_dataset",
    )


def camera_name(key: str) -> str:
    """A film's key without what LeRobot puts before it."""
    return key.removeprefix(IMAGES).removeprefix("observation.")


def image_key(camera: str) -> str:
    """The column of a camera's pictures."""
    return f"{IMAGES}{camera}"
