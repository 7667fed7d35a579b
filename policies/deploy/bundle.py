"""A bundle on the disk: a policy and all that is to be known to run it, looked at before anything of it is believed.

Nothing of it is executed but the network, by ONNX Runtime; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from policies.deploy.decisions import noise
from policies.deploy.guard import Guard, Limits
from policies.deploy.trust import Yardstick
from simulation.calibration import CALIBRATION
from simulation.chain import Chain
from simulation.pointcloud import CLOUD, COUNT, DEPTH, OF_A_POINT, Bounds, cloud

FloatArray = npt.NDArray[np.float64]
FORMAT, VERSION = "pocketworld.bundle", 1
MANIFEST, POLICY, SAMPLE = "manifest.json", "policy.onnx", "sample.npz"
JOINTS, NOISE, POSES = "observation.state", "noise", "poses"
"""Inputs and an output of the network: joint positions of the last two ticks ``(1, 2, J + 1)``, the noise that actions
are made of, ``(1, K, 10)``, and where the tool is to be, likewise."""
PLACES, DREAM = "places", "dream"
"""Further outputs of one that dreams: where the tool and the things are seen now, ``(1, P, 3)``, and where they will
be, ``(1, H, P, 3)``, in the base frame, metres."""
MEMORY, REMEMBERED = "memory", "remembered"
"""Of one that remembers what it saw, a further input and output ``(1, n)``: what comes out goes in at the next
decision; at first, zeros."""
PICTURES = "observation.images."
"""How the names of cameras' pictures begin."""
POSE = 10
LARGEST_BYTES = 1 << 30
DTYPES = ("float32", "uint8", "int16")


class BundleError(Exception):
    """A bundle is no good; says why."""


@dataclass(frozen=True)
class Input:
    """One thing that a policy looks at.

    Attributes:
        shape: of the network's input, the first side being 1.
        dtype: NumPy's name of its numbers.
    """

    shape: tuple[int, ...]
    dtype: str


class Decision(NamedTuple):
    """What comes of one look.

    Attributes:
        poses: ``(K, 10)`` where the tool is to be: position (m), x and y axis in the base frame, opening.
        places: ``(P, 3)`` where the tool and the things are, metres; None of a policy that only acts.
        dream: ``(H, P, 3)`` where they will be, likewise.
        memory: ``(n,)`` to be told at the next decision.
    """

    poses: FloatArray
    places: FloatArray | None
    dream: FloatArray | None
    memory: npt.NDArray[np.float32]


@dataclass(frozen=True)
class PointSource:
    """Of what a cloud of points is made (`simulation.pointcloud`).

    Attributes:
        cameras: that see in colour and depth, in the order of what is known of them.
        bounds: where points are kept.
    """

    cameras: tuple[str, ...]
    bounds: Bounds

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the cameras' pictures, of their depth pictures, and of what is known of them."""
        return (*(PICTURES + name for name in self.cameras), *(DEPTH + name for name in self.cameras), CALIBRATION)

    def cloud(self, seen: Mapping[str, npt.NDArray[Any]], tool: FloatArray) -> npt.NDArray[np.int16]:
        """The cloud ``(n,)`` of what was measured, `base_from_tool` ``(4, 4)`` being `tool` then.

        Raises:
            ValueError: pictures, depth and what is known do not fit together.
        """
        pictures, depths = ({name: seen[kind + name] for name in self.cameras} for kind in (PICTURES, DEPTH))
        return cloud(pictures, depths, seen[CALIBRATION], tool, self.bounds)


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says, as far as a runner needs it.

    Attributes:
        robot: its name.
        joints: of the arm, base first, in the order of all that is measured and told; then comes the gripper.
        home: ``(J + 1,)`` where the demonstrations began.
        chain: of the arm.
        limits: that the guard keeps.
        rate_hz: ticks a second.
        task: words of the command line; `sentence`: as one would say it.
        inputs: what the policy looks at, by name, without the noise.
        length: actions of a chunk.
        execute: ticks between decisions.
        lead: ticks that one may take.
        sure_ticks: for so long it does what is likeliest (`policies.deploy.decisions.noise`).
        memory: numbers that it remembers from one decision to the next.
        trust: by what its dreams are judged; None: it only acts.
        points: of what the cloud of points is made that it looks at; None: it looks at none.
        document: all of the file.
    """

    robot: str
    joints: tuple[str, ...]
    home: FloatArray
    chain: Chain
    limits: Limits
    rate_hz: float
    task: str
    sentence: str
    inputs: Mapping[str, Input]
    length: int
    execute: int
    lead: int
    sure_ticks: int
    memory: int
    trust: Yardstick | None
    points: PointSource | None
    document: Mapping[str, Any]

    @property
    def measures(self) -> tuple[str, ...]:
        """What a robot must measure beside its joints: the inputs, or of what those are made."""
        made = {} if self.points is None else {CLOUD: self.points.measures}
        return tuple(part for name in self.inputs if name != JOINTS for part in made.get(name, (name,)))


class Bundle:
    """A bundle that was found to be whole.

    Attributes:
        manifest: what it says of itself.
        sample: ``(T, …)`` what was seen in one demonstration, by the name of the input.
        network: an ``onnxruntime.InferenceSession``.
    """

    def __init__(self, folder: Path, threads: int = 1) -> None:
        """Read all of a bundle.

        Args:
            folder: of it.
            threads: that the network runs on; small ones are slower on several.

        Raises:
            BundleError: it is no bundle, of another version, damaged, or not what it says.
        """
        self.manifest, self.sample, data = read_bundle(folder)
        self.network = _network(folder, data, self.manifest, threads)

    def decide(
        self, seen: Mapping[str, npt.NDArray[Any]], tick: int = 0, memory: npt.NDArray[np.float32] | None = None
    ) -> Decision:
        """What is to be done, and what is dreamed of it.

        Args:
            seen: every input of the manifest, without its first side.
            tick: now, from the beginning.
            memory: of the decision before; None: this is the first.

        Raises:
            BundleError: something is missing, or of another shape.
        """
        m = self.manifest
        feed: dict[str, npt.NDArray[Any]] = {NOISE: noise(tick, m.sure_ticks, (m.length, POSE))[None]}
        if m.memory:
            feed[MEMORY] = (np.zeros(m.memory, dtype=np.float32) if memory is None else memory)[None]
        feed.update({name: values[None] for name, values in looked_at(m, seen).items()})
        names = [POSES, *([] if m.trust is None else [PLACES, DREAM]), *([REMEMBERED] if m.memory else [])]
        found = dict(zip(names, self.network.run(names, feed), strict=True))
        places, dream = (found[name][0].astype(np.float64) if name in found else None for name in (PLACES, DREAM))
        remembered = found[REMEMBERED][0] if m.memory else np.zeros(0, dtype=np.float32)
        return Decision(found[POSES][0].astype(np.float64), places, dream, remembered)

    def guard(self, start: FloatArray) -> Guard:
        """A guard for an arm that is at joint positions and opening ``(J + 1,)``."""
        m = self.manifest
        return Guard(m.chain, m.limits, m.rate_hz, start)

    def check(self) -> None:
        """See that decisions can be made, every tick; of one that makes them itself there is nothing to be lost."""


def looked_at(manifest: Manifest, seen: Mapping[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """Every input of a policy as it looks at it, without its first side.

    Raises:
        BundleError: one is missing, or of another shape.
    """
    found = {}
    for name, wanted in manifest.inputs.items():
        if name not in seen or np.shape(seen[name]) != wanted.shape[1:]:
            there = np.shape(seen[name]) if name in seen else "missing"
            raise BundleError(f"{name} is {there}, the policy looks at {wanted.shape[1:]}")
        found[name] = np.asarray(seen[name], dtype=wanted.dtype)
    return found


def read_bundle(folder: Path) -> tuple[Manifest, dict[str, npt.NDArray[Any]], bytes]:
    """What a bundle's manifest says, its sample ``(T, …)`` by name, and its network, not looked into.

    Raises:
        BundleError: it is no bundle, of another version, damaged, or not what it says.
    """
    document = read_manifest(folder)
    contents = _contents(folder, document)
    try:
        manifest = _parsed(document)
        return manifest, _sample(contents[SAMPLE], manifest), contents[POLICY]
    except (KeyError, TypeError, ValueError, IndexError, OverflowError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error).split("\n")[0]
        raise BundleError(f"{folder} is damaged: {what}") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """A bundle's manifest as it stands there.

    Raises:
        BundleError: there is none, or of another kind or version.
    """
    try:
        text = (folder / MANIFEST).read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or "it is no JSON"
        raise BundleError(f"{folder / MANIFEST} cannot be read: {reason}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BundleError(f"{folder} is no bundle")
    if document.get("version") != VERSION:
        raise BundleError(f"{folder} is a bundle of version {document.get('version')!r}, this reads {VERSION}")
    return document


def sha256(data: bytes) -> str:
    """Of some bytes, in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _contents(folder: Path, document: Mapping[str, Any]) -> dict[str, bytes]:
    """The bytes of the files that are used, all of those that are named being as the manifest says."""
    files = document.get("files")
    if not isinstance(files, dict) or not {POLICY, SAMPLE} <= files.keys():
        raise BundleError(f"{folder / MANIFEST} does not name {POLICY} and {SAMPLE}")
    found = {}
    for name, digest in files.items():
        path = folder / name
        if "\\" in name or ":" in name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f"{folder / MANIFEST} names a file outside of the bundle: {name!r}")
        try:
            if path.is_symlink() or not path.is_file() or path.stat().st_size > LARGEST_BYTES:
                raise BundleError(f"{path} is missing, or no file of a bundle")
            data = path.read_bytes()
        except (OSError, ValueError) as error:
            raise BundleError(f"{path} cannot be read: {error}") from None
        if sha256(data) != digest:
            raise BundleError(f"{path} is not the file that was exported: its SHA-256 is another")
        if name in (POLICY, SAMPLE):
            found[name] = data
    return found


def _parsed(document: Mapping[str, Any]) -> Manifest:
    robot, policy, guard = document["robot"], document["policy"], document["guard"]
    joints = tuple(map(str, robot["joints"]))
    count = len(joints)
    chain = Chain(
        tuple(_numbers(robot["chain"]["fixed"], count + 1, 4, 4)),
        _numbers(robot["chain"]["axes"], count, 3),
        np.array([bool(value) for value in _listed(robot["chain"]["sliding"], count)]),
        _numbers(robot["low"], count),
        _numbers(robot["high"], count),
    )
    turned = np.stack(chain.fixed)[:, :3, :3]
    if np.abs(np.linalg.norm(chain.axes, axis=1) - 1).max(initial=0) > 1e-3 or not np.allclose(
        turned @ turned.transpose(0, 2, 1), np.eye(3), atol=1e-3
    ):
        raise ValueError("its arm is no chain of rigid links")
    workspace = guard["workspace"]
    limits = Limits(
        chain.low,
        chain.high,
        _numbers(guard["speed"], count),
        _numbers(guard["acceleration"], count),
        None if workspace is None else _numbers([workspace["low"], workspace["high"]], 2, 3),
        _positive(guard["stale_s"], 10.0),
    )
    if not count or (chain.low >= chain.high).any() or (limits.speed <= 0).any() or (limits.acceleration <= 0).any():
        raise ValueError("its limits leave no room to move")
    if limits.workspace is not None and (limits.workspace[0] >= limits.workspace[1]).any():
        raise ValueError("its workspace is empty")
    inputs = {str(name): Input(_shape(entry["shape"]), str(entry["dtype"])) for name, entry in policy["inputs"].items()}
    if JOINTS not in inputs or inputs[JOINTS] != Input((1, 2, count + 1), "float32"):
        raise ValueError(f"its policy does not look at {JOINTS} (1, 2, {count + 1})")
    if not {entry.dtype for entry in inputs.values()} <= set(DTYPES):
        raise ValueError(f"its policy looks at other numbers than {', '.join(DTYPES)}")
    length, execute, lead = (_whole(policy[name], 4096) for name in ("length", "execute", "lead"))
    if not 1 <= execute <= length - lead:
        raise ValueError("its chunks are shorter than what is done of them")
    return Manifest(
        str(robot["name"]),
        joints,
        _numbers(robot["home"], count + 1),
        chain,
        limits,
        _positive(document["rate_hz"], 1000.0),
        str(document["task"]["words"]),
        str(document["task"]["sentence"]),
        inputs,
        length,
        execute,
        lead,
        _whole(policy["noise"]["zeros_for_ticks"], 1 << 20),
        _whole(policy["memory"], 1 << 20),
        None if document.get("trust") is None else Yardstick.from_json(document["trust"]),
        _points(document.get("points"), inputs),
        document,
    )


def _points(entry: Mapping[str, Any] | None, inputs: Mapping[str, Input]) -> PointSource | None:
    if entry is None:
        return None
    if inputs[CLOUD] != Input((1, COUNT * OF_A_POINT), "int16"):
        raise ValueError(f"its clouds are not of {COUNT} points")
    height, reach = _numbers([entry["table_m"], entry["reach_m"]], 2).tolist()
    return PointSource(tuple(map(str, entry["cameras"])), Bounds(height, _positive(reach, 100.0)))


def _sample(data: bytes, manifest: Manifest) -> dict[str, npt.NDArray[Any]]:
    import io

    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_BYTES:
                raise ValueError(f"{SAMPLE} is too large")
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            sample = {name: arrays[name] for name in manifest.inputs}
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise ValueError(f"{SAMPLE}: {error}") from None
    for name, wanted in manifest.inputs.items():
        if not len(sample[name]) or sample[name].shape[1:] != wanted.shape[1:]:
            raise ValueError(f"{name} in {SAMPLE} is {sample[name].shape}")
    return sample


def _network(folder: Path, data: bytes, manifest: Manifest, threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = threads
    options.log_severity_level = 3
    try:
        network = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime has no common class of its errors
        reason = str(error).split("\n")[0][:200]
        raise BundleError(f"{folder / POLICY} is no readable network: {reason}") from None
    wanted = {name: list(entry.shape) for name, entry in manifest.inputs.items()}
    wanted[NOISE] = [1, manifest.length, POSE]
    if manifest.memory:
        wanted[MEMORY] = [1, manifest.memory]
    there = {entry.name: entry.shape for entry in network.get_inputs()}
    made = {entry.name: entry.shape for entry in network.get_outputs()}
    dreams = manifest.trust is None or _dreams(made.get(PLACES), made.get(DREAM), len(manifest.trust.horizons))
    remembers = not manifest.memory or made.get(REMEMBERED) == [1, manifest.memory]
    if there != wanted or made.get(POSES) != [1, manifest.length, POSE] or not (dreams and remembers):
        raise BundleError(f"{folder / POLICY} is not the network that the manifest tells of")
    return network


def _dreams(places: object, dream: object, horizons: int) -> bool:
    """Whether outputs of such shapes are a dream, and what it is compared with: of the tool and a thing, or more."""
    match places, dream:
        case [1, int(count), 3], [1, int(ahead), int(same), 3]:
            return count == same >= 2 and ahead == horizons
    return False


def _listed(value: object, count: int) -> Sequence[Any]:
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"the manifest lacks a list of {count}")
    return value


def _numbers(value: object, *shape: int) -> FloatArray:
    found = np.array(value, dtype=np.float64)
    if found.shape != shape or not np.isfinite(found).all():
        raise ValueError(f"the manifest lacks numbers {shape}")
    return found


def _positive(value: object, most: float) -> float:
    if not isinstance(value, int | float) or not (math.isfinite(value) and 0 < value <= most):
        raise ValueError(f"{value!r} is no number up to {most}")
    return float(value)


def _whole(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{value!r} is no whole number up to {most}")
    return value


def _shape(value: object) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or value[0] != 1 or math.prod(map(_whole_side, value)) > 1 << 28:
        raise ValueError(f"{value!r} is no shape of an input")
    return tuple(value)


def _whole_side(value: object) -> int:
    return max(1, _whole(value, 1 << 20))
