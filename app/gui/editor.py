"""Edits of the open scene, one after another in a thread of their own, with undo and redo."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QMetaObject, QObject, Qt, QThread, Signal, Slot
from PySide6.QtGui import QUndoCommand, QUndoStack

from reconstruction.errors import PocketworldError

if TYPE_CHECKING:
    from app.scene_document import ListedThing, SceneDocument
    from app.scene_draft import Draft, Edit

MakeEdit = Callable[["Draft"], "Edit"]
"""An edit that first has to look into the scene: where a thing comes to stand, for one."""


@dataclass(frozen=True)
class Reached:
    """A state of the scene that is on the disk.

    Attributes:
        objects: what a list shows.
        before: the text of the state before; empty where the scene was opened or put back.
        after: that of this one.
        label: what was done.
        another: it is not of this session: there is no way back to what was before.
    """

    objects: tuple[ListedThing, ...]
    before: str = ""
    after: str = ""
    label: str = ""
    another: bool = False


class _Hand(QObject):
    """Lives in the thread: whatever takes long is done here."""

    reached = Signal(object)
    refused = Signal(str, str, str)
    ended = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._document: SceneDocument | None = None

    def _do(self, work: Callable[[], Reached | None]) -> None:
        try:
            reached = work()
            if reached is not None:
                self.reached.emit(reached)
        except PocketworldError as error:
            self.refused.emit(error.message, error.remedy, error.code)
        except Exception as error:  # noqa: BLE001 - a thread's exception would go nowhere
            from app.console import internal_error

            said = internal_error(error, None)
            self.refused.emit(said.message, said.remedy, said.code)
        self.ended.emit()

    @Slot(object)
    def open(self, folder: Path) -> None:
        """Open a scene folder."""

        def work() -> Reached:
            from app.scene_document import SceneDocument

            self._close()
            self._document = SceneDocument.open(folder)
            return Reached(self._document.objects)

        self._do(work)

    @Slot()
    def check(self) -> None:
        """Open the scene again where another command has changed it."""

        def work() -> Reached | None:
            from app.scene_document import SceneDocument

            document = self._document
            if document is None or (document.folder / "scene.json").read_bytes() == document.text.encode("utf-8"):
                return None
            self._close()
            self._document = SceneDocument.open(document.folder)
            return Reached(self._document.objects, another=True)

        self._do(work)

    @Slot(object)
    def edit(self, make: MakeEdit) -> None:
        """Make an edit."""

        def work() -> Reached | None:
            document = self._document
            if document is None:
                return None
            before, edit = document.text, make(document.draft())
            document.apply(edit)
            if document.text == before:
                return None
            return Reached(document.objects, before, document.text, edit.label)

        self._do(work)

    @Slot(str)
    def put(self, text: str) -> None:
        """Go back, or forth again."""

        def work() -> Reached | None:
            if self._document is None:
                return None
            self._document.put(text)
            return Reached(self._document.objects)

        self._do(work)

    @Slot()
    def close(self) -> None:
        """Let others edit."""
        self._do(lambda: self._close())

    def _close(self) -> None:
        if self._document is not None:
            document, self._document = self._document, None
            document.close()


class Editor(QObject):
    """The scene that is open for edits.

    Attributes:
        changed: the scene is another; what a list shows of it now.
        refused: why an edit was not made, what to do, and the error's code.
        busy: whether an edit is being made.
    """

    changed = Signal(object)
    refused = Signal(str, str, str)
    busy = Signal(bool)
    _open = Signal(object)
    _edit = Signal(object)
    _put = Signal(str)
    _check = Signal()
    _shut = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.undo = QUndoStack(self)
        self._waiting = 0
        self._folder: Path | None = None
        self._thread = QThread(self)
        self._hand = _Hand()
        self._hand.moveToThread(self._thread)
        self._open.connect(self._hand.open)
        self._edit.connect(self._hand.edit)
        self._put.connect(self._hand.put)
        self._check.connect(self._hand.check)
        self._shut.connect(self._hand.close)
        self._hand.reached.connect(self._reached)
        self._hand.refused.connect(self.refused)
        self._hand.ended.connect(self._end)
        self._thread.start()

    @property
    def folder(self) -> Path | None:
        """Of the open scene."""
        return self._folder

    @property
    def at_work(self) -> bool:
        """Whether an edit is being made."""
        return self._waiting > 0

    def open(self, folder: Path) -> None:
        """Open a scene; what could be undone in the one before is settled."""
        self._folder = folder
        self.undo.clear()
        self._begin()
        self._open.emit(folder)

    def close_scene(self) -> None:
        """Let others have it."""
        if self._folder is not None:
            self._folder = None
            self.undo.clear()
            self._begin()
            self._shut.emit()

    def check(self) -> None:
        """Another command may have changed the scene: if so, `changed` follows, and nothing before it can be undone."""
        if self._folder is not None:
            self._begin()
            self._check.emit()

    def apply(self, make: MakeEdit) -> None:
        """Make an edit; `changed` or `refused` follows."""
        if self._folder is not None:
            self._begin()
            self._edit.emit(make)

    def put(self, text: str) -> None:
        """Have an earlier or later state."""
        self._begin()
        self._put.emit(text)

    def stop(self) -> None:
        """Close the scene and end the thread; waits for the edit at work."""
        if self._thread.isRunning():
            QMetaObject.invokeMethod(self._hand, "close", Qt.ConnectionType.BlockingQueuedConnection)
        self._thread.quit()
        self._thread.wait()

    def _begin(self) -> None:
        self._waiting += 1
        self.busy.emit(True)

    @Slot()
    def _end(self) -> None:
        self._waiting -= 1
        if not self._waiting:
            self.busy.emit(False)

    @Slot(object)
    def _reached(self, reached: Reached) -> None:
        if reached.another:
            self.undo.clear()
        if reached.label:
            self.undo.push(_Step(self, reached))
        self.changed.emit(reached.objects)


class _Step(QUndoCommand):
    """An edit that was made: its two states."""

    def __init__(self, editor: Editor, reached: Reached) -> None:
        super().__init__(reached.label)
        self._editor, self._reached, self._fresh = editor, reached, True

    def redo(self) -> None:
        """Qt calls this when the command is pushed, too: then all is done already."""
        if self._fresh:
            self._fresh = False
        else:
            self._editor.put(self._reached.after)

    def undo(self) -> None:
        """Have the state before."""
        self._editor.put(self._reached.before)
