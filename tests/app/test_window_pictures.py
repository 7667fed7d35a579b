"""Pictures of every page in both themes, and that nothing in them is cut off, empty, or the other theme's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.gui import theme
from app.gui.walk import STEPS
from app.gui.window import MainWindow
from tests.app.scans import fake_scan
from tests.app.skill_projects import made_policy, made_reality
from tests.app.windows import cut_off, told_nothing
from tests.conftest import Run

Shell = Callable[..., Run]


@pytest.mark.parametrize("name", ["dark", "light"])
def test_every_page(
    qtbot: QtBot, qapp: QApplication, window: MainWindow, fake_steps: None, shell: Shell, tmp_path: Path, name: str
) -> None:
    scan = fake_scan(tmp_path / "desk", objects=4, missing=["no colour"])
    made = shell("reconstruct", scan, "--out", tmp_path / "Küche 1", "--json").result["projects"][0]
    project = Path(made["project"])
    made_reality(made_policy(project))
    theme.apply(qapp, name)
    window.resize(1280, 800)
    assert window.desk.open_project(project)
    folder = Path(os.environ.get("POCKETWORLD_PICTURES", tmp_path))
    seen = set()
    for step in ("start", *STEPS):
        page = window.page(step)
        qtbot.wait(1500 if step == "scene" else 300)
        picture = window.grab()
        assert picture.save(str(folder / f"{step}_{name}.png"))
        image = picture.toImage()
        shades = [image.pixelColor(x, y).lightness() for x in range(200, 1270, 30) for y in range(30, 790, 30)]
        assert len(set(shades)) > 3, step
        middle = float(np.median(shades))
        assert (middle > 200) if name == "light" else (middle < 80), (step, middle)
        assert cut_off(page) == [], step
        assert told_nothing(page) == [], step
        seen.add(bytes(image.constBits()))
    assert len(seen) == 1 + len(STEPS)
    assert window.size().width() == 1280
    assert window.size().height() == 800
