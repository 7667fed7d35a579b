"""What an object weighs, how its mass is spread and how it slides: volume, mass with interval, inertia, friction.

A scan shows a surface, never what is inside. Household things are mostly shells: the mass of a closed thing is taken
as a skin of its material plus a partly filled inside, for every material that its shape and colour leave possible.
The estimates of all of these, weighted, give the median that is reported and the 80 % interval around it. Someone
with a kitchen scale overrules it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.errors import InputError
from reconstruction.mesh import Mesh, to_trimesh

FloatArray = npt.NDArray[np.float64]
_NORMAL_80 = 1.2815515594  # half-width of the central 80 % of a standard normal distribution


@dataclass(frozen=True)
class Material:
    """One row of ``resources/materials.json``; triples are 10 % quantile, typical value, 90 % quantile."""

    density_kg_m3: tuple[float, float, float]
    wall_m: tuple[float, float, float]
    fill: tuple[float, float, float]
    content_kg_m3: float
    friction: float
    restitution: float


@dataclass(frozen=True)
class MaterialSettings:
    """How mass and material are guessed."""

    default_material: str = ""
    """Material of every object, a key of ``resources/materials.json``; empty guesses it from shape and colour."""
    least_mass_kg: float = 0.002
    """No object weighs less, kg: physics engines grow unstable when a feather is pushed by an arm."""
    color_weight: float = 1.0
    """0 ignores colour, 1 lets it shift the odds between materials by up to a factor of three."""


@dataclass(frozen=True)
class Override:
    """What the user knows better; None leaves the estimate."""

    mass_kg: float | None = None
    material: str | None = None
    friction: float | None = None
    restitution: float | None = None


@dataclass(frozen=True)
class Properties:
    """Physical properties in the frame of the mesh.

    Attributes:
        mass_kg: median estimate, or the user's own figure.
        mass_interval_kg: 80 % interval; both ends equal the mass where the user gave it.
        center_of_mass: ``(3,)`` metres.
        inertia: ``(3, 3)`` kg m² about the centre of mass, axes of the mesh.
        friction: Coulomb coefficient against a wooden table.
        restitution: 0 … 1.
        material: key of ``resources/materials.json``.
        volume_m3: of the solid that the mesh encloses.
        shape: ``open``, ``flat``, ``long``, ``round``, ``bottle``, ``block`` or ``other``.
    """

    mass_kg: float
    mass_interval_kg: tuple[float, float]
    center_of_mass: FloatArray
    inertia: FloatArray
    friction: float
    restitution: float
    material: str
    volume_m3: float
    shape: str


@lru_cache(maxsize=1)
def _table() -> tuple[Mapping[str, Material], Mapping[str, Mapping[str, float]]]:
    document = json.loads((files("resources") / "materials.json").read_text(encoding="utf-8"))
    materials = {
        name: Material(
            density_kg_m3=tuple(row["density_kg_m3"]),
            wall_m=tuple(row["wall_m"]),
            fill=tuple(row["fill"]),
            content_kg_m3=row["content_kg_m3"],
            friction=row["friction"],
            restitution=row["restitution"],
        )
        for name, row in document["materials"].items()
    }
    return materials, document["priors"]


def materials() -> Mapping[str, Material]:
    """The table of materials by name."""
    return _table()[0]


def physical_properties(
    mesh: Mesh, settings: MaterialSettings | None = None, override: Override | None = None
) -> Properties:
    """Estimate mass, inertia and contact properties of one closed object.

    Args:
        mesh: watertight, metres, faces counter-clockwise seen from outside. Its texture or vertex colours, where it
            has them, shift the odds between materials.
        settings: see `MaterialSettings`.
        override: what the user has set; it wins over every estimate.

    Raises:
        InputError: the mesh encloses no volume, or the override names no known material or no possible mass.
    """
    settings = settings or MaterialSettings()
    override = override or Override()
    _check(override)
    solid = _solid_moments(mesh)
    if solid.mass <= 0.0:
        raise InputError(
            "An object's mesh encloses no volume.", remedy="Reconstruct the scan again.", code="empty_object"
        )
    skin = _skin_moments(mesh)
    shape = shape_kind(mesh)
    weights = _weights(mesh, shape, settings, override)
    guesses = {name: _mass_guess(materials()[name], shape, solid.mass, skin.mass) for name in weights}
    best = max(weights, key=lambda name: (weights[name], name))
    low, mass, high = (max(value, settings.least_mass_kg) for value in _mixture_quantiles(guesses, weights))
    if override.mass_kg is not None:
        low = mass = high = override.mass_kg
    row = materials()[best]
    share = _solid_share(row, shape, solid.mass, skin.mass)
    center, inertia = _blend(solid, skin, share)
    return Properties(
        mass_kg=mass,
        mass_interval_kg=(low, high),
        center_of_mass=center,
        inertia=inertia * mass,
        friction=row.friction if override.friction is None else override.friction,
        restitution=row.restitution if override.restitution is None else override.restitution,
        material=best,
        volume_m3=solid.mass,
        shape=shape,
    )


def _check(override: Override) -> None:
    if override.material is not None and override.material not in materials():
        raise InputError(
            f"No material is named {override.material!r}.",
            remedy=f"Choose one of: {', '.join(sorted(materials()))}.",
            code="unknown_material",
        )
    ranges = {"mass_kg": (1e-6, 1e4), "friction": (0.0, 10.0), "restitution": (0.0, 1.0)}
    for field, (low, high) in ranges.items():
        value = getattr(override, field)
        if value is not None and not low <= value <= high:
            raise InputError(
                f"{field} {value!r} is not possible.",
                remedy=f"Give a number from {low:g} to {high:g}.",
                code="bad_value",
            )


# --- moments ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Moments:
    """Volume (m³) or area (m²) as `mass`, centroid ``(3,)`` and covariance ``(3, 3)`` m² of a uniform body."""

    mass: float
    center: FloatArray
    covariance: FloatArray


def _solid_moments(mesh: Mesh) -> _Moments:
    # trimesh integrates over signed tetrahedra (Eberly, "Polyhedral Mass Properties", 2002).
    if len(mesh.faces) < 4:
        return _Moments(0.0, np.zeros(3), np.zeros((3, 3)))
    properties: Any = to_trimesh(mesh).mass_properties
    volume = float(properties.volume)
    if not volume > 0.0:
        return _Moments(0.0, np.zeros(3), np.zeros((3, 3)))
    inertia = np.asarray(properties.inertia, dtype=np.float64) / float(properties.density) / volume
    covariance = 0.5 * np.trace(inertia) * np.eye(3) - inertia
    return _Moments(volume, np.asarray(properties.center_mass, dtype=np.float64), covariance)


def _skin_moments(mesh: Mesh) -> _Moments:
    """The surface as a thin skin: over a triangle, ∫ x xᵀ dA = A/12 (Σ vᵢvᵢᵀ + (Σ vᵢ)(Σ vᵢ)ᵀ)."""
    origin = mesh.vertices.mean(axis=0)
    corners = mesh.vertices[mesh.faces] - origin
    areas = 0.5 * np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    area = float(areas.sum())
    sums = corners.sum(axis=1)
    center = (areas[:, None] * sums).sum(axis=0) / 3.0 / area
    second = np.einsum("f,fki,fkj->ij", areas, corners, corners) + np.einsum("f,fi,fj->ij", areas, sums, sums)
    return _Moments(area, center + origin, second / 12.0 / area - np.outer(center, center))


def _blend(solid: _Moments, skin: _Moments, share: float) -> tuple[FloatArray, FloatArray]:
    """Centre ``(3,)`` and inertia ``(3, 3)`` per kg of a body whose mass is `share` solid, the rest skin."""
    center = share * solid.center + (1.0 - share) * skin.center
    covariance = np.zeros((3, 3))
    for weight, moments in ((share, solid), (1.0 - share, skin)):
        offset = moments.center - center
        covariance += weight * (moments.covariance + np.outer(offset, offset))
    covariance = 0.5 * (covariance + covariance.T)
    return center, np.trace(covariance) * np.eye(3) - covariance


# --- shape and colour ------------------------------------------------------------------------------------------------


def shape_kind(mesh: Mesh) -> str:
    """A coarse word for the shape, which is what the odds between materials hang on."""
    tri: Any = to_trimesh(mesh)
    volume, area = float(tri.volume), float(tri.area)
    hull: Any = tri.convex_hull
    hull_share = volume / max(float(hull.volume), 1e-12)
    small, middle, large = sorted(float(x) for x in hull.bounding_box_oriented.primitive.extents)
    box_share = float(hull.volume) / max(small * middle * large, 1e-12)
    if hull_share < 0.6 and 2.0 * volume / area < 0.012 and small > 0.03:
        return "open"
    if small < 0.025 and small < 0.2 * middle and hull_share > 0.6:
        return "flat"
    if large > 3.5 * middle and middle < 0.06:
        return "long"
    if box_share > 0.85 and hull_share > 0.85:
        return "block"
    # A ball fills π/6 of its box, a cylinder π/4.
    if large < 1.35 * small and box_share < 0.65 and hull_share > 0.9:
        return "round"
    if large > 1.7 * middle and middle < 1.3 * small and hull_share > 0.75:
        return "bottle"
    return "other"


def _weights(mesh: Mesh, shape: str, settings: MaterialSettings, override: Override) -> dict[str, float]:
    known = override.material or settings.default_material
    if known:
        _check(Override(material=known))
        return {known: 1.0}
    odds = dict(_table()[1][shape])
    pixels = _sample_colors(mesh)
    if pixels is not None and settings.color_weight > 0.0:
        for name, factor in _color_factors(pixels).items():
            if name in odds:
                odds[name] *= factor**settings.color_weight
    total = sum(odds.values())
    return {name: weight / total for name, weight in sorted(odds.items())}


def _sample_colors(mesh: Mesh) -> FloatArray | None:
    """Up to some thousands of surface colours ``(N, 3)`` in [0, 1], or None where the mesh has none."""
    if mesh.texture is not None and mesh.corner_uv is not None:
        height, width = mesh.texture.shape[:2]
        uv = mesh.corner_uv.mean(axis=1)
        columns = np.clip((uv[:, 0] * width).astype(np.int64), 0, width - 1)
        rows = np.clip(((1.0 - uv[:, 1]) * height).astype(np.int64), 0, height - 1)
        return np.asarray(mesh.texture[rows, columns], dtype=np.float64) / 255.0
    if mesh.colors is not None:
        return np.asarray(mesh.colors, dtype=np.float64) / 255.0
    return None


def _color_factors(pixels: FloatArray) -> dict[str, float]:
    """How much likelier the mean colour makes a material; deliberately weak (1/3 … 3)."""
    red, green, blue = np.median(pixels, axis=0)
    brightest, darkest = max(red, green, blue), min(red, green, blue)
    saturation = (brightest - darkest) / max(brightest, 1e-6)
    brown = red > green > blue and 0.2 < saturation < 0.75 and 0.15 < brightest < 0.8
    vivid = saturation > 0.5 and brightest > 0.35
    grey = saturation < 0.12
    factors: dict[str, float] = {}
    if brown:
        factors |= {"wood": 3.0, "cardboard": 2.0, "ceramic": 0.7}
    if vivid:
        factors |= {"plastic": 2.0, "steel": 0.4, "aluminium": 0.5, "glass": 0.5, "wood": 0.5}
        factors["fruit"] = 2.0 if red > blue or green > blue else 0.33
    if grey:
        factors |= {"steel": 2.0, "aluminium": 1.5, "fruit": 0.33, "wood": 0.4}
        if brightest > 0.75:
            factors |= {"ceramic": 1.5, "paper": 2.0, "steel": 0.7}
        if brightest < 0.25:
            factors |= {"plastic": 1.7, "rubber": 2.0, "ceramic": 0.6, "paper": 0.5}
    return factors


# --- mass ------------------------------------------------------------------------------------------------------------


def _mass_at(row: Material, shape: str, volume: float, area: float, level: int) -> float:
    """Mass (kg) at a quantile of each property: level 0 low, 1 typical, 2 high."""
    density, wall = row.density_kg_m3[level], row.wall_m[level]
    if shape == "open":
        # The mesh is the wall itself, and a scan mostly makes walls too thick: the usual wall of the material counts,
        # unless the mesh has much less.
        return density * min(1.3 * volume, 0.5 * area * wall)
    skin = min(volume, area * wall)
    return density * skin + row.content_kg_m3 * row.fill[level] * (volume - skin)


def _mass_guess(row: Material, shape: str, volume: float, area: float) -> tuple[float, float]:
    """Median and log-deviation of a log-normal mass.

    Density, wall and fill vary independently, so all three at their ends at once would be too wide: each is moved
    alone and the logarithmic deviations add in squares.
    """
    typical = _mass_at(row, shape, volume, area, 1)
    squares = 0.0
    for field in ("density_kg_m3", "wall_m", "fill"):
        ends = []
        for level in (0, 2):
            values = {name: list(getattr(row, name)) for name in ("density_kg_m3", "wall_m", "fill")}
            values[field][1] = getattr(row, field)[level]
            moved = Material(
                density_kg_m3=(0.0, values["density_kg_m3"][1], 0.0),
                wall_m=(0.0, values["wall_m"][1], 0.0),
                fill=(0.0, values["fill"][1], 0.0),
                content_kg_m3=row.content_kg_m3,
                friction=0.0,
                restitution=0.0,
            )
            ends.append(_mass_at(moved, shape, volume, area, 1))
        squares += (np.log(max(ends) / max(min(ends), 1e-9)) / (2.0 * _NORMAL_80)) ** 2
    # What the mesh itself leaves open: its volume is good to about 8 %.
    return typical, float(np.sqrt(squares + 0.08**2))


def _mixture_quantiles(
    guesses: Mapping[str, tuple[float, float]], weights: Mapping[str, float]
) -> tuple[float, float, float]:
    """The 10 %, 50 % and 90 % quantiles (kg) of a mixture of log-normal distributions."""
    from scipy.special import ndtr

    centers = np.log([guesses[name][0] for name in weights])
    deviations = np.array([guesses[name][1] for name in weights])
    shares = np.array(list(weights.values()))
    grid = np.linspace((centers - 5 * deviations).min(), (centers + 5 * deviations).max(), 4001)
    cumulative = (shares[:, None] * ndtr((grid[None] - centers[:, None]) / deviations[:, None])).sum(axis=0)
    low, middle, high = np.exp(np.interp([0.1, 0.5, 0.9], cumulative, grid))
    return float(low), float(middle), float(high)


def _solid_share(row: Material, shape: str, volume: float, area: float) -> float:
    """Share of the mass that is spread through the volume (the rest sits in the skin)."""
    if shape == "open":
        return 1.0
    skin = min(volume, area * row.wall_m[1])
    inside = min(row.content_kg_m3 * row.fill[1], row.density_kg_m3[1])
    # What fills the inside is thought of as filling everything; the skin is only what it weighs beyond that. A skin as
    # thick as the body is no skin.
    extra = (row.density_kg_m3[1] - inside) * skin
    return float((inside * volume + extra * skin / volume) / (inside * volume + extra))
