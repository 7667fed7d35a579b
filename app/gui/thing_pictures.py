"""Pictures of a scene's things, for a page that has no 3-D view: drawn by a short-lived process."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QProcess, QSize, Signal
from PySide6.QtGui import QImage

from app.gui.helper import Helper

PICTURE = QSize(48, 36)
"""Of a thing, pixels of the window."""
FINER = 2
"""They are drawn so much larger, for screens with small pixels."""
GRACE_MS = 1000


class ThingPictures(QObject):
    """Has the things of a scene drawn (`app.thing_pictures`), each time that the scene is another.

    Attributes:
        came: a thing's name, and what it looks like.
    """

    came = Signal(str, QImage)

    def __init__(self) -> None:
        super().__init__()
        self._helper: Helper | None = None
        self._asked: tuple[str, int, int] | None = None

    @property
    def runs(self) -> bool:
        """Whether there is a process."""
        return self._helper is not None and self._helper.process.state() != QProcess.ProcessState.NotRunning

    def show_scene(self, scene: Path, cache: Path) -> None:
        """Have the things of a scene folder drawn; nothing happens where they were, and the scene is as it was."""
        try:
            state = (scene / "scene.json").stat()
        except OSError:
            self.stop()
            return
        asked = str(scene), state.st_mtime_ns, state.st_size
        if asked == self._asked:
            return
        self.stop()
        self._asked = asked
        size = PICTURE * FINER
        words = str(scene), str(cache), str(size.width()), str(size.height())
        self._helper = Helper("app.thing_pictures", words, self)
        self._helper.said.connect(self._take)

    def stop(self) -> None:
        """End the process at once, where there is one: what is drawn by then is kept, the rest is drawn next time."""
        helper, self._helper = self._helper, None
        if helper is None:
            return
        if helper.process.state() != QProcess.ProcessState.NotRunning:
            self._asked = None
            helper.process.blockSignals(True)
            helper.process.kill()  # it may still be at its imports, and hears of nothing
            helper.process.waitForFinished(GRACE_MS)
        helper.deleteLater()

    def forget(self) -> None:
        """Nobody shows what was drawn any more: draw it again when it is asked for."""
        self.stop()
        self._asked = None

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event") != "picture":  # without pictures there are still the names
            return
        try:
            image = QImage.fromData(base64.b64decode(str(event.get("png"))))
        except binascii.Error:
            return
        image.setDevicePixelRatio(FINER)
        self.came.emit(str(event.get("name")), image)
