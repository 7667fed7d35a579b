"""The page with the robot's tag, as a PDF of filled shapes and a few words: exact in millimetres on any printer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from reconstruction.errors import UsageError
from reconstruction.tags import FAMILIES, modules

FAMILY = "apriltag_36h11"
Paper = Literal["a4", "letter"]
PAPERS_MM: dict[str, tuple[float, float]] = {"a4": (210.0, 297.0), "letter": (215.9, 279.4)}
SIZES_MM = (20.0, 110.0)
"""What fits on both papers with white round it, and is still seen from an arm's length."""
POINTS_A_MM = 72.0 / 25.4
MARGIN_MM = 20.0
RULER_MM = 100.0
Polygon = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Ink:
    """Polygons that are filled together.

    Attributes:
        grey: 0 black … 1 white.
        polygons: corners in mm from the page's lower left.
    """

    grey: float
    polygons: tuple[Polygon, ...]


@dataclass(frozen=True)
class Words:
    """A line of text.

    Attributes:
        at: where it begins, mm from the page's lower left.
        size_pt: height of the letters.
        text: of Latin letters.
    """

    at: tuple[float, float]
    size_pt: float
    text: str


@dataclass(frozen=True)
class Page:
    """A page to print.

    Attributes:
        size_mm: width and height.
        inks: shapes, in the order in which they are drawn.
        words: on top of them.
    """

    size_mm: tuple[float, float]
    inks: tuple[Ink, ...]
    words: tuple[Words, ...]


def tag_page(number: int, size_mm: float, paper: str) -> Page:
    """The page with tag `number`, its black square `size_mm` wide, an arrow along its x, and a ruler.

    Raises:
        UsageError: no such tag, size or paper.
    """
    most = FAMILIES[FAMILY][-1][0] - 1
    if not 0 <= number <= most:
        raise UsageError(f"There is no tag {number}.", remedy=f"Tags have the numbers 0 … {most}.", code="bad_value")
    low, high = SIZES_MM
    if not low <= size_mm <= high:
        raise UsageError(
            f"A tag of {size_mm:g} mm cannot be printed.",
            remedy=f"Give --size-mm from {low:g} to {high:g}.",
            code="bad_value",
        )
    if paper not in PAPERS_MM:
        raise UsageError(f"There is no paper {paper!r}.", remedy="Choose a4 or letter.", code="bad_value")
    width, height = PAPERS_MM[paper]
    fields = modules(FAMILY, number)
    field = size_mm / len(fields)
    left, top = (width - size_mm) / 2, height - 42.0 - field
    arrow = top - size_mm - field - 5.0
    cut = _frame(left - field, arrow - 8.0, left + size_mm + field, top + field)
    inks = (
        Ink(0.6, cut),
        Ink(0.0, tuple(_fields(fields, left, top, field))),
        Ink(0.0, _arrow(left, left + size_mm, arrow)),
        Ink(0.0, tuple(_ruler(MARGIN_MM, 74.0))),
    )
    return Page((width, height), inks, _words(number, size_mm, (left, arrow - 6.0), height))


def _words(number: int, size_mm: float, under_arrow: tuple[float, float], height: float) -> tuple[Words, ...]:
    told = (
        'Measure this ruler: it must be 100 mm long. If it is not, print again at 100 % ("actual size").',
        "",
        "Lay the tag flat where the robot's base is to stand, or beside it, with the arrow pointing the way that",
        "the base faces (its x axis), or stick it upright onto the front of the base. Keep it flat and uncovered,",
        "with the white round it, and scan it with the bench from several sides.",
        "Then, on the window's Scan page: \"Look for the robot's tag\". At a terminal:",
        f"pocketworld reconstruct SCAN --out worlds --tag.id {number} --tag.size-mm {size_mm:g} --tag.offset X Y Z YAW",
        "",
        "X Y Z YAW: from the middle of the tag to the robot's base, metres along the arrow, to its left and up, and",
        "how far the base is turned to the left, degrees. Left out: the base stands on the middle of the tag.",
    )
    lines = [Words((MARGIN_MM, 64.0 - 5.0 * k), 9.0, line) for k, line in enumerate(told) if line]
    return (
        Words((MARGIN_MM, height - 22.0), 16.0, "Pocketworld: where the robot stands"),
        Words(
            (MARGIN_MM, height - 29.0),
            10.0,
            f"AprilTag 36h11, number {number}, black square {size_mm:g} mm. Print at 100 %, in black, on matt paper.",
        ),
        Words(under_arrow, 8.0, f"x: robot's front   tag {number}, {size_mm:g} mm" if size_mm >= 45 else "x: front"),
        *lines,
    )


def _box(left: float, low: float, right: float, high: float) -> Polygon:
    return ((left, low), (right, low), (right, high), (left, high))


def _frame(left: float, low: float, right: float, high: float, thick: float = 0.15) -> tuple[Polygon, ...]:
    return (
        _box(left - thick, low - thick, right + thick, low),
        _box(left - thick, high, right + thick, high + thick),
        _box(left - thick, low, left, high),
        _box(right, low, right + thick, high),
    )


def _fields(fields: npt.NDArray[np.bool_], left: float, top: float, field: float) -> list[Polygon]:
    """Runs of black fields, row by row."""
    boxes = []
    for row, line in enumerate(fields):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
        for start, end in edges.reshape(-1, 2).tolist():
            boxes.append(_box(left + start * field, top - (row + 1) * field, left + end * field, top - row * field))
    return boxes


def _arrow(start: float, end: float, y: float) -> tuple[Polygon, ...]:
    head = ((end - 5.0, y - 2.0), (end, y), (end - 5.0, y + 2.0))
    return (_box(start, y - 0.5, end - 5.0, y + 0.5), head)


def _ruler(left: float, y: float) -> list[Polygon]:
    ticks = [_box(left + x - 0.1, y, left + x + 0.1, y + (5.0 if x % 50 == 0 else 3.0)) for x in range(0, 101, 10)]
    return [_box(left, y - 0.3, left + RULER_MM, y), *ticks]


def pdf(page: Page) -> bytes:
    """`page` as a PDF of one page; the same page is the same bytes. It asks the printer not to scale it."""
    width, height = (POINTS_A_MM * side for side in page.size_mm)
    content = _content(page)
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /ViewerPreferences << /PrintScaling /None >> >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {width:.4f} {height:.4f}] /Contents 5 0 R "
        "/Resources << /Font << /F 4 0 R >> >> >>".encode("ascii"),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
        b"<< /Length %d >>\nstream\n" % len(content) + content + b"\nendstream",
    ]
    return _document(objects)


def _content(page: Page) -> bytes:
    lines = [f"q {POINTS_A_MM:.9f} 0 0 {POINTS_A_MM:.9f} 0 0 cm"]
    for ink in page.inks:
        # All in one path: filled one by one, neighbouring boxes would show a seam between them.
        lines += [f"{ink.grey:g} g", *map(_path, ink.polygons), "f"]
    lines += ["Q", "0 g"]
    for words in page.words:
        x, y = (POINTS_A_MM * value for value in words.at)
        text = words.text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
        lines.append(f"BT /F {words.size_pt:g} Tf {x:.3f} {y:.3f} Td ({text}) Tj ET")
    return "\n".join(lines).encode("cp1252")


def _path(polygon: Polygon) -> str:
    (x, y), *rest = polygon
    return " ".join([f"{x:.5f} {y:.5f} m", *(f"{x:.5f} {y:.5f} l" for x, y in rest), "h"])


def _document(objects: Sequence[bytes]) -> bytes:
    """Numbered objects with their table of places, the first of them the catalogue."""
    data = b"%PDF-1.6\n"
    places = []
    for number, body in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    table += b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(data))
    return data + table + trailer
