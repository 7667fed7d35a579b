"""Convex parts for contacts, budgeted by volume error: the parts' union has the volume of the object.

Objects are cut with planes (`reconstruction.convex`); where that fails, CoACD is asked in a process of its own; where
that fails too, one hull stands for the object, and the result says so. Results are cached by the hash of mesh and
settings. Work runs in a process pool; what comes out does not depend on the number of processes.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from reconstruction.coacd_process import coacd_hulls
from reconstruction.convex import CutSettings, Piece, cut, fit_polytope, piece_of, solid_of
from reconstruction.errors import OutputError
from reconstruction.mesh import Mesh
from reconstruction.progress import Progress, silent

FloatArray = npt.NDArray[np.float64]
_VERSION = 1  # part of the cache key: raise it when the result for the same mesh changes


@dataclass(frozen=True)
class DecompositionSettings:
    """How objects become convex parts."""

    volume_error: float = 0.05
    """Largest difference between the volume of the parts' union and the object's, as a share of the object's."""
    surface_error_m: float = 0.0002
    """Mean distance (m) between the parts and the surface at which an object counts as cut finely enough; smaller makes
    more parts."""
    max_parts: int = 40
    """Most parts of an object; more follow its walls better and make the simulation slower."""
    max_vertices: int = 64
    """Most vertices of a part."""
    near_convex: float = 0.95
    """An object that fills this share of its convex hull gets a single part."""
    single_error: float = 0.12
    """So does one that a single part follows with at most this symmetric difference, as a share of its volume."""
    method: Literal["auto", "cuts", "coacd"] = "auto"
    """cuts: plane cuts; coacd: CoACD; auto: cuts, and CoACD where they miss the budget."""
    coacd_time_limit_s: float = 10.0
    """CoACD is stopped after so many seconds for an object."""
    max_faces: int = 3000
    """Objects are simplified to about so many triangles first, never by more than 1 mm."""


@dataclass(frozen=True)
class Parts:
    """The convex parts of one object.

    Attributes:
        parts: closed convex meshes in the object's own coordinates.
        volume_error: volume of their union less the mesh's, as a share of the mesh's.
        shape_error: volume of the symmetric difference, as a share of the mesh's: 0 for the very same shape.
        method: ``hull``, ``cuts`` or ``coacd``.
        notes: plain sentences on what went wrong.
    """

    parts: tuple[Mesh, ...]
    volume_error: float
    shape_error: float
    method: str
    notes: tuple[str, ...] = ()


def convex_parts(
    meshes: Sequence[Mesh],
    settings: DecompositionSettings | None = None,
    jobs: int = 1,
    cache_folder: Path | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> list[Parts]:
    """Decompose every mesh; the order of the results is that of the meshes.

    Args:
        meshes: watertight, metres.
        settings: see `DecompositionSettings`.
        jobs: processes to work with.
        cache_folder: where results are kept, or None. Made where it is missing.
        progress: called after every object.
        executor: any `concurrent.futures` executor to run on instead of a pool of `jobs` processes.

    Raises:
        OutputError: the cache folder cannot be written.
    """
    settings = settings or DecompositionSettings()
    results: dict[int, Parts] = {}
    keys = [_key(mesh, settings) for mesh in meshes]
    for index, key in enumerate(keys):
        cached = _load(cache_folder, key)
        if cached is not None:
            results[index] = cached
    missing = [index for index in range(len(meshes)) if index not in results]

    def store(index: int, parts: Parts) -> None:
        results[index] = parts
        _save(cache_folder, keys[index], parts)
        progress(len(results) / len(meshes), f"{len(results)} of {len(meshes)} objects in convex parts")

    # The largest first, so that no worker sits idle beside a last long one.
    missing.sort(key=lambda index: (-len(meshes[index].faces), index))
    _run([(index, meshes[index]) for index in missing], settings, jobs, executor, store)
    return [results[index] for index in range(len(meshes))]


def _run(
    tasks: list[tuple[int, Mesh]],
    settings: DecompositionSettings,
    jobs: int,
    executor: Executor | None,
    store: Callable[[int, Parts], None],
) -> None:
    if executor is None and (jobs <= 1 or len(tasks) < 2):
        for index, mesh in tasks:
            store(index, decompose(mesh, settings))
        return
    context = multiprocessing.get_context("spawn")
    pool = executor or ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context)
    done: set[int] = set()
    try:
        futures = {pool.submit(decompose, mesh, settings): index for index, mesh in tasks}
        for future in as_completed(futures):
            store(futures[future], future.result())
            done.add(futures[future])
    except BrokenProcessPool:
        # A worker was killed (memory, most likely): one after the other needs least of it.
        _run([task for task in tasks if task[0] not in done], settings, 1, None, store)
    finally:
        if executor is None:
            pool.shutdown(wait=True, cancel_futures=True)


# --- one object ------------------------------------------------------------------------------------------------------


def decompose(mesh: Mesh, settings: DecompositionSettings) -> Parts:
    """The convex parts of one mesh; never fails, but says in `notes` what it had to fall back to."""
    solid = solid_of(mesh.vertices, mesh.faces)
    if solid is None:
        return _one_hull(mesh)
    simple = _simplified(solid, settings.max_faces)
    whole = piece_of(simple)
    if whole.hull_volume > 0.0 and whole.volume >= settings.near_convex * whole.hull_volume:
        return _fitted([whole], solid, settings, "hull")
    if whole.volume >= 0.8 * whole.hull_volume:
        # The noise of a scan dents a box or a plate: one polytope through the mean of its surface may still do.
        single = _fitted([whole], solid, settings, "hull")
        if single.shape_error <= settings.single_error and abs(single.volume_error) <= settings.volume_error:
            return single
    results: list[Parts] = []
    notes: list[str] = []
    cutting = CutSettings(
        error_budget=settings.volume_error,
        surface_error_m=settings.surface_error_m,
        max_parts=settings.max_parts,
        max_vertices=settings.max_vertices,
    )
    if settings.method != "coacd":
        results.append(_fitted(cut(simple, cutting), solid, settings, "cuts"))
    if not results or (settings.method == "auto" and not _good(results[0], settings)):
        pieces, note = _coacd_pieces(whole, settings)
        notes += [note] if note else []
        results += [_fitted(pieces, solid, settings, "coacd")] if pieces else []
    if not results:
        results.append(_fitted(cut(simple, cutting), solid, settings, "cuts"))
    best = min(results, key=lambda found: (abs(found.volume_error) > settings.volume_error, found.shape_error))
    return Parts(best.parts, best.volume_error, best.shape_error, best.method, (*notes, *best.notes))


def _good(found: Parts, settings: DecompositionSettings) -> bool:
    return abs(found.volume_error) <= settings.volume_error and found.shape_error < 0.5


def _simplified(solid: Any, max_faces: int) -> Any:
    """The solid with about `max_faces` triangles. Quadrics go through the middle of noise, so walls get smoother."""
    if solid.num_tri() <= max_faces:
        return solid
    import fast_simplification

    stored = solid.to_mesh64()
    vertices, faces = fast_simplification.simplify(
        np.array(stored.vert_properties[:, :3], dtype=np.float32),
        np.array(stored.tri_verts, dtype=np.int32),
        target_count=max_faces,
        agg=3,
    )
    simple = solid_of(vertices.astype(np.float64), faces.astype(np.int64))
    if simple is not None and abs(simple.volume() / solid.volume() - 1.0) < 0.1:
        return simple
    simple = solid
    for tolerance in (1e-4, 2e-4, 4e-4, 7e-4, 1e-3):
        simple = solid.simplify(tolerance)
        if simple.num_tri() <= max_faces:
            break
    return simple


def _coacd_pieces(whole: Piece, settings: DecompositionSettings) -> tuple[list[Piece], str]:
    """CoACD's parts as pieces of the solid, from coarse to fine until they hold the volume budget."""
    import manifold3d

    pieces: list[Piece] = []
    for threshold in (0.1, 0.05, 0.02):
        hulls, note = coacd_hulls(whole.points, whole.faces, threshold, settings.max_parts, settings.coacd_time_limit_s)
        if note:
            return pieces, note
        solids = [manifold3d.Manifold.hull_points(points) ^ whole.solid for points in hulls]
        pieces = [piece_of(solid) for solid in solids if solid.volume() > 1e-12]
        if sum(piece.excess for piece in pieces) <= settings.volume_error * whole.volume:
            break
    return pieces, ""


def _fitted(pieces: Sequence[Piece], solid: Any, settings: DecompositionSettings, method: str) -> Parts:
    """Polytopes for the pieces whose union has the solid's volume (that of the pieces may have been simplified)."""
    import manifold3d

    volume = float(solid.volume())
    # Where a polytope cannot follow, it is rather a little too small: neighbours must not overlap.
    target = (1.0 - 0.3 * settings.volume_error) * volume / sum(piece.volume for piece in pieces)
    best: Parts | None = None
    for _ in range(4):
        hulls = [_hull(fit_polytope(piece, settings.max_vertices, target).vertices) for piece in pieces]
        hulls = [hull for hull in hulls if hull.volume() > 1e-12]
        union = manifold3d.Manifold.batch_boolean(hulls, manifold3d.OpType.Add)
        error = float(union.volume()) / volume - 1.0
        shape = float(union.volume() + volume - 2.0 * (union ^ solid).volume()) / volume
        if best is None or abs(error) < abs(best.volume_error):
            best = Parts(tuple(_mesh(hull) for hull in hulls), error, shape, method)
        if abs(error) <= 0.5 * settings.volume_error:
            break
        target /= 1.0 + error
    assert best is not None
    return best


def _hull(points: FloatArray) -> Any:
    """The convex hull as a solid. Points on a grid of 10 µm: no needle-thin faces, and OBJ text loses nothing."""
    import manifold3d

    return manifold3d.Manifold.hull_points(np.unique(np.round(points, 5), axis=0))


def _mesh(solid: Any) -> Mesh:
    stored = solid.to_mesh64()
    return Mesh(np.array(stored.vert_properties[:, :3], dtype=np.float64), np.array(stored.tri_verts, dtype=np.int64))


def _one_hull(mesh: Mesh) -> Parts:
    """One hull for a mesh that encloses no volume of its own."""
    hull = _hull(mesh.vertices)
    if not hull.volume() > 0.0:
        low, high = mesh.vertices.min(axis=0) - 5e-4, mesh.vertices.max(axis=0) + 5e-4
        hull = _hull(
            np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
        )
    return Parts(
        (_mesh(hull),), float("nan"), float("nan"), "hull", ("The mesh is not watertight: one hull was used.",)
    )


# --- cache -----------------------------------------------------------------------------------------------------------


def _key(mesh: Mesh, settings: DecompositionSettings) -> str:
    digest = hashlib.sha256(repr((_VERSION, sorted(asdict(settings).items()))).encode())
    digest.update(np.ascontiguousarray(mesh.vertices, dtype="<f8").tobytes())
    digest.update(b"faces")
    digest.update(np.ascontiguousarray(mesh.faces, dtype="<i8").tobytes())
    return digest.hexdigest()


def _load(folder: Path | None, key: str) -> Parts | None:
    if folder is None or not (folder / f"{key}.npz").is_file():
        return None
    try:
        with (folder / f"{key}.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            parts = tuple(
                Mesh(np.array(stored[f"v{number}"], dtype=np.float64), np.array(stored[f"f{number}"], dtype=np.int64))
                for number in range(int(stored["count"]))
            )
            notes = tuple(str(note) for note in stored["notes"])
            errors = stored["errors"]
            return Parts(parts, float(errors[0]), float(errors[1]), str(stored["method"]), notes)
    except (OSError, ValueError, KeyError, IndexError, EOFError, BadZipFile):
        return None  # damaged: made again


def _save(folder: Path | None, key: str, parts: Parts) -> None:
    if folder is None:
        return
    arrays: dict[str, Any] = {
        "count": np.array(len(parts.parts)),
        "errors": np.array([parts.volume_error, parts.shape_error]),
        "method": np.array(parts.method),
        "notes": np.array(parts.notes, dtype=np.str_),
    }
    for number, mesh in enumerate(parts.parts):
        arrays |= {f"v{number}": mesh.vertices, f"f{number}": mesh.faces}
    temporary = ""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=folder, suffix=".partial")
        with os.fdopen(handle, "wb") as stream:
            np.savez(stream, **arrays)
        Path(temporary).replace(folder / f"{key}.npz")
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise OutputError(
            f"The cache folder {folder} cannot be written: {error.strerror or error}.",
            remedy="Free some disk space or name another folder.",
            code="cache_not_writable",
        ) from None
