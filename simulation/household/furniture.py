"""What stays where it is: tables, chairs, floor, walls, shelf, pictures. Meshes in the world frame, metres."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from reconstruction.mesh import Mesh
from simulation.household import paint
from simulation.household.solids import (
    Texture,
    lathe,
    placed,
    rotation,
    rounded_box,
    rounded_profile,
    texels,
    texture_from,
)

FloatArray = npt.NDArray[np.float64]
TABLE_HEIGHT_M = 0.73


def slab(low: FloatArray, high: FloatArray, sides: dict[str, Texture], radius_m: float = 0.003) -> Mesh:
    """A box between two corners."""
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    return placed(rounded_box(high - low, radius_m, sides, 1), tuple(((low + high) / 2).tolist()))


def table(rng: np.random.Generator, size: tuple[float, float], shape: str = "rectangle") -> list[Mesh]:
    """A wooden table, its top at z = 0: ``rectangle``, ``round`` (one central foot) or ``trestle`` (pale)."""
    width, depth = size
    thick, floor = rng.uniform(0.022, 0.035), -TABLE_HEIGHT_M
    tone = np.array([0.88, 0.87, 0.84]) if shape == "trestle" else None
    if shape == "round":
        return _round_table(rng, width / 2, thick)
    picture = (
        paint.wood(rng, size, tone, boards=int(rng.integers(1, 6))) if tone is None else paint.wood(rng, size, tone)
    )
    edge = picture[:24, :512].copy()
    top = slab(
        np.array([-width / 2, -depth / 2, -thick]), np.array([width / 2, depth / 2, 0.0]), {"+z": picture, "*": edge}
    )
    legs = []
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (width / 2 - 0.06), sy * (depth / 2 - 0.06)
            legs.append(
                slab(np.array([x - 0.03, y - 0.03, floor]), np.array([x + 0.03, y + 0.03, -thick]), {"*": edge})
            )
    return [top, *legs]


def _round_table(rng: np.random.Generator, radius: float, thick: float) -> list[Mesh]:
    picture = paint.wood(rng, (2 * radius, 2 * radius), boards=3).astype(np.float64) / 255.0

    def skin(angle: FloatArray, across: FloatArray, height: FloatArray, arc: FloatArray) -> FloatArray:
        rows, cols = picture.shape[:2]
        x = ((across * np.cos(angle) / radius + 1) / 2 * (cols - 1)).astype(int)
        y = ((1 - across * np.sin(angle) / radius) / 2 * (rows - 1)).astype(int)
        return np.asarray(picture[np.clip(y, 0, rows - 1), np.clip(x, 0, cols - 1)])

    top = lathe(
        rounded_profile(np.array([[0.0, -thick], [radius, -thick], [radius, 0.0], [0.0, 0.0]]), 0.004, 3), skin, 128
    )
    foot = lathe(np.array([[0.0, -TABLE_HEIGHT_M], [0.22, -TABLE_HEIGHT_M], [0.05, -TABLE_HEIGHT_M + 0.05],
                           [0.045, -thick], [0.0, -thick]]), skin, 48)  # fmt: skip
    return [top, foot]


def chair(rng: np.random.Generator, x: float, y: float, facing_deg: float) -> list[Mesh]:
    """A chair whose back rises above the table: seat at 45 cm, back to 85–95 cm above the floor.

    Args:
        rng: chance.
        x: metres, centre of the seat.
        y: metres, centre of the seat.
        facing_deg: heading that someone on it would look to.
    """
    floor = -TABLE_HEIGHT_M
    seat, top = floor + 0.45, floor + rng.uniform(0.85, 0.95)
    picture = paint.wood(rng, (0.4, 0.4))
    parts = [slab(np.array([-0.2, -0.2, seat - 0.03]), np.array([0.2, 0.2, seat]), {"*": picture})]
    for sx in (-1, 1):
        for sy in (-1, 1):
            cx, cy = sx * 0.17, sy * 0.17
            high = top if sx < 0 else seat - 0.03
            parts.append(
                slab(
                    np.array([cx - 0.018, cy - 0.018, floor]), np.array([cx + 0.018, cy + 0.018, high]), {"*": picture}
                )
            )
    for level in np.linspace(seat + 0.16, top - 0.03, 3):
        parts.append(
            slab(np.array([-0.18, -0.16, level - 0.03]), np.array([-0.16, 0.16, level + 0.03]), {"*": picture})
        )
    return [placed(part, (x, y, 0.0), rotation("z", facing_deg)) for part in parts]


def _tiles(rng: np.random.Generator, size: tuple[float, float]) -> Texture:
    rows, cols = texels(size[1] / 8, high=1536), texels(size[0] / 8, high=1536)
    y, x = np.mgrid[0:rows, 0:cols] * (size[1] / rows)
    tone = np.array([0.70, 0.68, 0.64]) * (1 + 0.06 * paint.smooth_noise(rng, (rows, cols), (30, 30)))[..., None]
    tile = rng.normal(1.0, 0.04, (64, 64))[(y / 0.33).astype(int) % 64, (x / 0.33).astype(int) % 64]
    joint = (np.mod(x, 0.33) < 0.008) | (np.mod(y, 0.33) < 0.008)
    return texture_from(tone * np.where(joint, 0.62, tile)[..., None])


def room(rng: np.random.Generator, size: tuple[float, float] = (5.0, 4.4), height: float = 2.5) -> list[Mesh]:
    """Floor (planks or tiles), four painted walls with skirting, pictures, a wall-mounted screen."""
    half_x, half_y, floor = size[0] / 2, size[1] / 2, -TABLE_HEIGHT_M
    ground = (
        paint.wood(rng, size, texel_m=0.004, boards=int(size[1] / 0.14)) if rng.uniform() < 0.6 else _tiles(rng, size)
    )
    tone = paint.pale(rng) if rng.uniform() < 0.5 else paint.color(rng, (0.1, 0.4), (0.6, 0.9))
    wall = paint.plain(rng, tone, (256, 512), 0.03)
    skirting = paint.plain(rng, np.array([0.93, 0.93, 0.92]))
    parts = [
        slab(np.array([-half_x, -half_y, floor - 0.05]), np.array([half_x, half_y, floor]), {"+z": ground, "*": wall})
    ]
    for axis, half in ((0, half_x), (1, half_y)):
        for sign in (-1.0, 1.0):
            low = np.array([-half_x, -half_y, floor])
            high = np.array([half_x, half_y, floor + height])
            low[axis], high[axis] = sorted((sign * half, sign * (half + 0.08)))
            parts.append(slab(low, high, {"*": wall}))
            low[axis], high[axis] = sorted((sign * half, sign * (half - 0.012)))
            high[2] = floor + 0.08
            parts.append(slab(low, high, {"*": skirting}))
    for _ in range(int(rng.integers(1, 4))):
        parts.append(_picture(rng, half_x, half_y))
    return parts


def _picture(rng: np.random.Generator, half_x: float, half_y: float) -> Mesh:
    wide, tall = rng.uniform(0.4, 0.9), rng.uniform(0.35, 0.7)
    art = paint.cover(rng, (wide * 0.4, tall * 0.4))
    frame = rounded_box(np.array([wide, 0.03, tall]), 0.004, {"-y": art, "*": paint.plain(rng, np.full(3, 0.15))}, 1)
    z = rng.uniform(0.45, 1.0)
    if rng.uniform() < 0.5:
        return placed(frame, (rng.uniform(-0.6, 0.6) * half_x, half_y - 0.02, z))
    return placed(frame, (-half_x + 0.02, rng.uniform(-0.6, 0.6) * half_y, z), rotation("z", 90.0))


def shelf(rng: np.random.Generator, x: float, y: float, facing_deg: float, boards: int = 4) -> list[Mesh]:
    """A bookcase 80 cm wide and 30 cm deep against a wall; its boards at z = floor + 0.05, 0.40, 0.75, …"""
    floor, step = -TABLE_HEIGHT_M, 0.35
    picture = paint.plain(rng, np.array([0.86, 0.85, 0.81]), (128, 256), 0.03)
    top = floor + 0.05 + step * (boards - 1) + 0.02
    parts = [
        slab(np.array([-0.15, -0.42, floor]), np.array([0.15, -0.40, top]), {"*": picture}),
        slab(np.array([-0.15, 0.40, floor]), np.array([0.15, 0.42, top]), {"*": picture}),
    ]
    for number in range(boards):
        level = floor + 0.05 + step * number
        parts.append(slab(np.array([-0.15, -0.40, level - 0.02]), np.array([0.15, 0.40, level]), {"*": picture}))
    return [placed(part, (x, y, 0.0), rotation("z", facing_deg)) for part in parts]
