"""Photos become posed RGB-D frames: structure from motion, then dense depth from pairs of pictures.

`solve` is the table of contents. Only here are `pycolmap` and its conventions known.
"""

from reconstruction.photogrammetry.settings import PhotoSettings
from reconstruction.photogrammetry.solve import load_solution, needs_solving, solve

__all__ = ["PhotoSettings", "load_solution", "needs_solving", "solve"]
