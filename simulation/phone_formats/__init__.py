"""Writers of phone exports: `WRITERS` maps a format's name to ``fn(recording, path)``.

Each writes what the app would (``formats.md``), so that every importer can be tested against exact truth. A `path` that
ends in ``.zip`` (or ``.r3d``) becomes an archive, any other a folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from simulation.phone_formats import laan, photos, polycam, record3d, rgbd, stray, transforms
from simulation.recording import VirtualRecording

Writer = Callable[[VirtualRecording, Path], None]

WRITERS: dict[str, Writer] = {
    "record3d": record3d.write_r3d,
    "record3d_exr": record3d.write_exr,
    "stray": stray.write,
    "polycam": polycam.write,
    "laan": laan.write,
    "nerfcapture": transforms.write_nerfcapture,
    "nerfcapture_instant_ngp": transforms.write_instant_ngp,
    "nerfcapture_splatam": transforms.write_splatam,
    "nerfstudio": transforms.write_nerfstudio,
    "arkitscenes": rgbd.write_arkitscenes,
    "sevenscenes": rgbd.write_sevenscenes,
    "tum": rgbd.write_tum,
    "photos": photos.write,
}
