"""Others' datasets read as episodes: UMI's replay buffers (Zarr in a zip) and robomimic's HDF5.

They store arrays under names that each task chooses. What is what follows from names and shapes; what has no place in
an `Episode` stands in `Dataset.left_out`, with the reason. Both hold demonstrations: every episode counts as a success.

Sources. UMI: real-stanford/universal_manipulation_interface ``scripts_slam_pipeline/07_generate_replay_buffer.py`` and
``diffusion_policy/common/sampler.py``; the same layout holds Diffusion Policy's datasets. robomimic: its page
``datasets/overview``; LIBERO's files look alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from policies.dataset_folder import MAX_TABLE_BYTES
from policies.episodes import Dataset
from policies.features import LARGEST_SIDE, LARGEST_VECTOR, NUMBERS, Extra, Features, bad_dataset
from policies.films import MAX_DECODED_BYTES
from policies.zarr_arrays import ATTRIBUTES, ZarrArray, zarr_array
from reconstruction.archive import natural_key, open_tree
from reconstruction.errors import InputError, MissingToolError
from simulation.episode import CAMERA_NAME, EXTRA_NAME, RESERVED, Episode, Pictures

UMI_RATE_HZ = 60.0
ROBOMIMIC_RATE_HZ = 20.0
UMI_STATE = re.compile(r"robot([0-9]{1,3})_(eef_pos|eef_rot_axis_angle|gripper_width)")
UMI_ORDER = ("eef_pos", "eef_rot_axis_angle", "gripper_width")
MAX_DEMOS = 1_000_000
HDF5_FILTERS = {1, 2, 3, 4, 5, 6, 32000}
"""Numbers of those that come with h5py; others would load a library that the file asks for."""

Shape = tuple[tuple[int, ...], np.dtype[Any]]
"""Of one frame's values, and their type."""


@dataclass(frozen=True)
class Sorted:
    """Which array is what.

    Attributes:
        state: names of the arrays that make it up, in order.
        action: name of its array; None where the next state is taken for it.
        cameras: name of the array by camera.
        extra: names of the rest.
        left_out: names and reasons.
    """

    state: tuple[str, ...]
    action: str | None
    cameras: Mapping[str, str]
    extra: tuple[str, ...]
    left_out: tuple[str, ...] = field(default=())


def sort_out(
    shapes: Mapping[str, Shape], state: Sequence[str], action: str | None, problems: Mapping[str, str]
) -> Sorted:
    """Decide which array is what; `problems` are of arrays that cannot be read at all."""
    cameras, extra, left_out = {}, [], [f"{name}: {problem}" for name, problem in problems.items() if problem]
    for name, (shape, dtype) in sorted(shapes.items()):
        if name in state or name == action or problems.get(name):
            continue
        camera = name.removesuffix("_image").removesuffix("_rgb")
        pictures = (
            len(shape) == 3 and shape[2] == 3 and dtype == np.uint8 and 0 < min(shape) <= max(shape) <= LARGEST_SIDE
        )
        usable = len(shape) < 2 and 0 < (shape or (1,))[0] <= LARGEST_VECTOR and dtype.name in NUMBERS
        if pictures and CAMERA_NAME.fullmatch(camera) and camera not in cameras:
            cameras[camera] = name
        elif usable and EXTRA_NAME.fullmatch(name) and name not in RESERVED:
            extra.append(name)
        else:
            left_out.append(f"{name}: {dtype} {shape} a frame has no place in an episode")
    return Sorted(tuple(state), action, cameras, tuple(extra), tuple(left_out))


def _features(rate_hz: float, shapes: Mapping[str, Shape], found: Sorted) -> Features:
    def names(arrays: Sequence[str]) -> tuple[str, ...]:
        widths = [(name, (shapes[name][0] or (1,))[0]) for name in arrays]
        return tuple(f"{name}_{k}" if width > 1 else name for name, width in widths for k in range(width))

    extra = {name: Extra(shapes[name][1].name, shapes[name][0][0] if shapes[name][0] else None) for name in found.extra}
    cameras = {camera: (shapes[name][0][0], shapes[name][0][1]) for camera, name in found.cameras.items()}
    return Features(rate_hz, names(found.state), names([found.action] if found.action else found.state), cameras, extra)


class Foreign(Dataset):
    """What both have in common: arrays by name, rows of them by episode."""

    rate_hz: float
    task: str
    found: Sorted
    where: str

    def rows(self, number: int, name: str, wanted: Sequence[int] | None) -> npt.NDArray[Any]:
        """An episode's rows of an array, or some of them."""
        raise NotImplementedError

    def read(self, number: int, cameras: Sequence[str] | None = None) -> Episode:
        """See `Dataset.read`."""
        length, chosen = self.length(number), {name: self.found.cameras[name] for name in self.chosen(cameras)}
        if length * sum(h * w * 3 for h, w in map(self.features.cameras.__getitem__, chosen)) > MAX_DECODED_BYTES:
            raise bad_dataset(self.where, f"the pictures of episode {number} do not fit into memory")
        parts = [self.rows(number, name, None).reshape(length, -1) for name in self.found.state]
        state = _as_float32(np.concatenate(parts, axis=1), self.where)
        if self.found.action is not None:
            action = _as_float32(self.rows(number, self.found.action, None).reshape(length, -1), self.where)
        else:
            action = np.concatenate([state[1:], state[-1:]])
        try:
            return Episode(
                task=self.task,
                task_name=self.task,
                rate_hz=self.rate_hz,
                state=state,
                state_names=self.features.state_names,
                action=action,
                action_names=self.features.action_names,
                images={camera: self.rows(number, name, None) for camera, name in chosen.items()},
                extra={name: self.rows(number, name, None) for name in self.features.extra},
                index=number,
                seconds=length / self.rate_hz,
            )
        except InputError as error:
            raise bad_dataset(self.where, f"of episode {number}, {error.message.rstrip('.')}") from None

    def frames(self, number: int, camera: str, wanted: Sequence[int]) -> Pictures:
        """See `Dataset.frames`."""
        self._check(number, wanted)
        return self.rows(number, self.found.cameras[camera], wanted)


def is_run(wanted: Sequence[int]) -> bool:
    """Whether these are numbers one after the other, which are read faster as one piece."""
    return len(wanted) > 0 and list(wanted) == list(range(wanted[0], wanted[0] + len(wanted)))


def _as_float32(values: npt.NDArray[Any], where: str) -> npt.NDArray[np.float32]:
    with np.errstate(over="ignore"):
        narrow = values.astype(np.float32)
    if not np.isfinite(narrow).all():
        raise bad_dataset(where, "state or action has values that are not finite, or too large")
    return narrow


# --- UMI -------------------------------------------------------------------------------------------------------------


class Umi(Foreign):
    """A replay buffer: ``data/<array>`` over all frames, ``meta/episode_ends``; Zarr v2, in a zip or a folder.

    UMI records poses and widths and no action: the action at a frame is then the state at the next. Neither rate nor
    task is stored: UMI's cameras give 60 frames a second.
    """

    def __init__(self, path: Path, task: str = "", rate_hz: float | None = None) -> None:
        self.folder, self.where = path, str(path)
        tree = open_tree(path)
        names = [folder for folder in tree.folders if f"{folder}/{ATTRIBUTES}" in tree]
        if "meta/episode_ends" not in names:
            raise bad_dataset(path, "it has no meta/episode_ends")
        ends = zarr_array(tree, "meta/episode_ends")
        if len(ends.shape) != 1 or not 0 < ends.shape[0] <= MAX_DEMOS or ends.dtype.kind not in "iu":
            raise bad_dataset(path, f"meta/episode_ends is {ends.dtype} {ends.shape}")
        self._ends = [0, *ends.read(0, ends.shape[0]).tolist()]
        arrays = {name.removeprefix("data/"): zarr_array(tree, name) for name in names if name.startswith("data/")}
        if sorted(set(self._ends)) != self._ends:
            raise bad_dataset(path, "meta/episode_ends does not rise")
        short = [name for name, array in arrays.items() if array.shape[0] < self._ends[-1]]
        if short:
            raise bad_dataset(path, f"{short[0]} has fewer rows than meta/episode_ends says")
        self._arrays: dict[str, ZarrArray] = arrays
        shapes: dict[str, Shape] = {name: (array.shape[1:], array.dtype) for name, array in arrays.items()}
        state = _umi_state(shapes)
        problems = {name: array.problem for name, array in arrays.items()}
        bad = [name for name in (*state, "action") if problems.get(name) or len(shapes.get(name, ((1,),))[0]) > 1]
        if not state or bad:
            raise bad_dataset(path, f"{bad[0]}: {problems[bad[0]] or 'no vector'}" if bad else "it has no state")
        self.found = sort_out(shapes, state, "action" if "action" in arrays else None, problems)
        self.task, self.rate_hz = task or path.name.split(".")[0] or "task", rate_hz or UMI_RATE_HZ
        self.features, self.left_out = _features(self.rate_hz, shapes, self.found), self.found.left_out

    def __len__(self) -> int:
        return len(self._ends) - 1

    def length(self, number: int) -> int:
        """See `Dataset.length`."""
        self._check(number)
        return int(self._ends[number + 1] - self._ends[number])

    def rows(self, number: int, name: str, wanted: Sequence[int] | None) -> npt.NDArray[Any]:
        """See `Foreign.rows`."""
        array, start, stop = self._arrays[name], self._ends[number], self._ends[number + 1]
        if not wanted or is_run(wanted):
            first, last = (0, stop - start) if wanted is None else (min(wanted, default=0), max(wanted, default=-1) + 1)
            return array.read(start + first, start + last)
        return np.concatenate([array.read(start + frame, start + frame + 1) for frame in wanted])


def _umi_state(shapes: Mapping[str, Shape]) -> list[str]:
    hits = [match for match in map(UMI_STATE.fullmatch, shapes) if match]
    hits.sort(key=lambda match: (int(match[1]), UMI_ORDER.index(match[2])))
    return [match[0] for match in hits] or [name for name in ("state",) if name in shapes]


# --- robomimic -------------------------------------------------------------------------------------------------------


class Robomimic(Foreign):
    """``data/demo_<n>`` with ``actions``, ``obs/<array>``, and mostly ``rewards``, ``dones``, ``states``.

    The state is what ``obs`` says of the robot (names that begin with ``robot``; without such, all its vectors). The
    rate is that of the simulator that made it, if the file says so, else 20.
    """

    def __init__(self, path: Path, task: str = "", rate_hz: float | None = None) -> None:
        self.folder, self.where = path, str(path)
        with self._file() as file:
            data = _group(file, "data", self.where)
            self._demos = sorted((name for name in data if name.startswith("demo")), key=natural_key)
            if not 0 < len(self._demos) <= MAX_DEMOS:
                raise bad_dataset(path, f"data holds {len(self._demos)} demonstrations")
            self._lengths = [self._demo_length(data, name) for name in self._demos]
            first = _arrays_of(_group(data, self._demos[0], self.where), self.where)
            shapes: dict[str, Shape] = {k: (tuple(array.shape[1:]), array.dtype) for k, (_, array, _) in first.items()}
            name, words, rate = _environment(data)
        problems = {key: problem for key, (_, _, problem) in first.items()}
        vectors = [key for key, (path_, _, _) in first.items() if path_.startswith("obs/") and len(shapes[key][0]) < 2]
        vectors = [key for key in vectors if not problems[key] and shapes[key][1].kind in "iufb"]
        state = [key for key in vectors if key.startswith("robot")] or vectors
        if not state:
            raise bad_dataset(path, "it has no observations; extract them with robomimic's dataset_states_to_obs.py")
        if "actions" not in first or problems["actions"] or len(shapes["actions"][0]) != 1:
            raise bad_dataset(path, "it has no actions")
        self._paths = {key: path_ for key, (path_, _, _) in first.items()}
        self._shapes = shapes
        self.found = sort_out(shapes, state, "actions", problems)
        self.task = task or words or name or path.name.split(".")[0] or "task"
        self.rate_hz = rate_hz or rate or ROBOMIMIC_RATE_HZ
        self.features, self.left_out = _features(self.rate_hz, shapes, self.found), self.found.left_out

    @contextmanager
    def _file(self) -> Iterator[Any]:
        try:
            import h5py
        except ImportError as error:
            raise MissingToolError(
                f"h5py is needed to read {self.where}.",
                remedy="pip install 'pocketworld[foreign]'",
                code="missing_package",
            ) from error
        try:
            with h5py.File(self.folder, "r", locking=False) as file:
                yield file
        except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
            raise bad_dataset(self.where, " ".join(str(error).split())[:200].rstrip(".")) from error

    def _demo_length(self, data: Any, name: str) -> int:
        actions = _array(_group(data, name, self.where), "actions", self.where)
        if actions is None or not actions.shape or not actions.shape[0]:
            raise bad_dataset(self.where, f"data/{name} has no actions")
        return int(actions.shape[0])

    def __len__(self) -> int:
        return len(self._demos)

    def length(self, number: int) -> int:
        """See `Dataset.length`."""
        self._check(number)
        return self._lengths[number]

    def rows(self, number: int, name: str, wanted: Sequence[int] | None) -> npt.NDArray[Any]:
        """See `Foreign.rows`."""
        length, where = self.length(number), f"{self.where}: data/{self._demos[number]}/{self._paths[name]}"
        with self._file() as file:
            demo = _group(_group(file, "data", self.where), self._demos[number], self.where)
            folder, _, key = self._paths[name].rpartition("/")
            array = _array(_group(demo, folder, where) if folder else demo, key, where)
            shape, dtype = self._shapes[name]
            if array is None or tuple(array.shape) != (length, *shape) or array.dtype != dtype or _problem(array):
                raise bad_dataset(where, f"it is not {length} rows of {dtype} {shape}")
            if wanted is None:
                return np.asarray(array[:])
            if is_run(wanted):
                return np.asarray(array[wanted[0] : wanted[-1] + 1])
            return np.stack([array[frame] for frame in wanted]) if wanted else np.empty((0, *shape), dtype)


def _group(parent: Any, name: str, where: str) -> Any:
    import h5py

    item = _item(parent, name, where)
    if not isinstance(item, h5py.Group):
        raise bad_dataset(where, f"it has no group {name}")
    return item


def _array(parent: Any, name: str, where: str) -> Any:
    import h5py

    item = _item(parent, name, where)
    return item if isinstance(item, h5py.Dataset) else None


def _item(parent: Any, name: str, where: str) -> Any:
    """An entry of the file itself: links, which may lead to other files, are refused."""
    import h5py

    link = parent.get(name, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise bad_dataset(where, f"{name} is a link")
    return parent[name]


def _arrays_of(demo: Any, where: str) -> dict[str, tuple[str, Any, str]]:
    """Path, array and problem of each array of a demonstration and of its ``obs``, by its name."""
    found: dict[str, tuple[str, Any, str]] = {}
    groups = [("", demo)]
    if demo.get("obs", getlink=True) is not None:
        groups.append(("obs/", _group(demo, "obs", where)))
    for folder, group in groups:
        for name in group:
            array = _array(group, name, where)
            if array is not None and name not in found and array.ndim:
                found[name] = (f"{folder}{name}", array, _problem(array))
    return found


def _problem(array: Any) -> str:
    """Why an array is not read; empty where it is."""
    if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8 or array.dtype.hasobject:
        return f"it holds {array.dtype}, no plain numbers"
    if array.external or array.is_virtual:
        return "its values lie in other files"
    if array.nbytes > max(MAX_TABLE_BYTES, MAX_DECODED_BYTES):
        return f"it takes {array.nbytes >> 20} MiB of memory"
    properties = array.id.get_create_plist()
    codes = {properties.get_filter(number)[0] for number in range(properties.get_nfilters())}
    return "" if codes <= HDF5_FILTERS else "it is packed with what is no part of HDF5"


def _environment(data: Any) -> tuple[str, str, float | None]:
    """Name of the environment, what is to be done in words, and steps a second, as far as the file says."""

    def attribute(name: str) -> dict[str, Any]:
        try:
            value = json.loads(data.attrs[name])
        except (KeyError, ValueError, TypeError, RecursionError, OSError):
            return {}
        return value if isinstance(value, dict) else {}

    environment, problem = attribute("env_args"), attribute("problem_info")
    name, words = environment.get("env_name"), problem.get("language_instruction")
    settings = environment.get("env_kwargs")
    rate = settings.get("control_freq") if isinstance(settings, dict) else None
    usable = isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate <= 1000
    return (
        name if isinstance(name, str) else "",
        words if isinstance(words, str) else "",
        float(rate) if usable and rate is not None else None,
    )


def foreign_kind(path: Path) -> Callable[..., Dataset] | None:
    """Which of these formats lies there, by what it begins with or holds; None for neither."""
    try:
        if path.is_dir():
            return Umi if (path / ".zgroup").is_file() or (path / "meta" / "episode_ends").is_dir() else None
        if not path.is_file():  # reading a pipe waits for ever
            return None
        with path.open("rb") as file:
            head = file.read(8)
    except (OSError, ValueError):
        return None
    if head == b"\x89HDF\r\n\x1a\n":
        return Robomimic
    return Umi if head[:4] == b"PK\x03\x04" else None
