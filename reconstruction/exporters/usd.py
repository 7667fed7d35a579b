"""OpenUSD with UsdPhysics, for Isaac Sim, Omniverse and Blender (https://openusd.org/release/api/usd_physics_page_front.html)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from reconstruction.exporters.bodies import BACKGROUND, Body, bodies_of
from reconstruction.mesh import Mesh
from reconstruction.scene import Scene


def export(scene: Scene, folder: Path) -> Path:
    """Write ``scene.usdc`` and ``textures/``; returns ``scene.usdc``. Metres, z up, kilograms."""
    from pxr import Usd, UsdGeom, UsdPhysics

    supports, objects, background = bodies_of(scene)
    path = folder / "scene.usdc"
    folder.mkdir(parents=True, exist_ok=True)
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.z)
    UsdPhysics.SetStageKilogramsPerUnit(stage, 1.0)
    world = UsdGeom.Xform.Define(stage, "/World")
    stage.SetDefaultPrim(world.GetPrim())
    physics = UsdPhysics.Scene.Define(stage, "/World/PhysicsScene")
    physics.CreateGravityDirectionAttr((0.0, 0.0, -1.0))
    physics.CreateGravityMagnitudeAttr(9.81)
    if background is not None:
        _visual(stage, f"/World/{BACKGROUND}", background, folder)
    for body in [*supports, *objects]:
        _body(stage, body, folder)
    stage.GetRootLayer().Save()
    return path


def _body(stage: Any, body: Body, folder: Path) -> None:
    from pxr import Gf, UsdGeom, UsdPhysics

    path = f"/World/{body.name}"
    xform = UsdGeom.Xform.Define(stage, path)
    prim = xform.GetPrim()
    prim.SetDisplayName(body.label)
    # USD multiplies rows: its matrix is our transform transposed.
    xform.AddTransformOp().Set(Gf.Matrix4d(body.scene_from_body.T.tolist()))
    if body.source is not None:
        UsdPhysics.RigidBodyAPI.Apply(prim)
        _mass(UsdPhysics.MassAPI.Apply(prim), body)
    _visual(stage, f"{path}/visual", body.visual, folder)
    material = _physics_material(stage, path, body)
    UsdGeom.Scope.Define(stage, f"{path}/collision")
    for number, part in enumerate(body.parts):
        mesh = _mesh(stage, f"{path}/collision/part_{number:03d}", part)
        mesh.CreatePurposeAttr(UsdGeom.Tokens.guide)
        UsdPhysics.CollisionAPI.Apply(mesh.GetPrim())
        UsdPhysics.MeshCollisionAPI.Apply(mesh.GetPrim()).CreateApproximationAttr(UsdPhysics.Tokens.convexHull)
        _bind(mesh.GetPrim(), material, "physics")


def _mass(api: Any, body: Body) -> None:
    from pxr import Gf
    from scipy.spatial.transform import Rotation

    item = body.source
    assert item is not None  # noqa: S101 - called for objects only
    moments, axes = np.linalg.eigh(item.inertia)
    axes[:, 2] *= np.sign(np.linalg.det(axes))
    x, y, z, w = Rotation.from_matrix(axes).as_quat(canonical=True)
    api.CreateMassAttr(item.mass_kg)
    api.CreateCenterOfMassAttr(Gf.Vec3f(*item.center_of_mass.tolist()))
    api.CreateDiagonalInertiaAttr(Gf.Vec3f(*moments.tolist()))
    api.CreatePrincipalAxesAttr(Gf.Quatf(float(w), float(x), float(y), float(z)))


def _physics_material(stage: Any, path: str, body: Body) -> Any:
    from pxr import UsdPhysics, UsdShade

    material = UsdShade.Material.Define(stage, f"{path}/surface")
    api = UsdPhysics.MaterialAPI.Apply(material.GetPrim())
    api.CreateStaticFrictionAttr(body.friction)
    api.CreateDynamicFrictionAttr(body.friction)
    api.CreateRestitutionAttr(body.restitution)
    return material


def _mesh(stage: Any, path: str, mesh: Mesh) -> Any:
    from pxr import UsdGeom, Vt

    geometry = UsdGeom.Mesh.Define(stage, path)
    points = mesh.vertices.astype(np.float32)
    geometry.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(points))
    geometry.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.astype(np.int32).ravel()))
    geometry.CreateFaceVertexCountsAttr(Vt.IntArray.FromNumpy(np.full(len(mesh.faces), 3, dtype=np.int32)))
    geometry.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    geometry.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.stack([points.min(axis=0), points.max(axis=0)])))
    return geometry


def _visual(stage: Any, path: str, mesh: Mesh, folder: Path) -> None:
    from pxr import Sdf, UsdGeom, Vt

    geometry = _mesh(stage, path, mesh)
    if mesh.texture is not None and mesh.corner_uv is not None:
        primvars = UsdGeom.PrimvarsAPI(geometry)
        st = primvars.CreatePrimvar("st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.faceVarying)
        st.Set(Vt.Vec2fArray.FromNumpy(np.ascontiguousarray(mesh.corner_uv.reshape(-1, 2), dtype=np.float32)))
        _bind(geometry.GetPrim(), _textured(stage, path, mesh, folder))
    elif mesh.colors is not None:
        display = geometry.CreateDisplayColorPrimvar(UsdGeom.Tokens.vertex)
        display.Set(Vt.Vec3fArray.FromNumpy(mesh.colors.astype(np.float32) / np.float32(255)))


def _textured(stage: Any, path: str, mesh: Mesh, folder: Path) -> Any:
    """A UsdPreviewSurface that reads the texture (https://openusd.org/release/spec_usdpreviewsurface.html)."""
    import cv2
    from pxr import Sdf, UsdShade

    assert mesh.texture is not None  # noqa: S101 - asked for only then
    file = f"textures/{path.removeprefix('/World/').split('/')[0]}.png"
    (folder / "textures").mkdir(exist_ok=True)
    ok, encoded = cv2.imencode(".png", np.ascontiguousarray(mesh.texture[..., ::-1]))
    if not ok:
        raise ValueError("texture cannot be encoded")
    (folder / file).write_bytes(encoded.tobytes())
    material = UsdShade.Material.Define(stage, f"{path}_material")
    reader = UsdShade.Shader.Define(stage, f"{path}_material/st")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", Sdf.ValueTypeNames.String).Set("st")
    picture = UsdShade.Shader.Define(stage, f"{path}_material/texture")
    picture.CreateIdAttr("UsdUVTexture")
    picture.CreateInput("file", Sdf.ValueTypeNames.Asset).Set(f"./{file}")
    picture.CreateInput("sourceColorSpace", Sdf.ValueTypeNames.Token).Set("sRGB")
    coordinates = reader.CreateOutput("result", Sdf.ValueTypeNames.Float2)
    picture.CreateInput("st", Sdf.ValueTypeNames.Float2).ConnectToSource(coordinates)
    shader = UsdShade.Shader.Define(stage, f"{path}_material/shader")
    shader.CreateIdAttr("UsdPreviewSurface")
    shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.8)
    color = picture.CreateOutput("rgb", Sdf.ValueTypeNames.Float3)
    shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).ConnectToSource(color)
    material.CreateSurfaceOutput().ConnectToSource(shader.CreateOutput("surface", Sdf.ValueTypeNames.Token))
    return material


def _bind(prim: Any, material: Any, purpose: str = "") -> None:
    from pxr import UsdShade

    api = UsdShade.MaterialBindingAPI.Apply(prim)
    if purpose:
        api.Bind(material, UsdShade.Tokens.weakerThanDescendants, purpose)
    else:
        api.Bind(material)
