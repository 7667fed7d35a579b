"""The virtual phone: a scan of a virtual world in the form of any phone app, with the truth beside it.

``python -m simulation.virtual_phone --sample resources/sample_scan.zip`` makes the bundled sample again.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from reconstruction.errors import OutputError, UsageError
from reconstruction.progress import Progress, silent
from simulation.phone_formats import WRITERS
from simulation.recording import VirtualPhone, VirtualRecording, record
from simulation.tag_on_table import with_tag
from simulation.truth import save_truth
from simulation.virtual_world import VirtualWorld, bare_wall, random_world, room_world, sample_world

__all__ = [
    "SAMPLE",
    "WRITERS",
    "VirtualPhone",
    "VirtualRecording",
    "VirtualScanSettings",
    "record",
    "save_truth",
    "virtual_scan",
    "write_virtual_scan",
]

FormatName = Literal[
    "record3d", "record3d_exr", "stray", "polycam", "laan", "nerfcapture", "nerfcapture_instant_ngp",
    "nerfcapture_splatam", "nerfstudio", "arkitscenes", "sevenscenes", "tum", "photos",
]  # fmt: skip
WorldName = Literal["sample", "random", "bare_wall", "room"]


@dataclass(frozen=True)
class VirtualScanSettings:
    """What a virtual scan shows and how it is written."""

    format: FormatName = "record3d"
    """Phone app whose export is written."""
    world: WorldName = "random"
    """`sample`: the bundled desk; `random`: things on a table; `bare_wall`: nothing to find; `room`: a whole room."""
    seed: int = 0
    """Same seed, same scan, byte for byte."""
    frames: int = 150
    """Number of frames; a room wants 1000 and more."""
    objects: int = 8
    """Number of things in a random world or a room."""
    touching: bool = False
    """Let some things touch (random world)."""
    stacked: bool = False
    """Let some things stand on or in others (random world)."""
    portrait: bool = False
    """The phone is held upright."""
    returning: bool = False
    """Walk a full circle and end where it began."""
    rgb_width: int = 960
    """Width of the colour pictures in pixels (4:3); larger is slower."""
    drift_m: float = 0.008
    """Largest position error of the written poses, metres; their heading drifts along, 0.03° a millimetre."""
    tag: bool = False
    """Lay a tag as `pocketworld tag` prints it (number 0, 80 mm) on the bare table."""
    scale: float = 1.0
    """Poses and depth are written too large by this factor (1.05: 5 %)."""
    truth: bool = True
    """Also write what is really there, into `<name>_truth` beside the scan."""


RANGES: dict[str, tuple[float, float]] = {
    "seed": (0, 2**63 - 1),
    "frames": (2, 100_000),
    "objects": (1, 40),
    "rgb_width": (64, 8192),
    "drift_m": (0.0, 1.0),
    "scale": (0.01, 100.0),
}
"""What settings may be; more objects would fit on no table."""

SAMPLE = VirtualScanSettings(format="stray", world="sample", seed=2026, frames=110, returning=True)


def virtual_scan(settings: VirtualScanSettings) -> VirtualRecording:
    """The recording that `settings` describe; its pictures are made when asked for.

    Raises:
        UsageError: a setting is out of range.
    """
    for name, (low, high) in RANGES.items():
        if not low <= getattr(settings, name) <= high:
            raise UsageError(
                f"A virtual scan's {name} is {getattr(settings, name)}; it may be {low:g} to {high:g}.",
                remedy=f"Change --{name.replace('_', '-')}.",
                code="bad_setting",
            )
    rng = np.random.default_rng(settings.seed)
    width = settings.rgb_width // 8 * 8
    phone = VirtualPhone(
        frames=settings.frames,
        rgb_size=(width, width * 3 // 4),
        portrait=settings.portrait,
        returning=settings.returning,
        drift_m=settings.drift_m,
        drift_yaw_deg=31.25 * settings.drift_m,
        scale=settings.scale,
    )
    world = _world(settings, rng)
    return record(with_tag(world, rng) if settings.tag else world, phone, rng)


def _world(settings: VirtualScanSettings, rng: np.random.Generator) -> VirtualWorld:
    worlds: dict[str, Callable[[], VirtualWorld]] = {
        "sample": sample_world,
        "random": lambda: random_world(rng, settings.objects, settings.touching, settings.stacked),
        "bare_wall": lambda: bare_wall(rng),
        "room": lambda: room_world(rng, settings.objects),
    }
    return worlds[settings.world]()


def write_virtual_scan(settings: VirtualScanSettings, out: Path, progress: Progress = silent) -> None:
    """Write a virtual scan to `out`: a folder, or an archive where it ends in ``.zip`` or ``.r3d``.

    Raises:
        OutputError: `out` exists already or cannot be written; nothing is left behind.
        UsageError: a setting is out of range.
    """
    truth = out.parent / f"{out.stem}_truth"
    for path in (out, truth) if settings.truth else (out,):
        if os.path.lexists(path):  # also a link to nowhere
            raise OutputError(f"{path} is already there.", remedy="Remove it or name another place.", code="exists")
    recording = virtual_scan(settings)
    partial = out.with_name(f".partial_{out.name}")
    partial_truth = truth.with_name(f".partial_{truth.name}")
    try:
        WRITERS[settings.format](
            dataclasses.replace(recording, on_picture=_counter(settings.frames, progress)), partial
        )
        if settings.truth:
            save_truth(recording, partial_truth)
        partial.rename(out)
        if settings.truth:
            _rename_too(partial_truth, truth, out)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be written: {error.strerror or error}.",
            remedy="Free some space or name a place that you may write to.",
            code="cannot_write",
        ) from None
    finally:
        for path in (partial, partial_truth):
            _remove(path)
    progress(1.0, f"wrote {out.name}")


def _rename_too(partial: Path, final: Path, first: Path) -> None:
    """Rename the second of two: without it, the first is taken away again."""
    try:
        partial.rename(final)
    except OSError:
        _remove(first)
        raise


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):  # what cannot be reached was not made
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _counter(frames: int, progress: Progress) -> Callable[[], None]:
    made = 0

    def on_picture() -> None:
        nonlocal made
        progress(min(made / (2.0 * frames), 0.99), "recording")  # a colour and a depth picture a frame
        made += 1

    return on_picture


def main() -> None:
    """Make the bundled sample scan again; an older one is replaced when the new one is complete."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--sample", type=Path, required=True, metavar="ZIP", help="file to write")
    out: Path = parser.parse_args().sample
    new = out.with_name(f"new_{out.name}")
    write_virtual_scan(dataclasses.replace(SAMPLE, truth=False), new)
    new.replace(out)


if __name__ == "__main__":
    main()
