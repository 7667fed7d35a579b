"""Pictures into files and into pages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from reconstruction.disk import write_whole
from reconstruction.errors import UsageError

ByteImage = npt.NDArray[np.uint8]


def encoded(image: ByteImage, suffix: str, quality: int = 85) -> bytes:
    """The bytes of an image file without any metadata.

    Args:
        image: ``(H, W, 3)`` uint8 RGB, or with alpha ``(H, W, 4)`` for PNG and WebP.
        suffix: ``".jpg"``, ``".png"`` or ``".webp"``.
        quality: 0 … 100, of JPEG and WebP.

    Raises:
        UsageError: another suffix.
    """
    import cv2

    options = {
        ".jpg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".jpeg": [cv2.IMWRITE_JPEG_QUALITY, quality],
        ".webp": [cv2.IMWRITE_WEBP_QUALITY, quality],
        ".png": [],
    }
    if suffix.lower() not in options:
        raise UsageError(
            f"A picture cannot be written as {suffix or 'a file without ending'}.",
            remedy="Use a name that ends in .jpg, .png or .webp.",
            code="bad_value",
        )
    order = [2, 1, 0, 3] if image.shape[2] == 4 else [2, 1, 0]
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., order]), options[suffix.lower()])
    if not done:
        raise ValueError(f"an image of shape {image.shape} cannot be written as {suffix}")
    return bytes(data)


def write_picture(path: Path, image: ByteImage) -> None:
    """Write ``(H, W, 3)`` uint8 RGB, whole or not at all.

    Raises:
        UsageError: the name has another ending than .jpg, .png or .webp.
        OutputError: the place cannot be written.
    """
    write_whole(path, encoded(image, path.suffix))
