"""What is one thing and what is two: rendered benches, and height grids drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from reconstruction.heightmap import BoolGrid, FloatGrid, GroundSettings, HeightMap, find_ground
from reconstruction.necks import merge_tree, split_necks
from reconstruction.segmentation import is_object, segment
from reconstruction.segments import Segment, SegmentationSettings
from tests.table_views import mixed_bench, stacked_bench

CELL = 0.004
SETTINGS = SegmentationSettings()


def areas(parts: list[BoolGrid]) -> list[int]:
    return sorted(int(part.sum()) for part in parts)


def segments_of(top: np.ndarray) -> list[Segment]:
    """Segments of a height grid whose middle is at 0, 0."""
    origin = -0.5 * CELL * np.array(top.shape)
    heights = HeightMap(origin, CELL, top.astype(np.float32), np.ones(top.shape, np.float32), None)
    ground = find_ground(heights, GroundSettings())
    assert ground is not None
    return segment(heights, ground, SETTINGS)


def test_things_apart_are_counted_with_their_heights() -> None:
    bench = mixed_bench()
    assert len(bench.segments) == 4
    assert sorted(item.top_m for item in bench.segments) == pytest.approx([0.008, 0.06, 0.09, 0.1], abs=0.003)
    assert [item.on for item in bench.segments] == [-1] * 4
    total = np.sum([item.mask.astype(int) for item in bench.segments], axis=0)
    assert total.max() == 1


def test_stacked_and_touching_things_are_counted() -> None:
    bench = stacked_bench()
    assert len(bench.segments) == 6
    upper = [item for item in bench.segments if item.on >= 0]
    assert len(upper) == 1
    assert upper[0] is not bench.segments[0]
    assert bench.segments[upper[0].on].on == -1
    assert upper[0].base_m == pytest.approx(0.03, abs=0.002)
    book = bench.segments[upper[0].on]
    assert book.top_m == pytest.approx(0.03, abs=0.003)
    assert book.hidden_top_m == pytest.approx(0.03, abs=0.002)
    assert (book.hidden & upper[0].mask).sum() > 0.8 * upper[0].mask.sum()
    assert not (book.mask & upper[0].mask).any()


def test_walls_and_what_hangs_over_nothing_are_background() -> None:
    noise = np.random.default_rng(0).normal(0, 3e-4, (180, 150))
    top = noise.copy()
    top[:6] = 0.4 + noise[:6]  # a wall along the table's edge
    top[60:75, 60:75] = 0.05
    found = segments_of(top)
    assert len(found) == 1
    assert found[0].mask[61:74, 61:74].all()
    assert not found[0].mask[:20].any()


def test_what_reaches_the_ceiling_of_the_space_is_the_leg_of_something_above() -> None:
    top = np.random.default_rng(3).normal(0, 3e-4, (180, 150))
    top[60:72, 60:72], top[100:110, 60:70] = 0.1, 0.37
    origin = -0.5 * CELL * np.array(top.shape)
    heights = HeightMap(origin, CELL, top.astype(np.float32), np.ones(top.shape, np.float32), None)
    ground = find_ground(heights, GroundSettings())
    assert ground is not None
    assert len(segment(heights, ground, SETTINGS)) == 2
    (found,) = segment(heights, ground, SETTINGS, ceiling_m=0.38)
    assert found.top_m == pytest.approx(0.1, abs=0.002)


def test_furniture_is_no_object() -> None:
    top = np.random.default_rng(1).normal(0, 3e-4, (220, 150))
    top[20:200, 60:80] = 0.1  # 72 cm long
    assert segments_of(top) == []


def test_noise_alone_is_no_object() -> None:
    top = np.random.default_rng(2).normal(0, 1e-3, (180, 150))
    assert segments_of(top) == []


def disc(shape: tuple[int, int], x: float, y: float, radius: float) -> BoolGrid:
    i, j = np.mgrid[: shape[0], : shape[1]]
    return np.asarray(np.hypot(i - x, j - y) < radius)


@pytest.mark.parametrize("turned", [False, True])
def test_discs_that_touch_are_parted_in_the_middle(turned: bool) -> None:
    one, two = disc((40, 64), 20, 18, 12), disc((40, 64), 20, 41.5, 12)
    mask, rise = one | two, np.where(one | two, 0.06, 0).astype(np.float32)
    if turned:
        mask, rise = mask.T, rise.T
    parts = split_necks(mask, rise, 0.003, SETTINGS)
    assert len(parts) == 2
    sizes = areas(parts)
    assert sizes[1] - sizes[0] < 0.05 * sizes[1]
    assert (np.sum(parts, axis=0) == mask).all()


def test_boxes_that_touch_along_part_of_a_face_are_parted_there() -> None:
    rise = np.zeros((50, 50), np.float32)
    rise[10:25, 10:25] = 0.05
    rise[25:40, 19:34] = 0.05
    parts = split_necks(rise > 0, rise, CELL, SETTINGS)
    assert len(parts) == 2
    assert areas(parts) == pytest.approx([225, 225], abs=15)


@pytest.mark.parametrize(
    "rows", [[(10, 40, 10, 25)], [(10, 40, 10, 25), (20, 30, 25, 31)], [(10, 40, 10, 22), (10, 22, 22, 40)]]
)
def test_a_box_a_mug_with_its_handle_and_an_angle_are_one(rows: list[tuple[int, int, int, int]]) -> None:
    rise = np.zeros((50, 50), np.float32)
    for a, b, c, d in rows:
        rise[a:b, c:d] = 0.08
    assert areas(split_necks(rise > 0, rise, CELL, SETTINGS)) == [int((rise > 0).sum())]


def test_merge_tree_keeps_peaks_apart_only_across_a_neck() -> None:
    def basins(profile: list[float], ratio: float = 0.6, least: float = 1.0) -> list[int]:
        return [int(name) for name in merge_tree(np.array(profile, np.float32), ratio, least)]

    apart = basins([0, 2, 4, 2, 1, 2, 5, 2, 0])
    assert apart[0] == apart[-1] == -1
    assert len(set(apart[1:4])) == 1
    assert len(set(apart[5:8])) == 1
    assert apart[2] != apart[6]
    assert len({name for name in basins([0, 2, 4, 3, 2, 5, 2, 0], ratio=0.4) if name >= 0}) == 1  # the pass is wide
    assert len({name for name in basins([0, 2, 4, 1, 0.9, 0.95, 0]) if name >= 0}) == 1  # the peak is a handle
    assert basins([0, 0, 0]) == [-1, -1, -1]


def test_merge_tree_covers_the_solid_and_each_basin_is_connected() -> None:
    from scipy import ndimage

    rng = np.random.default_rng(7)
    thickness = ndimage.gaussian_filter(rng.normal(size=(24, 30, 5)), 2.0) * 30
    thickness = np.maximum(thickness, 0).astype(np.float32)
    owner = merge_tree(thickness, 0.7, 0.1)
    assert ((owner >= 0) == (thickness > 0)).all()
    names = np.unique(owner[owner >= 0])
    assert len(names) > 2
    for name in names:
        assert ndimage.label(owner == name)[1] == 1


def test_merge_tree_merges_all_where_no_neck_is_allowed() -> None:
    from scipy import ndimage

    thickness = np.maximum(np.random.default_rng(9).normal(size=(20, 20)), 0).astype(np.float32)
    labels, count = ndimage.label(thickness > 0)
    owner = merge_tree(thickness, 0.0, 1e-9)
    assert len(np.unique(owner[owner >= 0])) == count
    assert all(len(np.unique(owner[labels == label])) == 1 for label in range(1, count + 1))


@pytest.mark.parametrize(
    ("cells", "height", "expected"),
    [((15, 15), 0.05, True), ((3, 3), 0.05, False), ((25, 17), 0.008, True), ((15, 6), 0.008, False),
     ((60, 3), 0.008, False)],
)  # fmt: skip
def test_thin_things_must_be_broad(cells: tuple[int, int], height: float, expected: bool) -> None:
    mask: BoolGrid = np.zeros((80, 80), dtype=bool)
    mask[5 : 5 + cells[0], 5 : 5 + cells[1]] = True
    candidate = Segment(mask, np.zeros_like(mask), 0.0, 0.0, height, 0)
    assert is_object(candidate, CELL, SETTINGS) is expected


def grid(*blocks: tuple[int, int, int, int, float]) -> FloatGrid:
    top = np.random.default_rng(4).normal(0, 2e-4, (180, 150))
    for a, b, c, d, height in blocks:
        top[a:b, c:d] = height
    return np.asarray(top, dtype=np.float32)


def test_what_carries_another_comes_first() -> None:
    found = segments_of(grid((50, 90, 50, 90, 0.03), (55, 80, 55, 80, 0.09)))
    assert len(found) == 2
    assert found[1].on == 0
    assert found[1].base_m == pytest.approx(0.03, abs=0.001)
    assert all(item.on < number for number, item in enumerate(found))


def colored(top: np.ndarray, paint: list[tuple[np.ndarray, tuple[int, int, int]]]) -> list[Segment]:
    """Segments of a height grid on a grey table, with the given cells in other colours."""
    rgb = np.full((*top.shape, 3), 150, dtype=np.uint8)
    for cells, color in paint:
        rgb[cells] = color
    origin = -0.5 * CELL * np.array(top.shape)
    heights = HeightMap(origin, CELL, top.astype(np.float32), np.ones(top.shape, np.float32), rgb)
    ground = find_ground(heights, GroundSettings())
    assert ground is not None
    return segment(heights, ground, SETTINGS)


def round_patch(x: float, y: float, radius: float, shape: tuple[int, int] = (160, 140)) -> np.ndarray:
    i, j = np.mgrid[: shape[0], : shape[1]]
    return np.hypot(CELL * i - x, CELL * j - y) < radius


def test_colour_parts_what_touches_along_a_broad_front() -> None:
    one, two = round_patch(0.28, 0.28, 0.035), round_patch(0.326, 0.28, 0.035)  # as a scan blurs two discs into one
    top = np.where(one | two, 0.05, 0.0)
    assert len(colored(top, [(one | two, (200, 40, 40))])) == 1
    assert len(colored(top, [(one, (200, 40, 40)), (two & ~one, (40, 60, 200))])) == 2


def test_a_dumbbell_of_one_colour_is_one_thing() -> None:
    ends = round_patch(0.22, 0.28, 0.035) | round_patch(0.36, 0.28, 0.035)
    i, j = np.mgrid[:160, :140]
    bar = (np.abs(CELL * i - 0.29) < 0.07) & (np.abs(CELL * j - 0.28) < 0.014)
    top = np.where(ends | bar, 0.05, 0.0)
    assert len(colored(top, [(ends | bar, (60, 60, 60))])) == 1


def test_the_upright_of_a_bracket_belongs_to_it_and_a_block_at_a_slab_does_not() -> None:
    i, j = np.mgrid[:160, :140]
    slab = (np.abs(CELL * i - 0.28) < 0.05) & (np.abs(CELL * j - 0.28) < 0.025)
    upright, block = slab & (CELL * i < 0.25), slab & (CELL * i < 0.275)
    paint = [(slab, (90, 30, 120)), (upright, (220, 200, 40))]
    top = np.where(upright, 0.07, np.where(slab, 0.02, 0.0))
    assert len(colored(top, paint[:1])) == 1
    assert len(colored(top, paint)) == 1  # of two colours, but too slender to stand by itself
    assert len(colored(np.where(block, 0.07, top), [paint[0], (block, (220, 200, 40))])) == 2


def test_the_border_to_a_leaning_flank_runs_where_colour_and_height_change() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    turned, across = 0.8 * x + 0.6 * y, -0.6 * x + 0.8 * y
    box = (np.abs(turned) < 0.03) & (np.abs(across) < 0.05)
    away = np.hypot(turned - 0.06, across - 0.03)
    ball = (away < 0.035) & ~box
    height = 0.035 + np.sqrt(np.maximum(0.035**2 - away**2, 0.0))
    found = colored(np.where(box, 0.1, np.where(ball, height, 0.0)), [(box, (150, 30, 200)), (ball, (150, 200, 40))])
    assert len(found) == 2
    for true in (box, ball):
        assert max((item.mask & true).sum() / (item.mask | true).sum() for item in found) > 0.93


@pytest.mark.parametrize(("distance", "alike"), [(0.064, 1), (0.068, 2)])
def test_two_vessels_of_which_only_the_rims_were_seen_are_parted(distance: float, alike: int) -> None:
    one, two = round_patch(0.28, 0.28, 0.045), round_patch(0.28 + distance, 0.28, 0.035)
    top = np.where(one | two, 0.09, 0.0)
    top[round_patch(0.28, 0.28, 0.035) | round_patch(0.28 + distance, 0.28, 0.025)] = np.nan
    assert len(colored(top, [(one | two, (40, 160, 60))])) == alike
    assert len(colored(top, [(one, (40, 160, 60)), (two & ~one, (150, 40, 160))])) == 2


def test_what_lies_along_another_is_parted_by_colour_and_a_tool_of_two_colours_is_not() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    away, angle = np.hypot(x, y), np.arctan2(y, x)
    bowl, banana = away < 0.07, (away > 0.066) & (away < 0.098) & (np.abs(angle) < 0.9)
    pink, yellow = (230, 140, 230), (230, 200, 30)
    top = np.where(bowl, 0.05, np.where(banana, 0.03, 0.0))
    found = colored(top, [(banana, yellow), (bowl, pink)])
    assert len(found) == 2
    assert min(item.mask.sum() for item in found) == pytest.approx((banana & ~bowl).sum(), rel=0.2)
    handle, head = (np.abs(x) < 0.08) & (np.abs(y) < 0.013), (np.abs(x - 0.085) < 0.012) & (np.abs(y) < 0.04)
    assert len(colored(np.where(handle | head, 0.03, 0.0), [(handle, yellow), (head, pink)])) == 1
    label = bowl & (x > 0)
    assert len(colored(np.where(bowl, 0.05, 0.0), [(bowl, pink), (label, yellow)])) == 1


def test_a_bump_of_a_ribbed_lid_is_no_thing_and_a_block_on_it_is() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    box = (np.abs(x) < 0.12) & (np.abs(y) < 0.09)
    ribs = box & (i % 8 < 2)
    bump = (np.abs(x) < 0.02) & (y > 0.04) & (y < 0.075)
    top = np.where(box, 0.08, 0.0) + np.where(ribs, 0.003, 0.0)
    assert len(segments_of(np.where(bump, 0.0975, top))) == 1
    assert len(segments_of(np.where(bump, 0.11, top))) == 2


def test_what_leans_on_the_wall_of_its_tray_is_another_thing() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    outer, inner = (
        np.maximum(np.abs(x) - 0.09, np.abs(y) - 0.07) < 0,
        np.maximum(np.abs(x) - 0.08, np.abs(y) - 0.06) < 0,
    )
    top = np.where(outer & ~inner, 0.05, np.where(inner, 0.008, 0.0))
    car = (np.abs(x) < 0.025) & (np.abs(y) < 0.064)  # from wall to wall
    assert len(segments_of(top)) == 1
    tray, content = segments_of(np.where(car, 0.07, top))
    assert content.on == 0
    assert content.base_m == pytest.approx(0.008, abs=0.002)
    assert content.mask[car & inner].mean() > 0.8
    assert not (tray.mask & content.mask).any()


def test_a_thin_shaft_is_part_of_its_tool_and_a_foot_is_not() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    handle = (np.abs(x) < 0.05) & (np.abs(y) < 0.015)
    shaft = (x > 0.05) & (x < 0.13) & (np.abs(y) < 0.006)
    foot = (np.abs(x) < 0.056) & (np.abs(y) < 0.021)
    rng = np.random.default_rng(0)
    top = np.where(handle, 0.03, np.where(shaft, 0.004, np.where(foot, 0.003, 0.0))) + 0.0003 * rng.normal(size=x.shape)
    (found,) = segments_of(top)
    assert found.mask[shaft].mean() > 0.9
    assert found.mask[foot & ~handle].mean() < 0.5
    # A faint ridge between two things joins them not.
    other = (np.abs(x - 0.16) < 0.03) & (np.abs(y) < 0.03)
    assert len(segments_of(np.where(other, 0.05, top))) == 2


def test_a_shaft_that_rises_a_millimetre_and_is_smeared_wide_is_found() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    handle, shaft = (np.abs(x) < 0.05) & (np.abs(y) < 0.015), (x > 0.05) & (x < 0.13) & (np.abs(y) < 0.012)
    rng = np.random.default_rng(1)
    noise = 0.0003 * rng.normal(size=x.shape)
    (found,) = segments_of(np.where(handle, 0.03, np.where(shaft, 0.0016, 0.0)) + noise)
    assert found.mask[shaft].mean() > 0.85
    # A sheet of paper beside it is as high, but no end of a tool.
    sheet = (x > 0.05) & (x < 0.13) & (np.abs(y) < 0.05)
    (found,) = segments_of(np.where(handle, 0.03, np.where(sheet, 0.0016, 0.0)) + noise)
    assert found.mask[sheet].mean() < 0.3


def test_the_shaft_of_a_tool_along_a_banana_is_the_tools() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    handle, shaft = (np.abs(x) < 0.045) & (np.abs(y) < 0.014), (x > 0.045) & (x < 0.12) & (np.abs(y) < 0.008)
    bent = y - 0.029 - 4.0 * x**2
    banana = (np.abs(x) < 0.09) & (np.abs(bent) < 0.0165)
    top = np.where(handle | banana, 0.03, np.where(shaft, 0.003, 0.0))
    found = colored(top, [(shaft, (120, 120, 130)), (banana, (230, 200, 30)), (handle, (30, 90, 200))])
    assert len(found) == 2
    tool = max(found, key=lambda item: (item.mask & handle & ~banana).sum())
    assert tool.mask[shaft & ~banana].mean() > 0.8


def test_the_rim_of_a_tray_in_pieces_is_one_thing() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = np.abs(CELL * i - 0.28), np.abs(CELL * j - 0.28)
    outer, inner = np.maximum(x - 0.09, y - 0.07) < 0, np.maximum(x - 0.08, y - 0.06) < 0
    rim = outer & ~inner
    gaps = (y < 0.01) | (x < 0.01)  # the phone missed the middle of every side
    top = np.where(rim & ~gaps, 0.04, 0.0)
    found = segments_of(top)
    assert len(found) == 1
    assert found[0].mask.sum() > 0.9 * (rim & ~gaps).sum()


def test_a_can_in_a_tray_whose_floor_was_not_seen_leaves_the_tray_whole() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    outer, inner = (
        np.maximum(np.abs(x) - 0.09, np.abs(y) - 0.09) < 0,
        np.maximum(np.abs(x) - 0.078, np.abs(y) - 0.078) < 0,
    )
    can = np.hypot(x + 0.01, y) < 0.045
    top = np.where(outer & ~inner, 0.035, 0.0)
    top[inner & (x > 0.03)] = np.nan  # in the can's shadow
    top[inner & (x <= 0.03)] = 0.008
    top[(np.abs(x + y) < 0.02) & ~can] = np.nan  # two corners
    found = segments_of(np.where(can, 0.085, top))
    assert len(found) == 2
    assert min(item.mask.sum() for item in found) > 0.8 * can.sum()


def test_a_block_in_the_middle_of_a_tray_stands_on_its_floor() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    far = np.maximum(np.abs(x), np.abs(y))
    rng = np.random.default_rng(0)
    top = np.where(far < 0.02, 0.06, np.where(far < 0.1, 0.0048, np.where(far < 0.112, 0.03, 0.0)))
    found = segments_of(top + 0.0002 * rng.normal(size=top.shape))
    assert len(found) == 2
    block = min(found, key=lambda item: item.mask.sum())
    assert block.on == next(n for n, item in enumerate(found) if item is not block)
    assert block.base_m == pytest.approx(0.0048, abs=0.001)


def test_the_tip_of_a_spout_over_a_book_belongs_to_its_pot_and_a_block_on_the_book_does_not() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    book, pot = (np.abs(x) < 0.08) & (np.abs(y) < 0.06), np.hypot(x - 0.135, y) < 0.05
    tip = (x > 0.05) & (x < 0.1) & (np.abs(y) < 0.005) | (np.hypot(x - 0.055, y) < 0.018)
    top = np.where(pot, 0.1, np.where(book, 0.025, 0.0))
    red, blue, grey = (200, 30, 60), (30, 60, 200), (200, 200, 190)
    assert len(colored(np.where(tip, 0.1, top), [(book, grey), (pot | tip, red)])) == 2
    block = (np.abs(x) < 0.02) & (np.abs(y) < 0.02)
    assert len(colored(np.where(block, 0.06, top), [(book, grey), (pot, red), (block, blue)])) == 3


def test_an_orange_in_a_bowl_whose_rim_is_seen_in_part_stands_in_the_bowl() -> None:
    i, j = np.mgrid[:160, :140]
    x, y = CELL * i - 0.28, CELL * j - 0.28
    away = np.hypot(x, y)
    top = np.where(away < 0.075, 0.05, 0.0)
    top[away < 0.062] = np.nan
    top[(away >= 0.052) & (away < 0.062)] = 0.045  # the bowl's flank, down to where the orange hides it
    top[(away < 0.052) & (y > 0.03)] = 0.042
    orange = away < 0.035
    top = np.where(orange, 0.045 + np.sqrt(np.maximum(0.035**2 - away**2, 0.0)), top)
    top[(away > 0.05) & (x < -0.03) & (y < 0.02)] = np.nan
    found = segments_of(top)
    assert len(found) == 2
    ball = max(found, key=lambda item: item.base_m)
    assert ball.mask[orange].mean() > 0.9
    assert ball.base_m < 0.02
