"""What the nodes of a cluster do for `simulation.cluster`: a job, if they are like the computer that it comes from."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import pickle
import platform
import socket
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

PACKAGES = Path(__file__).resolve().parent.parent
CODE = ("reconstruction", "simulation", "policies", "resources")
DEPENDENCIES = ("numpy", "scipy", "trimesh", "pybullet")
"""What results depend on in their last digit."""


@dataclass(frozen=True)
class Stored:
    """Stands in a job for an argument in the object store: the number of it among those that come with the job."""

    number: int


@functools.cache
def likeness() -> Mapping[str, str]:
    """What two computers must have in common for the same results: versions, and a hash of Pocketworld's own files."""
    digest = hashlib.blake2b(digest_size=8)
    for package in CODE:
        for file in sorted((PACKAGES / package).rglob("*")):
            if file.is_file() and file.suffix != ".pyc":
                digest.update(file.relative_to(PACKAGES).as_posix().encode() + b"\0" + file.read_bytes())
    found = {
        "Pocketworld's code": digest.hexdigest(),
        "Python": platform.python_version(),
        "processor": platform.machine(),
    }
    for package in DEPENDENCIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def perform(wanted: Mapping[str, str], job: bytes, stored: Sequence[bytes]) -> tuple[str, bytes | str]:
    """Do a job.

    Args:
        wanted: `likeness` of the computer that the job comes from.
        job: pickled function, arguments and keyword arguments.
        stored: pickled large arguments.

    Returns:
        ``"done"`` and the pickled result, ``"raised"`` and the pickled error with its traceback, or ``"unlike"`` and
        in what this node differs from `wanted`.
    """
    here = likeness()
    differing = [f"{name} is {here.get(name)} there, {value} here" for name, value in wanted.items()
                 if here.get(name) != value]  # fmt: skip
    if differing:
        return "unlike", f"{socket.gethostname()}: {'; '.join(differing)}"
    try:
        function, arguments, kwargs = pickle.loads(job)
        args = [pickle.loads(stored[part.number]) if isinstance(part, Stored) else part for part in arguments]
        return "done", pickle.dumps(function(*args, **kwargs))
    except Exception as error:  # noqa: BLE001 - handed to whoever asked for the job
        return "raised", _pickled(error)


def _pickled(error: Exception) -> bytes:
    where = "".join(traceback.format_exception(error))
    try:
        data = pickle.dumps((error, where))
        pickle.loads(data)
    except Exception:  # noqa: BLE001 - an error of any kind that does not travel
        return pickle.dumps((RuntimeError(f"{type(error).__name__}: {error}"), where))
    return data
