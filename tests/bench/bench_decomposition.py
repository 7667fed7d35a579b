"""Convex parts against serial CoACD on the same objects: seconds, parts, errors.

    python tests/bench/bench_decomposition.py

Fails where the union of an object's parts is off its volume by more than 5 %.
"""

from __future__ import annotations

import sys
import time

import manifold3d

from reconstruction.coacd_process import coacd_hulls
from reconstruction.decomposition import DecompositionSettings, convex_parts
from tests.reconstruction.test_decomposition import SOLIDS, as_mesh


def main() -> int:
    """Print the table."""
    solids = {name: make() for name, make in SOLIDS.items()}
    meshes = [as_mesh(solid) for solid in solids.values()]
    start = time.perf_counter()
    results = convex_parts(meshes, DecompositionSettings(), jobs=2)
    ours_s = time.perf_counter() - start
    print(f"\n{'object':<12} {'parts':>5} {'volume':>8} {'shape':>7} | CoACD {'seconds':>7} {'parts':>5} {'volume':>8}")
    coacd_s = 0.0
    for (name, solid), mesh, parts in zip(solids.items(), meshes, results, strict=True):
        start = time.perf_counter()
        hulls, _ = coacd_hulls(mesh.vertices, mesh.faces, 0.05, 64, 300.0)
        seconds = time.perf_counter() - start
        coacd_s += seconds
        joined = manifold3d.Manifold.batch_boolean(
            [manifold3d.Manifold.hull_points(points) for points in hulls], manifold3d.OpType.Add
        )
        theirs = joined.volume() / solid.volume() - 1.0
        print(
            f"{name:<12} {len(parts.parts):>5} {parts.volume_error:>+8.1%} {parts.shape_error:>7.1%} |"
            f" {seconds:>13.1f} {len(hulls):>5} {theirs:>+8.1%}"
        )
    print(
        f"all {len(meshes)}: {ours_s:.1f} s on 2 processes, CoACD (threshold 0.05) {coacd_s:.1f} s one after the other"
    )
    return int(max(abs(parts.volume_error) for parts in results) > 0.05)


if __name__ == "__main__":
    sys.exit(main())
