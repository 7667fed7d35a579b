"""Statistics of columns, as LeRobot and GR00T normalise with them: of one episode, and of many together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from simulation.episode import Pictures

FloatArray = npt.NDArray[np.float64]
QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
NAMES = ("min", "max", "mean", "std", "count", *QUANTILES)
Statistics = dict[str, Any]
"""By name of `NAMES`, as nested lists: of a column ``(entries,)``, of pictures ``(3, 1, 1)``; count ``(1,)``."""


def column_statistics(values: npt.NDArray[Any]) -> Statistics:
    """Of a column's values ``(N,)`` or ``(N, k)``, entry by entry, exactly."""
    rows = values.reshape(len(values), -1).astype(np.float64)
    found = {
        "min": rows.min(axis=0).tolist(),
        "max": rows.max(axis=0).tolist(),
        "mean": rows.mean(axis=0).tolist(),
        "std": rows.std(axis=0).tolist(),
        "count": [len(rows)],
    }
    quantiles = np.quantile(rows, list(QUANTILES.values()), axis=0)
    return {**found, **{name: row.tolist() for name, row in zip(QUANTILES, quantiles, strict=True)}}


def picture_statistics(pictures: Pictures) -> Statistics:
    """Of an episode's pictures ``(T, H, W, 3)``, by colour, scaled to 0 … 1, exactly; ``count`` is of pictures."""
    counts = _color_counts(pictures)
    levels, total = np.arange(256) / 255.0, counts.sum(axis=1)
    mean = counts @ levels / total
    variance = (counts * (levels - mean[:, None]) ** 2).sum(axis=1) / total
    below = counts.cumsum(axis=1)
    used = counts > 0

    def colors(values: FloatArray) -> list[list[list[float]]]:
        return values.reshape(3, 1, 1).tolist()

    return {
        "min": colors(levels[used.argmax(axis=1)]),
        "max": colors(levels[255 - used[:, ::-1].argmax(axis=1)]),
        "mean": colors(mean),
        "std": colors(np.sqrt(variance)),
        "count": [len(pictures)],
        **{
            # The level of the pixel that stands at this share in their order.
            name: colors(levels[(below <= share * (total - 1)[:, None]).sum(axis=1)])
            for name, share in QUANTILES.items()
        },
    }


def _color_counts(pictures: Pictures) -> FloatArray:
    """How many pixels have each level of each colour, ``(3, 256)``."""
    import cv2

    rows = np.ascontiguousarray(pictures).reshape(-1, pictures.shape[2], 3)
    block = max(1, (1 << 24) // rows.shape[1])  # OpenCV counts in float32, which is exact up to there
    counts = np.zeros((3, 256))
    for start in range(0, len(rows), block):
        for color in range(3):
            counts[color] += cv2.calcHist([rows[start : start + block]], [color], None, [256], [0, 256]).ravel()
    return counts


def pooled(parts: Sequence[Mapping[str, Any]]) -> Statistics:
    """Statistics of all episodes together from those of each.

    Exact but for the quantiles, which LeRobot (0.6, ``compute_stats.py``) takes as an envelope: the lowest of all below
    the median and at it, the highest above.
    """
    stacked = {name: np.array([part[name] for part in parts], dtype=np.float64) for name in NAMES}
    weights = stacked["count"] / stacked["count"].sum()
    weights = weights.reshape(-1, *[1] * (stacked["mean"].ndim - 1))
    mean = (stacked["mean"] * weights).sum(axis=0)
    variance = ((stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2) * weights).sum(axis=0)
    return {
        "min": stacked["min"].min(axis=0).tolist(),
        "max": stacked["max"].max(axis=0).tolist(),
        "mean": mean.tolist(),
        "std": np.sqrt(variance).tolist(),
        "count": [int(stacked["count"].sum())],
        **{
            name: (stacked[name].min(axis=0) if share <= 0.6 else stacked[name].max(axis=0)).tolist()
            for name, share in QUANTILES.items()
        },
    }
