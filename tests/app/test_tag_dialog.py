"""The dialog that prints the robot's tag."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from app.gui.tag_dialog import TagDialog
from app.tag_page import pdf, tag_page
from reconstruction.tags import modules
from tests.app.windows import cut_off, told_nothing


@pytest.fixture
def dialog(qtbot: QtBot, tmp_path: Path) -> TagDialog:
    made = TagDialog(tmp_path)
    qtbot.addWidget(made)
    made.show()
    qtbot.waitExposed(made)
    return made


def test_what_is_shown_is_what_is_kept(dialog: TagDialog, tmp_path: Path) -> None:
    dialog.number.setValue(7)
    dialog.size_mm.setValue(60.0)
    dialog.paper.setCurrentIndex(1)
    assert not dialog.open_it.isEnabled()
    (tmp_path / "Küche").mkdir()
    dialog.save_as(tmp_path / "Küche" / "my tag.pdf")
    assert (tmp_path / "Küche" / "my tag.pdf").read_bytes() == pdf(tag_page(7, 60.0, "letter"))
    assert "my tag.pdf" in dialog.done_said.text()
    assert dialog.open_it.isEnabled()
    assert not dialog.failed.text()


def test_the_picture_shows_the_tag(dialog: TagDialog) -> None:
    dialog.number.setValue(3)
    picture = dialog.view.grab().toImage()
    share = dialog.view.height() / 297.0 * picture.devicePixelRatio()
    fields = modules("apriltag_36h11", 3)
    field = 80.0 / len(fields)
    left, top = (210.0 - 80.0) / 2, 42.0 + field
    middles = (np.arange(len(fields)) + 0.5) * field

    def is_black(x: float, y: float) -> bool:
        return picture.pixelColor(round((left + x) * share), round((top + y) * share)).lightness() < 128

    assert [[is_black(x, y) for x in middles] for y in middles] == fields.tolist()


def test_what_cannot_be_written_is_said(dialog: TagDialog, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    dialog.save_as(tmp_path / "file" / "tag.pdf")
    assert str(tmp_path / "file") in dialog.failed.text()
    assert not dialog.open_it.isEnabled()
    dialog.save_as(tmp_path / "tag.pdf")
    assert not dialog.failed.text()


def test_nothing_is_cut_off_and_all_is_told(dialog: TagDialog) -> None:
    assert not cut_off(dialog)
    assert not told_nothing(dialog)
