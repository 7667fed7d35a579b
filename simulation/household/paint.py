"""Procedural pictures for household things: wood, glaze, prints, labels, covers. Chance is an argument."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt

from simulation.household.solids import LathePaint, Texture, texels, texture_from

FloatArray = npt.NDArray[np.float64]
WORDS = ("AURORA", "NORDIC", "FIELD", "MILO", "SOLENE", "TERRA", "KAVA", "OKAPI", "LUMEN", "PIXEL", "BRIGHT", "HAVEN")
SMALL_WORDS = ("original", "250 g", "extra fine", "since 1974", "natural", "no. 7", "500 ml", "made with care")


def color(
    rng: np.random.Generator, saturation: tuple[float, float] = (0.35, 0.85), value: tuple[float, float] = (0.4, 0.9)
) -> FloatArray:
    """A random colour ``(3,)`` 0…1 with saturation and value in the given ranges."""
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value)))


def pale(rng: np.random.Generator) -> FloatArray:
    """A near-white ``(3,)``."""
    return np.clip(np.array([0.93, 0.91, 0.86]) + rng.normal(0, 0.03, 3), 0.7, 0.98)


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cells: tuple[float, float]) -> FloatArray:
    """Soft random field ``(H, W)``, about -1…1, with `cells` bumps down and across; wraps across."""
    import cv2

    rows, cols = max(2, int(round(cells[0])) + 1), max(2, int(round(cells[1])))
    coarse = rng.uniform(-1, 1, (rows, cols))
    coarse = np.concatenate([coarse, coarse[:, :1]], axis=1)
    return np.asarray(cv2.resize(coarse, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), dtype=np.float64)


def wood(rng: np.random.Generator, size_m: tuple[float, float], tone: FloatArray | None = None, texel_m: float = 0.0015,
         boards: int = 1) -> Texture:  # fmt: skip
    """Planed wood, grain across the picture: growth rings warped by soft noise, fine pores, boards with seams."""
    width, height = texels(size_m[0] * 0.0005 / texel_m, high=1536), texels(size_m[1] * 0.0005 / texel_m, high=1536)
    base = tone if tone is not None else _wood_tone(rng)
    rows = []
    edges = np.linspace(0, height, boards + 1).round().astype(int)
    for top, bottom in zip(edges[:-1], edges[1:], strict=True):
        shape = (max(2, bottom - top), width)
        y, x = np.mgrid[0 : shape[0], 0 : shape[1]] * texel_m
        warp = 0.02 * smooth_noise(rng, shape, (2, 3)) + 0.004 * smooth_noise(rng, shape, (8, 12))
        rings = np.sin(2 * np.pi * (y + warp + 0.03 * x) / rng.uniform(0.008, 0.016) + rng.uniform(0, 6))
        streaks = smooth_noise(rng, shape, (shape[0] / 1.5, max(2.0, width / 60)))
        shade = 1.0 + 0.10 * rings + 0.07 * streaks + 0.05 * smooth_noise(rng, shape, (2, 2)) + rng.normal(0, 0.04)
        board = base * shade[..., None]
        board[-1:] *= 0.6 if boards > 1 else 1.0
        rows.append(board)
    return texture_from(np.concatenate(rows))


def _wood_tone(rng: np.random.Generator) -> FloatArray:
    tones = np.array(
        [[0.72, 0.53, 0.34], [0.55, 0.37, 0.22], [0.83, 0.68, 0.48], [0.40, 0.26, 0.17], [0.62, 0.47, 0.33]]
    )
    return np.asarray(tones[rng.integers(len(tones))])


def plain(
    rng: np.random.Generator, tone: FloatArray, size: tuple[int, int] = (64, 64), mottle: float = 0.04
) -> Texture:
    """One colour with a soft mottle: lacquer, plaster, plastic."""
    field = smooth_noise(rng, size, (4, 4)) + 0.5 * smooth_noise(rng, size, (12, 12))
    return texture_from(tone * (1.0 + mottle * field[..., None]))


def single(tone: FloatArray) -> LathePaint:
    """One colour all over."""

    def paint(angle: FloatArray, radius: FloatArray, height: FloatArray, arc: FloatArray) -> FloatArray:
        return np.broadcast_to(tone, (*angle.shape, 3)).copy()

    return paint


def glaze(rng: np.random.Generator, tone: FloatArray, inside: FloatArray, decor: str, top_m: float) -> LathePaint:
    """Glazed ceramics: `tone` outside, `inside` within, and a decoration: plain, stripes, dip, dots or waves."""
    second = color(rng)
    seed = int(rng.integers(2**31))
    count = int(rng.integers(6, 12))

    def paint(angle: FloatArray, radius: FloatArray, height: FloatArray, arc: FloatArray) -> FloatArray:
        chance = np.random.default_rng(seed)
        within = _inner(arc, height)
        field = smooth_noise(chance, angle.shape, (6, 8)) * 0.03
        share = height / max(top_m, 1e-6)
        mark = np.zeros_like(angle, dtype=bool)
        if decor == "stripes":
            mark = (np.mod(share * 7.0, 1.0) < 0.35) & (share > 0.15) & (share < 0.9)
        elif decor == "dip":
            mark = share < 0.45 + 0.05 * np.sin(3 * angle + seed % 7)
        elif decor == "dots":
            row = np.floor(share * 5)
            du = np.mod(angle / (2 * np.pi) * count + 0.5 * np.mod(row, 2), 1.0) - 0.5
            mark = np.hypot(du * 1.2, np.mod(share * 5, 1.0) - 0.5) < 0.25
        elif decor == "waves":
            mark = np.abs(np.mod(share * 4 + 0.25 * np.sin(count * angle), 1.0) - 0.5) < 0.12
        rgb = np.where((mark & ~within)[..., None], second, np.where(within[..., None], inside, tone))
        return np.asarray(rgb * (1.0 + field[..., None]))

    return paint


def _inner(arc: FloatArray, height: FloatArray) -> npt.NDArray[np.bool_]:
    """Where a lathe's profile has passed its highest point: the inside of an open vessel."""
    rim = arc[:, 0][int(np.argmax(height[:, 0]))]
    return np.asarray(arc > rim)


def printed(rng: np.random.Generator, size_m: tuple[float, float], tone: FloatArray | None = None) -> Texture:
    """A printed side of a package: ground, band, big word, small words, an emblem, a barcode."""
    import cv2

    width, height = texels(size_m[0]), texels(size_m[1])
    ground = color(rng) if tone is None else tone
    ink, band = (pale(rng), color(rng)) if ground.mean() < 0.6 else (color(rng, (0.5, 1), (0.1, 0.4)), color(rng))
    image = np.ascontiguousarray(np.broadcast_to(ground * 255, (height, width, 3)).astype(np.uint8))
    top = int(height * rng.uniform(0.5, 0.75))
    cv2.rectangle(image, (0, top), (width, height), tuple((band * 255).tolist()), -1)
    centre = (int(width * rng.uniform(0.3, 0.7)), int(height * rng.uniform(0.55, 0.8)))
    cv2.circle(image, centre, int(0.16 * min(width, height)), tuple((ink * 255).tolist()), -1, cv2.LINE_AA)
    cv2.circle(image, centre, int(0.10 * min(width, height)), tuple((ground * 255).tolist()), -1, cv2.LINE_AA)
    word = str(rng.choice(WORDS))
    _text(image, word, (0.08, 0.30), 0.84, ink)
    _text(image, str(rng.choice(SMALL_WORDS)), (0.1, 0.44), 0.5, ink)
    x = int(width * 0.7)
    for _ in range(14):
        x += int(rng.integers(1, 3))
        cv2.line(image, (x, int(height * 0.86)), (x, int(height * 0.96)), (20, 20, 20), 1)
        x += 1
    return np.asarray(image, dtype=np.uint8)


def _text(image: Texture, words: str, where: tuple[float, float], share: float, ink: FloatArray) -> None:
    import cv2

    height, width = image.shape[:2]
    (span, _), _ = cv2.getTextSize(words, cv2.FONT_HERSHEY_DUPLEX, 1.0, 1)
    scale = min(share * width / max(span, 1), height / 60)
    at = (int(where[0] * width), int(where[1] * height))
    cv2.putText(image, words, at, cv2.FONT_HERSHEY_DUPLEX, scale, tuple((ink * 255).tolist()),
                max(1, int(scale * 1.6)), cv2.LINE_AA)  # fmt: skip


def cover(rng: np.random.Generator, size_m: tuple[float, float]) -> Texture:
    """A book's or magazine's cover: title, picture of overlapping shapes, lines of small print."""
    import cv2

    width, height = texels(size_m[0]), texels(size_m[1])
    ground, ink = color(rng, (0.2, 0.8), (0.5, 0.95)), color(rng, (0.3, 0.9), (0.05, 0.3))
    image = np.ascontiguousarray(np.broadcast_to(ground * 255, (height, width, 3)).astype(np.uint8))
    x0, y0, x1, y1 = int(width * 0.08), int(height * 0.28), int(width * 0.92), int(height * 0.82)
    patch = np.ascontiguousarray(np.broadcast_to(color(rng) * 255, (y1 - y0, x1 - x0, 3)).astype(np.uint8))
    for _ in range(7):
        at = (int(rng.uniform(0, x1 - x0)), int(rng.uniform(0, y1 - y0)))
        tone = tuple((color(rng) * 255).tolist())
        cv2.circle(patch, at, int(rng.uniform(0.08, 0.3) * width), tone, -1, cv2.LINE_AA)
    image[y0:y1, x0:x1] = patch
    _text(image, str(rng.choice(WORDS)), (0.08, 0.18), 0.84, ink)
    _text(image, str(rng.choice(SMALL_WORDS)), (0.08, 0.25), 0.4, ink)
    for row in range(3):
        y = int(height * (0.87 + 0.035 * row))
        cv2.line(image, (x0, y), (int(width * rng.uniform(0.5, 0.9)), y), tuple((ink * 255).tolist()), 2, cv2.LINE_AA)
    return np.asarray(image, dtype=np.uint8)


def pages(rng: np.random.Generator, size_m: tuple[float, float]) -> Texture:
    """The cut edge of a stack of paper."""
    width, height = texels(size_m[0]), texels(size_m[1], low=6)
    lines = 0.90 + 0.06 * rng.uniform(-1, 1, (height, 1)) + 0.01 * rng.uniform(-1, 1, (height, width))
    return texture_from(lines[..., None] * np.array([1.0, 0.98, 0.92]))


def label(rng: np.random.Generator, body: FloatArray, cap: FloatArray, low_m: float, high_m: float, cap_m: float
          ) -> LathePaint:  # fmt: skip
    """A bottle's, can's or jar's skin: body colour, a printed label between two heights, a cap above `cap_m`."""
    seed = int(rng.integers(2**31))
    ground = color(rng) if rng.uniform() < 0.7 else pale(rng)

    def paint(angle: FloatArray, radius: FloatArray, height: FloatArray, arc: FloatArray) -> FloatArray:
        chance = np.random.default_rng(seed)
        field = 1.0 + 0.03 * smooth_noise(chance, angle.shape, (5, 6))[..., None]
        rgb = np.where((height > cap_m)[..., None], cap, body) * field
        around = 2 * np.pi * float(radius.max())
        picture = printed(chance, (around / 2, high_m - low_m), ground).astype(np.float64) / 255.0
        wall = (height > low_m) & (height < high_m) & (radius > 0.7 * radius.max())
        rows = np.clip(((high_m - height) / (high_m - low_m) * picture.shape[0]).astype(int), 0, picture.shape[0] - 1)
        # Seen from outside the angle grows to the right; the print repeats on the back.
        cols = (np.mod(angle / np.pi, 1.0) * picture.shape[1]).astype(int) % picture.shape[1]
        return np.where(wall[..., None], picture[rows, cols], rgb)

    return paint
