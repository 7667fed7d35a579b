"""CoACD in a process of its own: it may abort on a C++ assertion, prints on stdout, and knows no time limit.

Wei et al., "Approximate Convex Decomposition for 3D Meshes with Collision-Aware Concavity and Tree Search", 2022.
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import numpy.typing as npt

from reconstruction.temporary import TemporaryFolder

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def coacd_hulls(
    vertices: FloatArray, faces: IntArray, threshold: float, max_parts: int, time_limit_s: float
) -> tuple[list[FloatArray], str]:
    """Decompose a closed mesh.

    Args:
        vertices: ``(V, 3)`` metres.
        faces: ``(F, 3)``.
        threshold: CoACD's concavity (a share of the object's size); smaller makes more parts.
        max_parts: CoACD merges until there are no more.
        time_limit_s: the process is killed after so many seconds.

    Returns:
        The vertices ``(V_i, 3)`` of each hull, and why there are none (``""`` where it went well).
    """
    with TemporaryFolder("coacd") as folder:
        source, target = folder / "mesh.npz", folder / "hulls.npz"
        np.savez(source, vertices=vertices, faces=faces)
        command = [sys.executable, "-m", "reconstruction.coacd_process", str(source), str(target)]
        try:
            finished = subprocess.run(
                [*command, repr(threshold), str(max_parts)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=time_limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return [], f"CoACD did not finish within {time_limit_s:g} s"
        if finished.returncode != 0 or not target.exists():
            return [], f"CoACD ended with status {finished.returncode}"
        with np.load(target, allow_pickle=False) as stored:
            return [np.array(stored[name], dtype=np.float64) for name in sorted(stored.files)], ""


def _main(source: str, target: str, threshold: str, max_parts: str) -> None:
    import coacd

    coacd.set_log_level("error")
    with np.load(source, allow_pickle=False) as stored:
        mesh = coacd.Mesh(stored["vertices"], stored["faces"].astype(np.int32))
    # The input is manifold already; preprocessing would voxelise it and make every hull some 5 mm fat.
    hulls = coacd.run_coacd(mesh, float(threshold), int(max_parts), preprocess_mode="off", merge=True, seed=0)
    np.savez(target, **{f"hull_{number:04d}": vertices for number, (vertices, _) in enumerate(hulls)})


if __name__ == "__main__":
    _main(*sys.argv[1:])
