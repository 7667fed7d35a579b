"""Pictures against what geometry says, against PyBullet's own, and against themselves in other company."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import trimesh

from reconstruction.errors import InputError
from reconstruction.mesh import Mesh
from simulation import culling, renderer
from simulation.drawable import Drawable
from simulation.layout import looking_at
from simulation.optics import Optics
from simulation.renderer import NOTHING, DistantLight, Pictures, Renderer
from simulation.robot_meshes import link_meshes
from simulation.world import World, pose_from_quaternion, quaternion_from_pose
from tests.small_scenes import as_mesh, textured

FloatArray = npt.NDArray[np.float64]
OPTICS = Optics(focal_px=70.0, size=(64, 48))
SKY = DistantLight((0, 0, 1), spread=0.0, lamp=0.0, sky=1.0)
BITS = ("rgb", "depth_m", "body")


def colored(mesh: Mesh, rgb: tuple[int, int, int] = (255, 255, 255)) -> Mesh:
    return replace(mesh, colors=np.tile(np.array(rgb, dtype=np.uint8), (len(mesh.vertices), 1)))


def plate(half_m: float, texture: npt.NDArray[np.uint8] | None = None) -> Mesh:
    """A square in the plane z = 0, its picture upright for who looks down with y up."""
    corners = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * half_m
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    if texture is None:
        return colored(Mesh(corners, faces))
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=np.float32)
    return Mesh(corners, faces, uv[faces], texture)


def at(
    x: float, y: float, z: float, turn_deg: float = 0.0, about: tuple[float, float, float] = (0, 0, 1)
) -> FloatArray:
    pose = trimesh.transformations.rotation_matrix(np.radians(turn_deg), about)
    pose[:3, 3] = x, y, z
    return np.asarray(pose)


def looking_down(height_m: float) -> FloatArray:
    """x of the scene to the right, y up in the picture."""
    pose = np.diag([1.0, -1.0, -1.0, 1.0])
    pose[2, 3] = height_m
    return pose


def directions(optics: Optics) -> FloatArray:
    """``(H, W, 3)`` of a pinhole camera, pixel middles at halves."""
    width, height = optics.size
    v, u = np.mgrid[0:height, 0:width]
    return np.stack(
        [(u + 0.5 - width / 2) / optics.focal_px, (v + 0.5 - height / 2) / optics.focal_px, np.ones(u.shape)], axis=-1
    )


def draw(
    meshes: Mapping[str, Mesh], poses: Mapping[str, FloatArray], camera: FloatArray, **options: object
) -> Pictures:
    optics = options.pop("optics", OPTICS)
    return Renderer({name: Drawable(mesh) for name, mesh in meshes.items()}).render(poses, camera, optics, **options)


def equal(first: Pictures, second: Pictures, frame: int | None = None) -> bool:
    """The same bits; `frame` of the first is compared with the only one of the second where it is given."""
    part = slice(None) if frame is None else slice(frame, frame + 1)
    return all(np.array_equal(getattr(first, name)[part], getattr(second, name)) for name in BITS)


def stirred(seed: int, frames: int) -> tuple[dict[str, Mesh], dict[str, FloatArray], FloatArray]:
    """Things on a table, some moving, and a camera that moves among them."""
    rng = np.random.default_rng(seed)
    meshes = {
        "table": textured(plate(1.5)),
        "box": textured(as_mesh(trimesh.creation.box([0.2, 0.1, 0.3]))),
        "ball": colored(as_mesh(trimesh.creation.icosphere(3, 0.1)), (200, 80, 40)),
        "rod": colored(as_mesh(trimesh.creation.cylinder(0.01, 0.6)), (40, 90, 200)),
    }
    turned = [trimesh.transformations.random_rotation_matrix(rng.random(3)) for _ in range(frames)]
    moving = np.array(turned)
    moving[:, :3, 3] = rng.uniform([-0.3, -0.3, 0.1], [0.3, 0.3, 0.5], (frames, 3))
    rod = np.array([at(0.1, 0.2, 0.3 + 0.02 * number, 20.0 * number, (1, 0, 0)) for number in range(frames)])
    # The table of every other scene lies far below the things.
    poses = {"table": at(0, 0, -0.5 * (seed % 2)), "box": moving, "ball": at(0.1, -0.2, 0.1), "rod": rod}
    eyes = rng.uniform([-0.6, -0.6, 0.2], [0.6, 0.6, 0.9], (frames, 3))
    cameras = np.array([looking_at(eye, rng.uniform(-0.1, 0.1, 3) + [0, 0, 0.1]) for eye in eyes])
    return meshes, poses, cameras


# --- geometry --------------------------------------------------------------------------------------------------------


def test_depth_of_a_plane_is_planar_depth() -> None:
    camera = looking_at(np.array([0.9, -0.4, 0.7]), np.zeros(3))
    pictures = draw({"plane": plate(20.0)}, {"plane": np.eye(4)}, camera)
    falling = directions(OPTICS) @ camera[2, :3]
    np.testing.assert_allclose(pictures.depth_m[0], 0.7 / -falling, rtol=1e-5)
    assert (pictures.body == 0).all()


def test_depth_of_a_sphere() -> None:
    camera, radius = at(0, 0, 0), 0.5
    ball = as_mesh(trimesh.creation.icosphere(5, radius))
    pictures = draw({"ball": ball}, {"ball": at(0.1, 0.05, 2.0)}, camera)
    toward, middle = directions(OPTICS), np.array([0.1, 0.05, 2.0])
    a, b, c = (toward**2).sum(axis=-1), toward @ middle, middle @ middle - radius**2
    inside = b * b - a * c
    np.testing.assert_array_equal(pictures.body[0][np.abs(inside) > 0.02] == 0, (inside > 0)[np.abs(inside) > 0.02])
    expected = (b - np.sqrt(np.maximum(inside, 0.0))) / a
    sure = inside > 0.05
    assert sure.sum() > 400
    np.testing.assert_allclose(pictures.depth_m[0][sure], expected[sure], atol=2e-3)


def test_a_turned_box_lies_where_its_pose_says() -> None:
    camera, pose = looking_down(2.0), at(0.3, 0.2, 0.25, 90.0)
    pictures = draw({"box": as_mesh(trimesh.creation.box([0.4, 0.2, 0.5]))}, {"box": pose}, camera, smooth=False)
    v, u = np.nonzero(pictures.depth_m[0] == pictures.depth_m[0][pictures.body[0] == 0].min())
    assert pictures.depth_m[0][v, u] == pytest.approx(1.5, abs=1e-6)  # its top
    # Turned by 90 degrees it is 0.2 wide and 0.4 deep.
    for pixels, low, high in ((u + 0.5 - 32, 0.2, 0.4), (24 - (v + 0.5), 0.0, 0.4)):
        assert pixels.min() == pytest.approx(70 * low / 1.5, abs=0.51)
        assert pixels.max() == pytest.approx(70 * high / 1.5, abs=0.51)


def test_nothing_is_seen_of_what_lies_behind() -> None:
    pictures = draw({"box": as_mesh(trimesh.creation.box([0.4, 0.2, 0.5]))}, {"box": at(0, 0, -1)}, np.eye(4))
    assert (pictures.body == -1).all()
    assert (pictures.depth_m == 0).all()
    assert (pictures.rgb == round(255 * NOTHING**0.5)).all()


def test_who_is_inside_a_box_sees_its_walls() -> None:
    pictures = draw({"box": as_mesh(trimesh.creation.box([2.0, 2.0, 2.0]))}, {"box": np.eye(4)}, at(0, 0, 0))
    assert pictures.depth_m[0, 24, 32] == pytest.approx(1.0, abs=1e-6)
    assert (pictures.body == 0).all()


@pytest.mark.parametrize("lens", [-0.08, 0.05, 0.2])
def test_the_lens_moves_a_point_as_brown_says(lens: float) -> None:
    optics = Optics(150.0, (160, 120), lens=lens)
    ball = colored(as_mesh(trimesh.creation.icosphere(3, 0.01)))
    shrink = max(1 + lens * (1 + (160 / 120) ** 2), 1.0)
    for angle in np.radians([10, 80, 200, 300]):
        direction, radius = np.array([np.cos(angle), np.sin(angle)]), 0.75
        straight = radius * (1 + lens * radius**2) / shrink * 60 / 150.0 * direction
        seen = draw({"ball": ball}, {"ball": at(*straight, 1.0)}, np.eye(4), optics=optics).body[0] == 0
        v, u = np.nonzero(seen)
        middle = np.array([u.mean() + 0.5 - 80, v.mean() + 0.5 - 60])
        np.testing.assert_allclose(middle, radius * 60 * direction, atol=0.4)


# --- colours ---------------------------------------------------------------------------------------------------------


def test_a_texture_is_neither_upside_down_nor_mirrored() -> None:
    texture = np.zeros((64, 64, 3), dtype=np.uint8)
    texture[:32, :32], texture[:32, 32:] = (255, 0, 0), (0, 255, 0)  # the upper half
    texture[32:, :32], texture[32:, 32:] = (0, 0, 255), (255, 255, 0)
    pictures = draw({"quad": plate(0.2, texture)}, {"quad": np.eye(4)}, looking_down(1.0), light=SKY)
    for (v, u), color in {
        (16, 24): (255, 0, 0),
        (16, 40): (0, 255, 0),
        (32, 24): (0, 0, 255),
        (32, 40): (255, 255, 0),
    }.items():
        assert pictures.rgb[0, v, u].tolist() == list(color)


def test_colours_of_vertices_run_linearly_into_each_other() -> None:
    corners = np.array([[-0.3, -0.3, 0.0], [0.3, -0.3, 0], [-0.3, 0.3, 0]])
    colors = np.array([[0, 0, 0], [200, 0, 0], [0, 200, 0]], dtype=np.uint8)
    mesh = Mesh(corners, np.array([[0, 1, 2]]), colors=colors)
    pictures = draw({"face": mesh}, {"face": np.eye(4)}, looking_down(1.0), light=SKY)
    v, u = np.nonzero(pictures.body[0] == 0)
    x, y = (u + 0.5 - 32) / 70, (24 - (v + 0.5)) / 70
    inner = (x > -0.27) & (y > -0.27) & (x + y < -0.03)
    for channel, share in ((0, (x + 0.3) / 0.6), (1, (y + 0.3) / 0.6)):
        # OpenCV looks textures up in steps of 1/32 texel.
        np.testing.assert_allclose(pictures.rgb[0, v, u, channel][inner], 200 * share[inner], atol=5)


def test_a_fine_texture_far_away_is_its_mean() -> None:
    texture = np.zeros((512, 512, 3), dtype=np.uint8)
    texture[::2, ::2] = texture[1::2, 1::2] = 255
    pictures = draw({"quad": plate(1.0, texture)}, {"quad": np.eye(4)}, looking_down(2.5), light=SKY)
    inside = pictures.rgb[0, 4:44, 10:54].astype(float)
    assert inside.mean() == pytest.approx(255 * np.sqrt(0.5), abs=2)  # of light, not of shown values
    assert inside.std() < 3


def test_brightness_follows_the_angle_to_the_lamp_and_the_exposure() -> None:
    for tilt_deg, exposure in ((0.0, 1.0), (40.0, 1.0), (70.0, 1.0), (20.0, 0.4)):
        toward = (np.sin(np.radians(tilt_deg)), 0.0, np.cos(np.radians(tilt_deg)))
        light = DistantLight(toward, spread=0.0, lamp=0.5, sky=0.2, color=(1.0, 0.8, 0.5))
        optics = replace(OPTICS, exposure=exposure)
        shown = draw({"quad": plate(3.0)}, {"quad": np.eye(4)}, looking_down(1.0), optics=optics, light=light).rgb
        linear = (0.2 + 0.5 * toward[2]) * exposure * np.array([1.0, 0.8, 0.5])
        np.testing.assert_allclose(shown.reshape(-1, 3), np.tile(255 * np.sqrt(linear), (64 * 48, 1)), atol=0.51)


def test_noise_is_as_strong_as_said_and_of_its_seed_and_frame() -> None:
    meshes, poses = {"quad": plate(3.0)}, {"quad": np.array([np.eye(4), at(0, 0, 0.01)])}
    light = DistantLight((0, 0, 1), 0.0, 0.3, 0.1)

    def noisy(**options: object) -> Pictures:
        return draw(meshes, poses, looking_down(1.0), optics=replace(OPTICS, noise=0.02), light=light, **options)

    first = noisy(seed=(5, 7))
    assert first.rgb[0].std() == pytest.approx(0.02 * 255, rel=0.03)
    assert equal(first, noisy(seed=(5, 7)))
    assert not equal(first, noisy(seed=(5, 8)))
    assert not np.array_equal(first.rgb[0], first.rgb[1])
    np.testing.assert_array_equal(first.rgb[1], noisy(seed=(5, 7), first_frame=1).rgb[0])


# --- shadows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moving", ["", "plate", "ground", "camera"])
def test_a_shadow_falls_where_geometry_says(moving: str) -> None:
    """A plate 0.2 m wide hangs 0.4 m over the ground; the camera sees under it from the side."""
    light = DistantLight((0.5, 0.25, 1.0), spread=0.0, lamp=0.6, sky=0.2)
    optics = Optics(200.0, (240, 180))
    poses = {"ground": np.eye(4), "plate": at(0.1, 0.05, 0.4), "camera": looking_down(1.6)}
    if moving:
        poses[moving] = np.array([poses[moving], poses[moving] @ at(0.02, 0, 0)])
    camera = poses.pop("camera")
    pictures = draw({"ground": plate(3.0), "plate": plate(0.1)}, poses, camera, optics=optics, light=light)
    rays = directions(optics)
    x, y = rays[..., 0] * 1.6, -rays[..., 1] * 1.6
    on_ground = pictures.body[0] == 0
    # The light goes down by 0.4 m and on the way 0.2 m to -x and 0.1 m to -y.
    off = np.maximum(np.abs(x + 0.1), np.abs(y + 0.05)) - 0.1
    dark = 255 * np.sqrt(0.2)
    bright = 255 * np.sqrt(0.2 + 0.6 / np.linalg.norm([0.5, 0.25, 1.0]))
    shown = pictures.rgb[0, ..., 0].astype(float)
    inner, outer = on_ground & (off < -0.015), on_ground & (off > 0.015)
    # The plate itself hides a part from above.
    assert inner.sum() > 100
    np.testing.assert_allclose(shown[inner], dark, atol=0.51)
    np.testing.assert_allclose(shown[outer], bright, atol=0.51)


def test_a_wider_lamp_makes_a_wider_penumbra_in_the_right_place() -> None:
    widths = []
    for spread in (0.0, 0.1, 0.3):
        light = DistantLight((0.0, 0.0, 1.0), spread=spread, lamp=0.6, sky=0.2)
        wall = at(1.0, 0.0, 0.5)  # its edge at x = 0, half a metre over the ground
        camera = looking_at(np.array([-1.2, 0.0, 1.2]), np.array([0.0, 0.0, 0.0]))
        optics = Optics(300.0, (200, 150))
        pictures = draw({"ground": plate(4.0), "wall": plate(1.0)}, {"ground": np.eye(4), "wall": wall}, camera,
                        optics=optics, light=light)  # fmt: skip
        rays = directions(optics) @ camera[:3, :3].T
        x = camera[0, 3] + pictures.depth_m[0] * rays[..., 0]
        ground = pictures.body[0] == 0
        linear = (pictures.rgb[0, ..., 0] / 255.0) ** 2
        share = (linear - 0.2) / 0.6
        part = ground & (share > 0.03) & (share < 0.97)
        widths.append(np.ptp(x[part]) if part.any() else 0.0)
        np.testing.assert_allclose(share[ground & (x < -0.55 * spread - 0.03)], 1.0, atol=0.02)
        near = ground & (np.abs(x) < 0.01)
        if spread:
            assert share[near].mean() == pytest.approx(0.5, abs=0.12)
    assert widths[0] < 0.03
    # Nine points of the lamp reach not quite to its rim.
    assert 0.6 < widths[1] / (2 * 0.5 * 0.1) < 1.1
    assert 0.6 < widths[2] / (2 * 0.5 * 0.3) < 1.1


@pytest.mark.parametrize("spread", [0.0, 0.05])
@pytest.mark.parametrize("part", [0.25, 0.5, 0.75])
def test_a_lit_thing_before_its_own_shadow(spread: float, part: float) -> None:
    """No shadow bleeds into the thing, no light into the shadow; a pixel between has its share of both."""
    light = DistantLight((1.0, 0.0, 2.0), spread=spread, lamp=0.6, sky=0.2)
    optics, pixel_m = Optics(200.0, (240, 180)), 1.2 / 200
    # Its left edge cuts the first pixel right of the middle; its shadow lies 0.2 m further left.
    poses = {"ground": np.eye(4), "plate": at(0.2 + part * pixel_m, 0.0, 0.4)}
    dark, bright = 0.2, 0.2 + 0.6 * 2 / np.sqrt(5)
    for smooth in (False, True):
        shown = draw({"ground": plate(3.0), "plate": plate(0.2)}, poses, looking_down(1.6), optics=optics, light=light,
                     smooth=smooth).rgb[0, 75:105, :, 0]  # fmt: skip
        np.testing.assert_allclose((shown[:, 100:120] / 255.0) ** 2, dark, atol=0.01)
        np.testing.assert_allclose((shown[:, 121:140] / 255.0) ** 2, bright, atol=0.01)
    np.testing.assert_allclose((shown[:, 120] / 255.0) ** 2, part * dark + (1 - part) * bright, atol=0.01)


def test_a_sheet_is_lit_on_the_side_that_is_seen() -> None:
    light = DistantLight((0, 0, -1), spread=0.0, lamp=0.5, sky=0.1)
    pictures = draw({"sheet": plate(2.0)}, {"sheet": np.eye(4)}, at(0, 0, -1), light=light)  # from below
    np.testing.assert_allclose(pictures.rgb, 255 * np.sqrt(0.5 + 0.1 * 0.4), atol=0.51)


def test_what_is_far_away_throws_no_shadow() -> None:
    """As the ceiling of a scanned room would, over everything."""
    meshes = {"ground": plate(1.0), "ceiling": plate(1.0)}
    for height, lit in ((0.9, False), (1.1, True)):
        light = DistantLight((0, 0, 1), spread=0.05, lamp=0.5, sky=0.1, reach_m=1.0)
        pictures = draw(meshes, {"ground": np.eye(4), "ceiling": at(0, 0, height)}, looking_down(0.5), light=light)
        np.testing.assert_allclose(pictures.rgb, 255 * np.sqrt(0.6 if lit else 0.1), atol=0.51)


def test_nothing_shades_itself_where_it_faces_the_lamp() -> None:
    """No shadow acne on a coarse ball, no dark seams on a box."""
    light = DistantLight((0.3, 0.2, 1.0), spread=0.0, lamp=0.6, sky=0.0)
    for solid in (trimesh.creation.icosphere(4, 0.3), trimesh.creation.box([0.5, 0.5, 0.5])):
        mesh = colored(as_mesh(solid))
        pictures = draw({"it": mesh}, {"it": np.eye(4)}, looking_down(1.5), light=light, smooth=False)
        shown = (pictures.rgb[0, ..., 0] / 255.0) ** 2
        inner = cv2.erode((pictures.body[0] == 0).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        points = looking_down(1.5)[:3, 3] + pictures.depth_m[0][..., None] * directions(OPTICS) * [1, -1, -1]
        normal = points / np.linalg.norm(points, axis=-1, keepdims=True) if len(mesh.faces) > 12 else [0, 0, 1]
        cosine = (normal * (np.array(light.toward) / np.linalg.norm(light.toward))).sum(axis=-1)
        lit = inner & (cosine > 0.25)
        assert lit.sum() > 300
        np.testing.assert_allclose(shown[lit], 0.6 * (cosine * np.ones(lit.shape))[lit], atol=0.03)


def test_light_does_not_leak_through_what_stands_on_the_ground() -> None:
    light = DistantLight((1.0, 0.0, 1.0), spread=0.05, lamp=0.8, sky=0.1)
    box = as_mesh(trimesh.creation.box([0.3, 0.3, 0.2]))
    poses = {"ground": np.eye(4), "box": at(0, 0, 0.1)}
    optics = Optics(200.0, (160, 120))
    camera = looking_at(np.array([-1.0, 0.0, 0.9]), np.zeros(3))
    pictures = draw({"ground": plate(3.0), "box": box}, poses, camera, optics=optics, light=light, smooth=False)
    points = camera[:3, 3] + pictures.depth_m[0][..., None] * (directions(optics) @ camera[:3, :3].T)
    behind = (pictures.body[0] == 0) & (points[..., 0] < -0.155) & (points[..., 0] > -0.3)
    behind &= np.abs(points[..., 1]) < 0.12
    assert behind.sum() > 100
    assert (pictures.rgb[0][behind] <= np.ceil(255 * np.sqrt(0.1))).all()


# --- edges -----------------------------------------------------------------------------------------------------------


def test_edges_are_smoothed_and_nothing_else_is_touched() -> None:
    dark = colored(plate(0.2), (0, 0, 0))
    shifted = [draw({"ground": plate(3.0), "quad": dark}, {"ground": np.eye(4), "quad": at(part / 70, 0, 0.001)},
                    looking_down(1.0), light=SKY) for part in (0.0, 0.25, 0.5, 0.75)]  # fmt: skip
    # The right edge at 32 + 14 + part pixels: the pixel there turns from white to black in four steps.
    values = [(pictures.rgb[0, 24, 46, 0] / 255.0) ** 2 for pictures in shifted]
    np.testing.assert_allclose(values, [1.0, 0.75, 0.5, 0.25], atol=0.01)
    meshes, poses, cameras = stirred(3, 3)
    rough, smooth = (draw(meshes, poses, cameras, smooth=wanted) for wanted in (False, True))
    np.testing.assert_array_equal(rough.depth_m, smooth.depth_m)
    changed = (rough.rgb != smooth.rgb).any(axis=-1)
    assert 0.02 < changed.mean() < 0.3
    for body, depth, was in zip(rough.body, np.where(rough.body < 0, 9.0, rough.depth_m), changed, strict=True):
        low, high = (how(body, np.ones((3, 3), np.uint8)) for how in (cv2.erode, cv2.dilate))
        near, away = (how(depth, np.ones((3, 3), np.uint8)) for how in (cv2.erode, cv2.dilate))
        uniform = (low == high) & (away < 1.04 * near)
        assert uniform.mean() > 0.2
        assert not was[uniform].any()


# --- company ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed camera", "moving camera"])
@pytest.mark.parametrize("lens", [0.0, -0.07])
def test_a_frame_has_the_same_bits_alone_and_among_others(
    fixed: bool, lens: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    meshes, poses, cameras = stirred(1, 5)
    camera = cameras[0] if fixed else cameras
    optics = replace(OPTICS, lens=lens, noise=0.01)
    together = draw(meshes, poses, camera, optics=optics, seed=(3,))
    assert set(range(4)) <= set(np.unique(together.body))
    for frame in range(5):
        own = {name: pose if pose.ndim == 2 else pose[frame] for name, pose in poses.items()}
        alone = draw(meshes, own, camera if fixed else cameras[frame], optics=optics, seed=(3,), first_frame=frame)
        assert equal(together, alone, frame)
    monkeypatch.setattr(renderer, "_CHUNK_PIXELS", 2 * 64 * 48)
    assert equal(together, draw(meshes, poses, camera, optics=optics, seed=(3,)))


@pytest.mark.parametrize("fixed", [True, False], ids=["fixed camera", "moving camera"])
def test_pictures_one_after_the_other_have_the_same_bits(fixed: bool) -> None:
    """What is kept of the picture before shows in none; things stand, begin to move, and stand again."""
    meshes, poses, cameras = stirred(4, 4)
    still = {name: pose if pose.ndim == 2 else pose[0] for name, pose in poses.items()}
    moments = [still, still]
    for frame in (1, 2, 3, 3, 2):
        for moving in (list(poses)[:2], list(poses)):
            own = {name: pose[frame] for name, pose in poses.items() if pose.ndim == 3 and name in moving}
            moments.append({**moments[-1], **own})
    one = Renderer({name: Drawable(mesh) for name, mesh in meshes.items()})
    for number, moment in enumerate(moments):
        camera = cameras[0 if fixed else number % len(cameras)]
        kept = one.render(moment, camera, OPTICS, seed=(3,))
        assert equal(kept, draw(meshes, moment, camera, optics=OPTICS, seed=(3,)), 0)


def test_what_moves_looks_as_when_it_stands() -> None:
    """A body given one pose for each of the frames is drawn as one that stands still, and as one that moves later."""
    meshes, poses, cameras = stirred(2, 3)
    still = {name: pose if pose.ndim == 2 else pose[0] for name, pose in poses.items()}
    moving = {name: np.array([pose, pose, pose @ at(0.01, 0, 0, 3)]) for name, pose in still.items()}
    once, often = draw(meshes, still, cameras[0]), draw(meshes, moving, cameras[0])
    assert equal(often, once, 0)
    assert equal(often, once, 1)
    assert not equal(often, once, 2)
    assert equal(
        draw(meshes, {name: np.tile(pose, (3, 1, 1)) for name, pose in still.items()}, cameras[0]), once, 2
    ) or (once.rgb.shape[0] == 1)


def test_threads_do_not_change_bits() -> None:
    meshes, poses, cameras = stirred(4, 4)
    bodies = {name: Drawable(mesh) for name, mesh in meshes.items()}

    def pictures(_: int = 0) -> Pictures:
        return Renderer(bodies).render(poses, cameras, OPTICS)

    before, threads = pictures(), cv2.getNumThreads()
    try:
        for number in (1, 2, 4):
            cv2.setNumThreads(number)
            assert equal(before, pictures())
    finally:
        cv2.setNumThreads(threads)
    with ThreadPoolExecutor(3) as executor:
        assert all(equal(before, other) for other in executor.map(pictures, range(3)))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("lens", [0.0, -0.08, 0.08])
def test_boxes_spare_no_ray_that_meets_something(seed: int, lens: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cameras among the things, lamps low and wide: asked about everything everywhere, the bits are the same."""
    meshes, poses, cameras = stirred(10 + seed, 4)
    rng = np.random.default_rng(seed)
    cameras[0, :3, 3] = poses["box"][0, :3, 3]  # within a box
    cameras[1, :3, 3] = poses["ball"][:3, 3] + [0.0, 0.0, 0.102]  # two millimetres before a ball
    light = DistantLight((*rng.normal(size=2), rng.uniform(-0.5, 2.0)), spread=rng.uniform(0.0, 0.3), sky=0.1)
    optics = replace(OPTICS, lens=lens)
    spared = draw(meshes, poses, cameras, optics=optics, light=light)

    def everywhere(corners: FloatArray, focal_px: float, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
        return np.ones((len(corners), size[0] * size[1]), dtype=np.bool_)

    monkeypatch.setattr(renderer, "picture_boxes", everywhere)
    monkeypatch.setattr(culling, "_LARGE_M", 0.0)
    assert equal(spared, draw(meshes, poses, cameras, optics=optics, light=light))


@pytest.mark.parametrize("below", [False, True], ids=["ground", "ceiling"])
@pytest.mark.parametrize("elevation_deg", [90, 30, 12])
def test_no_wide_penumbra_is_cut_off(elevation_deg: float, below: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither far below a thing nor where the lamp's lower rim shines flat, nor where it shines from below."""
    side = -1.0 if below else 1.0
    toward = np.cos(np.radians(elevation_deg)), 0.0, side * np.sin(np.radians(elevation_deg))
    light = DistantLight(toward, spread=0.25, lamp=0.8, sky=0.1)
    hung = 1.0 * np.array(toward)
    box = as_mesh(trimesh.creation.box([0.15, 0.15, 0.005]))
    poses = {"ground": np.eye(4), "box": at(*hung), "near": at(0.8, 0, side * 0.1)}
    camera = looking_at(np.array([-1.2, 0.0, side * 1.1]), np.zeros(3))
    bodies = {"ground": plate(3.0), "box": box, "near": box}
    spared = draw(bodies, poses, camera, light=light)
    monkeypatch.setattr(culling, "_LARGE_M", 0.0)
    assert equal(spared, draw(bodies, poses, camera, light=light))
    assert not equal(spared, draw(bodies, {**poses, "box": at(5, 0, 5)}, camera, light=light))  # its shadow is seen


def test_without_bodies_there_is_nothing_to_see() -> None:
    pictures = draw({}, {}, np.tile(np.eye(4), (2, 1, 1)))
    assert pictures.rgb.shape == (2, 48, 64, 3)
    assert (pictures.body == -1).all()


def test_numbers_of_poses_must_fit() -> None:
    meshes, poses, cameras = stirred(1, 3)
    with pytest.raises(ValueError, match="no pose of 'ball'"):
        draw(meshes, {name: pose for name, pose in poses.items() if name != "ball"}, cameras)
    with pytest.raises(ValueError, match="2, 3"):
        draw(meshes, poses, cameras[:2])
    with pytest.raises(ValueError, match="without faces"):
        Drawable(Mesh(np.zeros((3, 3)), np.zeros((0, 3), dtype=np.int64)))


# --- robots, beside PyBullet -----------------------------------------------------------------------------------------

ROBOTS = {
    "franka_panda/panda.urdf": [0.3, 0.4, 0.1, -1.7, 0.2, 2.0, 0.8, 0.0, 0.0, 0.035, 0.015],
    "xarm/xarm6_with_gripper.urdf": [0.0, 0.4, -0.3, -0.6, 0.3, 0.7, 0.2, 0.0, 0.4, 0.4, 0.4, 0.4, 0.4, 0.4],
    "r2d2.urdf": [],  # made of boxes, cylinders, spheres and meshes
}


def bundled(name: str) -> Path:
    import pybullet_data

    return Path(pybullet_data.getDataPath()) / name


@pytest.mark.parametrize("urdf", ROBOTS)
def test_a_robot_stands_as_pybullet_draws_it(urdf: str) -> None:
    camera = looking_at(np.array([1.0, -0.7, 0.9]), np.array([0.15, 0.15, 0.3]))
    size, near, far = 240, 0.1, 6.0
    mount = at(0.1, 0.2, 0.0, 23.0)
    with World() as world:
        p = world.pybullet
        where = mount[:3, 3].tolist(), quaternion_from_pose(mount).tolist()
        robot = world.call("loadURDF", urdf, *where, useFixedBase=True)
        poses = {world.call("getBodyInfo", robot)[0].decode(): mount}
        for joint in range(world.call("getNumJoints", robot)):
            world.call("resetJointState", robot, joint, [*ROBOTS[urdf], *[0.0] * 20][joint])
        for joint in range(world.call("getNumJoints", robot)):
            state = world.call("getLinkState", robot, joint, computeForwardKinematics=True)
            poses[world.call("getJointInfo", robot, joint)[12].decode()] = pose_from_quaternion(*state[4:6])
        view = (np.diag([1.0, -1.0, -1.0, 1.0]) @ np.linalg.inv(camera)).T.ravel().tolist()
        projection = p.computeProjectionMatrixFOV(60.0, 1.0, near, far)
        flags = p.ER_SEGMENTATION_MASK_OBJECT_AND_LINKINDEX
        found = world.call("getCameraImage", size, size, view, projection, renderer=p.ER_TINY_RENDERER, flags=flags)
    buffer, mask = np.reshape(found[3], (size, size)), np.reshape(found[4], (size, size))
    meshes = link_meshes(bundled(urdf))
    optics = Optics(size / 2 / np.tan(np.radians(30.0)), (size, size))
    ours = draw(meshes, {name: poses[name] for name in meshes}, camera, optics=optics)
    seen = ours.depth_m[0] > 0
    assert 0.03 < seen.mean() < 0.6
    assert (seen != (mask >= 0)).mean() < 0.006  # outlines
    both = seen & (mask >= 0)
    error = np.abs(ours.depth_m[0] - far * near / (far - (far - near) * buffer))[both]
    assert np.median(error) < 0.007  # theirs is taken half a pixel off, and its cylinders have few sides
    assert (error < 0.03).mean() > 0.95
    names = list(poses)  # the base is link -1 there
    links = (mask >> 24)[both]
    assert (
        np.mean([names[link] == ours.names[body] for link, body in zip(links, ours.body[0][both], strict=True)]) > 0.95
    )


def test_fingers_and_colours_of_the_panda() -> None:
    meshes = link_meshes(bundled("franka_panda/panda.urdf"))
    assert {"panda_link0", "panda_hand", "panda_leftfinger", "panda_rightfinger"} <= set(meshes)
    assert len(meshes) == 11
    assert meshes["panda_link6"].texture.size < 4_000_000  # its parts share one picture
    camera = looking_at(np.array([0.5, 0.4, 0.5]), np.zeros(3))
    shown = draw({"base": meshes["panda_link0"]}, {"base": np.eye(4)}, camera, light=SKY)
    # White by its URDF, as its file has no colours; its sides see less of the sky.
    assert (shown.rgb[shown.body == 0] > 255 * np.sqrt(0.7) - 2).mean() > 0.95


def test_links_are_given_in_their_own_frames(tmp_path: Path) -> None:
    """Not in that of their mass, and with the place, scale and colour that the URDF gives the mesh."""
    trimesh.creation.box([0.2, 0.2, 0.2]).export(tmp_path / "box.stl")
    (tmp_path / "it.urdf").write_text(
        '<robot name="it"><link name="base"><inertial><origin xyz="0.3 0.1 0.2" rpy="0.3 0 0"/><mass value="1"/>'
        '<inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial><visual><origin xyz="0 0 0.1"/>'
        '<geometry><mesh filename="box.stl" scale="1 2 1"/></geometry>'
        '<material name="red"><color rgba="1 0 0 1"/></material></visual></link></robot>'
    )
    mesh = link_meshes(tmp_path / "it.urdf")["base"]
    limits = [mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)]
    np.testing.assert_allclose(limits, [[-0.1, -0.2, 0], [0.1, 0.2, 0.2]], atol=1e-7)
    assert len(mesh.vertices) == 8  # an STL's corners are welded
    assert (mesh.texture.max(axis=(0, 1)) == [255, 0, 0]).all()


def test_a_robot_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot load"):
        link_meshes(tmp_path / "none.urdf")
