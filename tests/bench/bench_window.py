"""How long the window takes to be there, and how fluid its 3-D view is.

    python tests/bench/bench_window.py [--project FOLDER] [--faces 1500000] [--seconds 5]

Without a screen Qt draws into memory and Mesa on the processor: a computer with a GPU is faster. `start` is from the
process's first instruction to the painted window, warm (the third of three starts), beside that of a bare Qt window.

Frames a second are counted while the view is orbited at 1024 × 700: of a project's scene, and of a made-up background
of so many faces, as many as a scan of a kitchen has.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

WINDOW = """
import time, sys; began = time.perf_counter()
from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QApplication
app = QApplication([])
from app.gui import theme
from app.gui.window import MainWindow
theme.apply(app, "dark")
window = MainWindow(QSettings(sys.argv[1], QSettings.Format.IniFormat))
window.show(); app.processEvents(); window.grab()
print(time.perf_counter() - began)
"""
BARE = """
import time; began = time.perf_counter()
from PySide6.QtWidgets import QApplication, QMainWindow
app = QApplication([]); window = QMainWindow(); window.resize(1280, 800)
window.show(); app.processEvents(); window.grab()
print(time.perf_counter() - began)
"""


def started(script: str, folder: Path) -> float:
    """Seconds of the third of three starts."""
    for _ in range(3):
        words = [sys.executable, "-c", script, str(folder / "preferences.ini")]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def frames_a_second(folder: Path, seconds: float) -> tuple[float, float]:
    """While a scene is orbited; and seconds until the first picture of it."""
    from PySide6.QtWidgets import QApplication

    from app.gui.viewport import Viewport

    app = QApplication.instance() or QApplication([])
    view = Viewport()
    view.resize(1024, 700)
    view.show()
    shown = 0

    def count(_still: bool) -> None:
        nonlocal shown
        shown += 1

    view.frame_shown.connect(count)
    began = time.perf_counter()
    view.show_scene(folder)
    while not shown and time.perf_counter() - began < 120.0:
        app.processEvents()
        time.sleep(0.002)
    first = time.perf_counter() - began
    until = time.perf_counter() + 12.0  # a large background is read meanwhile
    while time.perf_counter() < until:
        app.processEvents()
        time.sleep(0.002)
    shown, began = 0, time.perf_counter()
    while (took := time.perf_counter() - began) < seconds:
        now = view.view()
        if now is not None:
            view.set_view(now.orbited(1.0, 0.0))
        app.processEvents()
        time.sleep(0.01)
    view.shut_down()
    view.deleteLater()
    return shown / took, first


def large_scene(folder: Path, faces: int) -> Path:
    """A wavy floor of so many coloured faces, as the background of a scene without things."""
    from reconstruction.mesh import Mesh
    from reconstruction.scene import Scene, Support

    side = int(np.sqrt(faces / 2)) + 1
    x, y = np.meshgrid(np.linspace(-3, 3, side), np.linspace(-3, 3, side))
    z = 0.02 * np.sin(9 * x) * np.cos(7 * y) - 0.7
    vertices = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    a = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    quads = np.stack([a, a + 1, a + side + 1, a, a + side + 1, a + side], axis=1).reshape(-1, 3)
    colors = (127 + 100 * np.sin(vertices * (3, 5, 11))).astype(np.uint8)
    corners = np.array([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]], dtype=np.float64)
    table = Support("table", np.array([0.0, 0.0, 1.0, 0.0]), corners)
    Scene(np.eye(4), (table,), Mesh(vertices, quads, colors=colors)).save(folder)
    return folder


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--project", type=Path)
    parser.add_argument("--faces", type=int, default=1_500_000)
    parser.add_argument("--seconds", type=float, default=5.0)
    s = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        window, bare = started(WINDOW, folder), started(BARE, folder)
        print(f"start: {window:.2f} s; a bare Qt window: {bare:.2f} s ({window / bare:.1f} ×)")
        scenes = [(f"{s.faces} faces", large_scene(folder / "scene", s.faces))]
        if s.project is not None:
            scenes.append((s.project.name, s.project / "scene"))
        for what, place in scenes:
            rate, first = frames_a_second(place, s.seconds)
            print(f"{what}: {rate:.1f} frames/s while orbited, first picture after {first:.1f} s")


if __name__ == "__main__":
    main()
