"""Photos as a camera's card holds them: JPEG with EXIF, in no order, no poses, no depth."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from simulation.phone_formats.export import Export
from simulation.recording import VirtualRecording

_ORIENTATION, _MODEL, _EXIF, _FILM_FOCAL = 0x0112, 0x0110, 0x8769, 0xA405
_FILM_DIAGONAL_MM = 43.2666


def photo_names(recording: VirtualRecording) -> list[str]:
    """The name of each frame's photo; their order says nothing of when they were taken."""
    order = np.random.default_rng([recording.seed, 3]).permutation(len(recording))
    return [f"IMG_{1001 + number}.JPG" for number in order]


def write(recording: VirtualRecording, path: Path) -> None:
    """Photos as the sensor has them; EXIF gives whole millimetres of focal length, and the orientation."""
    from PIL import Image

    diagonal = float(np.hypot(*recording.phone.rgb_size))
    names = photo_names(recording)
    with Export(path) as export:
        for index in sorted(range(len(recording)), key=lambda number: names[number]):
            exif = Image.Exif()
            exif[_MODEL] = "virtual phone"
            exif[_ORIENTATION] = 6 if recording.phone.portrait else 1
            focal = round(float(recording.intrinsics[index, 0, 0]) / diagonal * _FILM_DIAGONAL_MM)
            exif.get_ifd(_EXIF)[_FILM_FOCAL] = focal
            data = io.BytesIO()
            Image.fromarray(recording.rgb(index)).save(data, "JPEG", quality=93, exif=exif)
            export.put(names[index], data.getvalue())
