"""The page with the robot's tag: read back from its PDF, it shows the tag at its size, the right way up."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from app.tag_page import PAPERS_MM, SIZES_MM, Page, pdf, tag_page
from reconstruction.errors import UsageError
from tests.conftest import Run

Shell = Callable[..., Run]
PIXELS_A_MM = 8
POINT_MM = 25.4 / 72


def drawn(data: bytes) -> tuple[np.ndarray, tuple[float, float]]:
    """The page's shapes as a picture, and its size in mm: both as the PDF's own text has them."""
    text = data.decode("cp1252")
    box = re.search(r"/MediaBox \[0 0 (\S+) (\S+)\]", text)
    scale = re.search(r"q (\S+) 0 0 (\S+) 0 0 cm", text)
    assert box is not None
    assert scale is not None
    width, height = (float(value) * POINT_MM for value in box.groups())
    unit_mm = float(scale[1]) * POINT_MM
    image = np.full((round(height * PIXELS_A_MM), round(width * PIXELS_A_MM)), 255, dtype=np.uint8)
    for grey, paths in re.findall(r"(\S+) g\n((?:.* h\n)+)f\n", text):
        for path in paths.splitlines():
            corners = np.array(re.findall(r"(\S+) (\S+) [ml]", path), dtype=np.float64) * unit_mm
            corners[:, 1] = height - corners[:, 1]
            # In sixteenths of a pixel, whose centre is the integer.
            fixed = np.round((corners * PIXELS_A_MM - 0.5) * 16).astype(np.int32)
            cv2.fillConvexPoly(image, fixed, round(255 * float(grey)), cv2.LINE_8, 4)
    return image, (width, height)


@pytest.mark.parametrize("paper", sorted(PAPERS_MM))
@pytest.mark.parametrize(("number", "size_mm"), [(0, 80.0), (586, SIZES_MM[0]), (7, SIZES_MM[1])])
def test_the_tag_is_found_on_the_page_at_its_size_and_the_right_way_up(number: int, size_mm: float, paper: str) -> None:
    image, size = drawn(pdf(tag_page(number, size_mm, paper)))
    assert size == pytest.approx(PAPERS_MM[paper], abs=0.01)
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    corners, ids, _ = cv2.aruco.ArucoDetector(dictionary).detectMarkers(image)
    assert ids.ravel().tolist() == [number]
    quad = corners[0][0] / PIXELS_A_MM
    right, down = quad[1] - quad[0], quad[3] - quad[0]
    assert right == pytest.approx([size_mm, 0], abs=0.3)
    assert down == pytest.approx([0, size_mm], abs=0.3)


def test_the_arrow_points_to_the_right_under_the_tag_and_the_ruler_is_100_mm() -> None:
    text = pdf(tag_page(0, 80.0, "a4")).decode("cp1252")
    paths = [
        np.array(re.findall(r"(\S+) (\S+) [ml]", line), dtype=float) for line in text.splitlines() if " m " in line
    ]
    (head,) = [path for path in paths if len(path) == 3]
    assert head[1] == pytest.approx([145.0, head[:, 1].mean()])  # the tag's right side, in the middle of the page
    assert head[:, 0].max() == head[1, 0]
    ruler = [path for path in paths if np.ptp(path[:, 0]) == pytest.approx(100.0) and path[:, 1].max() < 100]
    assert len(ruler) == 1


@pytest.mark.parametrize("paper", sorted(PAPERS_MM))
@pytest.mark.parametrize("size_mm", SIZES_MM)
def test_nothing_lies_on_anything_else_or_off_the_page(size_mm: float, paper: str) -> None:
    page: Page = tag_page(12, size_mm, paper)
    cut, *_, ruler = (np.array([point for polygon in ink.polygons for point in polygon]) for ink in page.inks)
    assert ruler[:, 1].max() < cut[:, 1].min() - 3
    for words in page.words:
        wide = 0.52 * words.size_pt * POINT_MM * len(words.text)  # Helvetica is narrower, on average
        assert 10 < words.at[0] < words.at[0] + wide < page.size_mm[0] - 5, words.text
        assert 10 < words.at[1] < page.size_mm[1] - 10
    for ink in page.inks:
        for polygon in ink.polygons:
            assert (np.array(polygon) > 10).all()
            assert (np.array(polygon) < np.array(page.size_mm) - 10).all()


def test_the_pdf_s_table_says_where_its_objects_are() -> None:
    data = pdf(tag_page(3, 60.0, "letter"))
    start = int(data.rsplit(b"startxref\n", 1)[1].split()[0])
    assert data[start:].startswith(b"xref\n0 6\n")
    for number, place in enumerate(re.findall(rb"(\d{10}) 00000 n", data[start:]), 1):
        assert data[int(place) :].startswith(b"%d 0 obj\n" % number)
    length = re.search(rb"/Length (\d+) >>\nstream\n(.*)\nendstream", data, flags=re.DOTALL)
    assert length is not None
    assert int(length[1]) == len(length[2])
    assert b"/PrintScaling /None" in data


@pytest.mark.parametrize(
    ("number", "size_mm", "paper"),
    [(-1, 80.0, "a4"), (587, 80.0, "a4"), (0, float("nan"), "a4"), (0, 1e9, "a4"), (0, 0.0, "a4"), (0, 80.0, "a5")],
)
def test_what_cannot_be_printed_is_refused(number: int, size_mm: float, paper: str) -> None:
    with pytest.raises(UsageError) as caught:
        tag_page(number, size_mm, paper)
    assert caught.value.remedy


def test_the_command_writes_the_pdf(tmp_path: Path, shell: Shell) -> None:
    out = tmp_path / "mein Schild.pdf"
    done = shell("tag", "--out", out, "--id", 5, "--size-mm", 60, "--paper", "letter", "--json")
    assert done.code == 0, done.stderr
    assert done.result == {
        "event": "result", "pdf": str(out), "family": "apriltag_36h11", "id": 5, "size_mm": 60.0, "paper": "letter",
    }  # fmt: skip
    assert out.read_bytes() == pdf(tag_page(5, 60.0, "letter"))
    refused = shell("tag", "--out", tmp_path / "no" / "where.pdf", "--json")
    assert refused.code == 5
    assert shell("tag", "--out", out, "--id", -3, "--json").code == 2
