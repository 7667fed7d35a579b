"""Photos become posed RGB-D frames: structure from motion, then dense depth from pairs of pictures.

`solve` is the table of contents. Only here are `pycolmap` and its conventions known.
"""

from reconstruction.photogrammetry.settings import PhotoSettings


__all__ = ["PhotoSettings"]
