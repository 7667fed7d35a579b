"""Colours recovered from rendered views against the colours they were rendered from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import open3d as o3d
import pytest
import trimesh

from reconstruction.atlas import rasterize, unwrap
from reconstruction.mesh import Mesh, to_trimesh
from reconstruction.texture import TextureSettings, TextureView, texture_meshes

SIZE = (320, 240)
INTRINSICS = np.array([[300.0, 0.0, 159.5], [0.0, 300.0, 119.5], [0.0, 0.0, 1.0]])
SEEN = TextureSettings(unlit=False)
"""Colours as they are seen: balls that are painted in a gradient would be taken for lit ones."""


def texture_mesh(mesh: Mesh, views: Sequence[TextureView], settings: TextureSettings = SEEN) -> Mesh:
    return texture_meshes([mesh], views, settings)[0]


def as_mesh(solid: trimesh.Trimesh, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    return Mesh(np.array(solid.vertices) + shift, np.array(solid.faces, dtype=np.int64))


def ball(shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Mesh:
    return as_mesh(trimesh.creation.icosphere(subdivisions=3, radius=0.05), shift)


def true_color(points: np.ndarray) -> np.ndarray:
    """A smooth pattern over space, in levels."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return np.stack([130 + 70 * np.sin(40 * x), 130 + 70 * np.sin(35 * y + 1), 130 + 70 * np.sin(45 * z + 2)], axis=-1)


def looking_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def render(meshes: list[Mesh], pose: np.ndarray, gain: float = 1.0, black: int | None = None) -> np.ndarray:
    scene = o3d.t.geometry.RaycastingScene()
    for mesh in meshes:
        scene.add_triangles(mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32))
    u, v = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    local = np.stack([(u - 159.5) / 300.0, (v - 119.5) / 300.0, np.ones_like(u, dtype=float)], axis=-1)
    rays = local @ pose[:3, :3].T
    hit = scene.cast_rays(np.concatenate([np.broadcast_to(pose[:3, 3], rays.shape), rays], -1).astype(np.float32))
    depth = hit["t_hit"].numpy()
    found = np.isfinite(depth)
    colors = np.full((*depth.shape, 3), 20.0)
    colors[found] = true_color(pose[:3, 3] + rays[found] * depth[found][:, None]) * gain
    if black is not None:
        colors[hit["geometry_ids"].numpy() == black] = 0.0
    return np.clip(np.rint(colors), 0, 255).astype(np.uint8)


def views_of(meshes: list[Mesh], count: int = 10, spread: float = 2 * np.pi, **how: object) -> list[TextureView]:
    views = []
    for number in range(count):
        angle = spread * number / count
        height = 0.12 if number % 2 else 0.3
        pose = looking_at(np.array([0.4 * np.cos(angle), 0.4 * np.sin(angle), height]), np.zeros(3))
        image = render(meshes, pose, **how)  # type: ignore[arg-type]
        views.append(TextureView(lambda image=image: image, SIZE, INTRINSICS, pose))
    return views


def surface_errors(mesh: Mesh, above: float = -1.0) -> np.ndarray:
    """Mean error in levels at random surface points higher than `above` (m), looked up as a renderer would."""
    assert mesh.texture is not None
    assert mesh.corner_uv is not None
    rng = np.random.default_rng(0)
    faces = rng.integers(len(mesh.faces), size=6000)
    weights = rng.dirichlet([1.0, 1.0, 1.0], 6000)[:, :, None]
    points = (mesh.vertices[mesh.faces[faces]] * weights).sum(axis=1)
    uv = (mesh.corner_uv[faces] * weights).sum(axis=1)
    height, width = mesh.texture.shape[:2]
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1.0 - uv[:, 1]) * height).astype(int), 0, height - 1)
    error = np.abs(mesh.texture[row, column].astype(float) - true_color(points)).mean(axis=1)
    return error[points[:, 2] > above]


@pytest.mark.parametrize("mesh", [ball(), as_mesh(trimesh.creation.box((0.1, 0.08, 0.06)).subdivide().subdivide())])
def test_colours_come_back(mesh: Mesh) -> None:
    textured = texture_mesh(mesh, views_of([mesh]))
    errors = surface_errors(textured, above=-0.01)
    assert np.median(errors) < 2.5
    assert np.quantile(errors, 0.95) < 8.0
    assert textured.vertices.tobytes() == mesh.vertices.tobytes()
    assert textured.faces.tobytes() == mesh.faces.tobytes()
    assert to_trimesh(textured).is_watertight


def test_unseen_sides_continue_what_was_seen() -> None:
    mesh = ball()
    textured = texture_mesh(mesh, views_of([mesh], count=4, spread=1.0))
    assert textured.texture is not None
    assert textured.colors is not None
    assert textured.texture.max(axis=2).min() > 40  # neither black nor the background of the pictures
    # The smoothest continuation takes on no colour that is not there already.
    back = textured.colors[mesh.vertices[:, 0] < -0.04].astype(float)
    rest = textured.colors[mesh.vertices[:, 0] >= -0.04].astype(float)
    assert (back.min(axis=0) >= rest.min(axis=0) - 3).all()
    assert (back.max(axis=0) <= rest.max(axis=0) + 3).all()


def test_what_stands_in_front_does_not_rub_off() -> None:
    back, front = ball(), as_mesh(trimesh.creation.box((0.05, 0.05, 0.1)), (0.12, 0.0, 0.0))
    views = views_of([back, front], black=1)
    hidden = texture_meshes([back], views, SEEN, occluders=[front])[0]
    assert np.quantile(surface_errors(hidden, above=-0.01), 0.97) < 15.0
    together = texture_meshes([back, front], views, SEEN)
    assert np.quantile(surface_errors(together[0], above=-0.01), 0.97) < 15.0
    assert together[1].colors is not None
    assert np.median(together[1].colors) < 10


def test_where_views_are_doubted_the_colours_round_it_go_on() -> None:
    mesh = ball()
    views = []
    for view in views_of([mesh]):
        image = np.full_like(view.read_rgb(), (40, 160, 70))
        image[image.shape[0] // 2 :] = (250, 0, 0)  # as if another thing had rubbed off on the lower half
        views.append(replace(view, read_rgb=lambda image=image: image))
    below = mesh.vertices[:, 2] < -0.01
    believed = texture_meshes([mesh], views, SEEN)[0]
    doubted = texture_meshes([mesh], views, SEEN, doubtful=[lambda points: points[:, 2] < 0.025])[0]
    assert believed.colors is not None
    assert doubted.colors is not None
    assert (believed.colors[below, 0] > 200).mean() > 0.5
    assert (doubted.colors[below, 0] > 200).mean() < 0.1
    nothing = texture_meshes([mesh], views, SEEN, doubtful=[lambda points: np.ones(len(points), bool)])[0]
    assert nothing.texture is None


def test_exposure_is_evened_out() -> None:
    mesh = ball()
    views = []
    for number, view in enumerate(views_of([mesh])):
        image = np.clip(view.read_rgb().astype(float) * (1.2 if number % 2 else 0.85), 0, 255).astype(np.uint8)
        views.append(TextureView(lambda image=image: image, SIZE, INTRINSICS, view.scene_from_camera))
    textured = texture_mesh(mesh, views)
    assert textured.texture is not None
    errors = surface_errors(textured, above=-0.01)
    assert np.median(errors) < 9.0  # the common brightness is unknown, the steps are gone
    assert np.quantile(errors, 0.95) < 25.0


def test_a_single_wrong_view_is_outvoted() -> None:
    mesh = ball()
    views = views_of([mesh], count=16)
    wrong = np.full((240, 320, 3), (255, 0, 255), dtype=np.uint8)
    views[4] = TextureView(lambda: wrong, SIZE, INTRINSICS, views[4].scene_from_camera)
    assert np.quantile(surface_errors(texture_mesh(mesh, views), above=0.0), 0.9) < 12.0


def test_without_colour_the_mesh_is_grey() -> None:
    mesh = ball()
    blind = [TextureView(lambda: None, SIZE, INTRINSICS, view.scene_from_camera) for view in views_of([mesh], 3)]
    away = looking_at(np.array([0.4, 0.0, 0.1]), np.array([2.0, 0.0, 0.1]))
    elsewhere = [TextureView(lambda: np.zeros((240, 320, 3), np.uint8), SIZE, INTRINSICS, away)]
    for views in ([], blind, elsewhere):
        grey = texture_mesh(mesh, views)
        assert grey.texture is None
        assert grey.colors is not None
        assert np.unique(grey.colors).tolist() == [160]
    assert texture_meshes([], blind) == []


def test_big_meshes_get_vertex_colours() -> None:
    mesh = ball()
    colored = texture_mesh(mesh, views_of([mesh]), TextureSettings(max_faces=100, unlit=False))
    assert colored.texture is None
    assert colored.colors is not None
    top = mesh.vertices[:, 2] > 0.0
    assert np.abs(colored.colors[top] - true_color(mesh.vertices[top])).mean() < 3.0


def test_same_bytes_twice_and_images_one_at_a_time() -> None:
    mesh = ball()
    views = views_of([mesh])
    reads: list[int] = []

    def counted(number: int) -> TextureView:
        view = views[number]

        def read() -> np.ndarray | None:
            reads.append(number)
            return view.read_rgb()

        return TextureView(read, SIZE, INTRINSICS, view.scene_from_camera)

    first = texture_mesh(mesh, [counted(number) for number in range(len(views))])
    assert reads == list(range(len(views)))
    second = texture_mesh(mesh, views)
    assert first.texture is not None
    assert second.texture is not None
    assert first.texture.tobytes() == second.texture.tobytes()


def test_images_of_another_size_than_declared_are_scaled() -> None:
    mesh = ball()
    views = [
        TextureView(
            lambda view=view: np.repeat(np.repeat(view.read_rgb(), 2, axis=0), 2, axis=1),
            SIZE,
            INTRINSICS,
            view.scene_from_camera,
        )
        for view in views_of([mesh])
    ]
    assert np.median(surface_errors(texture_mesh(mesh, views), above=-0.01)) < 3.0


def test_atlas_stays_within_its_size_and_covers_every_face() -> None:
    mesh = ball()
    atlas = unwrap(mesh, 1e-5, 256)
    assert atlas is not None
    assert max(atlas.size) <= 256
    assert set(np.unique(atlas.faces)) == set(range(len(mesh.faces)))
    assert len(np.unique(atlas.texels)) == len(atlas.texels)
    assert unwrap(Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])), 1e-3, 64) is None


def test_rasterised_texels_know_where_they_lie() -> None:
    corners = np.array([[[2.0, 2.0], [20.0, 3.0], [4.0, 17.0]], [[20.0, 3.0], [22.0, 20.0], [4.0, 17.0]]])
    texels, faces, weights = rasterize(corners, (32, 24), margin=0.0)
    where = (corners[faces] * weights[:, :, None]).sum(axis=1)
    np.testing.assert_allclose(where[:, 0], texels % 32, atol=1e-4)
    np.testing.assert_allclose(where[:, 1], texels // 32, atol=1e-4)
    area = 0.5 * abs(18 * 15 - 1 * 2) + 0.5 * abs((2 * 14) - (17 * -16))
    assert len(texels) == pytest.approx(area, rel=0.08)


def test_a_broken_reader_stops_the_step() -> None:
    def broken() -> np.ndarray:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        texture_mesh(ball(), [TextureView(broken, SIZE, INTRINSICS, looking_at(np.array([0.4, 0, 0.1]), np.zeros(3)))])
