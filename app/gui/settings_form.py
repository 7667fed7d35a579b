"""A form of a settings dataclass: one control a field, with the field's docstring as its help.

The dataclass is the one source of the command line's flags and of this form, so what a form holds is handed on as the
command line's own words. Only what differs from the defaults becomes a word: a command in the log stays readable.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from PySide6.QtCore import QCoreApplication, QEvent, QObject, Qt, Signal
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.gui import theme

LARGEST = 2_000_000_000


@dataclass(frozen=True)
class Field:
    """One setting, as the form and the command line see it.

    Attributes:
        path: names from the outermost dataclass to it.
        kind: its type, resolved.
        default: `dataclasses.MISSING` where one must be given.
        help: its docstring, in one line.
    """

    path: tuple[str, ...]
    kind: Any
    default: Any
    help: str

    @property
    def flag(self) -> str:
        """Its name on the command line."""
        return "--" + ".".join(name.replace("_", "-") for name in self.path)

    @property
    def label(self) -> str:
        """Its name for people, with the unit that the field's name ends in."""
        name = self.path[-1]
        for ending, unit in UNITS.items():
            if name.endswith(ending) and name != ending[1:]:
                return f"{_sentence(name.removesuffix(ending))} ({unit})"
        return _sentence(name)


UNITS = {
    "_m": "m", "_mm": "mm", "_px": "px", "_deg": "°", "_s": "s", "_hz": "Hz", "_ms": "ms", "_kg": "kg", "_n": "N",
    "_g": "g", "_cm": "cm",
}  # fmt: skip


def _sentence(name: str) -> str:
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


@functools.cache
def documentation(kind: type) -> dict[str, str]:
    """The docstring of each field of a dataclass, as tyro reads it: after the field, or in the class's "Attributes"."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        found.update(_attributes(inspect.getdoc(base) or ""))
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        assert isinstance(body, ast.ClassDef)
        for statement, following in zip(body.body, body.body[1:], strict=False):
            if (
                isinstance(statement, ast.AnnAssign)
                and isinstance(statement.target, ast.Name)
                and isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
            ):
                found[statement.target.id] = " ".join(str(following.value.value).split())
    return found


def _attributes(text: str) -> dict[str, str]:
    """The section "Attributes:" of a class's docstring."""
    found: dict[str, str] = {}
    name = ""
    for line in text.partition("Attributes:")[2].splitlines():
        if match := re.match(r" {4}(\w+): (.*)", line):
            name = match[1]
            found[name] = match[2]
        elif name and line.startswith(" " * 8):
            found[name] += f" {line.strip()}"
        elif line.strip():
            name = ""
    return found


def fields_of(kind: type, above: tuple[str, ...] = ()) -> list[Field]:
    """All settings of a dataclass, those of dataclasses inside it too, in order."""
    hints, help_of, found = typing.get_type_hints(kind), documentation(kind), []
    for field in dataclasses.fields(kind):
        path, inner = (*above, field.name), hints[field.name]
        if dataclasses.is_dataclass(inner):
            found += fields_of(typing.cast(type, inner), path)
            continue
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(Field(path, inner, default, help_of.get(field.name, "")))
    return found


class Control(QObject):
    """One field's widget, with its value as Python knows it.

    Attributes:
        widget: what stands in the form.
        read: its value; raises ValueError with a sentence where that is none.
        write: show a value.
    """

    changed = Signal()

    def __init__(self, widget: QWidget, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        super().__init__(widget)
        self.widget, self.read, self.write = widget, read, write


def control_of(field: Field, parent: QWidget) -> Control:
    """The control that suits a field's type."""
    kind, optional = _without_none(field.kind)
    origin = typing.get_origin(kind)
    if kind is bool:
        return _check(parent)
    if origin is Literal:
        return _choice(typing.get_args(kind), parent)
    if kind is int and not optional:
        return _whole(parent)
    if kind is float and not optional:
        return _number(parent)
    if kind is Path:
        return _path(parent, optional)
    return _text(kind, optional, parent)


def _without_none(kind: Any) -> tuple[Any, bool]:
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        rest = [item for item in typing.get_args(kind) if item is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return kind, False


def _check(parent: QWidget) -> Control:
    box = QCheckBox(parent)
    control = Control(box, box.isChecked, lambda value: box.setChecked(bool(value)))
    box.toggled.connect(control.changed)
    return control


def _choice(values: Sequence[Any], parent: QWidget) -> Control:
    box = QComboBox(parent)
    box.addItems([str(value) for value in values])
    control = Control(box, lambda: values[box.currentIndex()], lambda value: box.setCurrentText(str(value)))
    box.currentIndexChanged.connect(control.changed)
    box.installEventFilter(NoWheel(box))
    return control


def _open_choice(values: Sequence[str], optional: bool, parent: QWidget) -> Control:
    """Text, of which some are at hand; left empty, it is none where there may be none."""
    box = QComboBox(parent)
    box.setEditable(True)
    box.addItems(list(values))

    def read() -> str | None:
        return box.currentText().strip() or (None if optional else "")

    control = Control(box, read, lambda value: box.setCurrentText("" if value is None else str(value)))
    box.currentTextChanged.connect(control.changed)
    box.installEventFilter(NoWheel(box))
    return control


def _whole(parent: QWidget) -> Control:
    box = QSpinBox(parent)
    box.setRange(-LARGEST, LARGEST)
    control = Control(box, box.value, lambda value: box.setValue(int(value)))
    box.valueChanged.connect(control.changed)
    box.installEventFilter(NoWheel(box))
    return control


class _Decimal(QDoubleSpinBox):
    """A number with as many digits as it was given, no trailing noughts."""

    def textFromValue(self, value: float) -> str:  # noqa: N802 - Qt's name
        return self.locale().toString(value, "g", 10)


def _number(parent: QWidget) -> Control:
    box = _Decimal(parent)
    box.setDecimals(9)
    box.setRange(-1e9, 1e9)

    def write(value: float) -> None:
        box.setSingleStep(10.0 ** math.floor(math.log10(abs(value))) if value else 0.1)
        box.setValue(float(value))

    control = Control(box, box.value, write)
    box.valueChanged.connect(control.changed)
    box.installEventFilter(NoWheel(box))
    return control


def _path(parent: QWidget, optional: bool) -> Control:
    row = QWidget(parent)
    line = QLineEdit(row)
    button = QToolButton(row)
    button.setText("…")
    button.setAccessibleName(QCoreApplication.translate("SettingsForm", "Choose a file or folder"))
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(line, 1)
    layout.addWidget(button)

    def choose() -> None:
        name, _ = QFileDialog.getOpenFileName(row, QCoreApplication.translate("SettingsForm", "Choose a file"))
        if name:
            line.setText(name)

    button.clicked.connect(choose)
    row.setFocusProxy(line)

    def read() -> Path | None:
        text = line.text().strip()
        if not text and not optional:
            raise ValueError(QCoreApplication.translate("SettingsForm", "A path is missing."))
        return Path(text) if text else None

    control = Control(row, read, lambda value: line.setText("" if value is None else str(value)))
    line.textChanged.connect(control.changed)
    return control


def _text(kind: Any, optional: bool, parent: QWidget) -> Control:
    """Text, numbers that may be left out, and rows of either, with blanks between them."""
    line = QLineEdit(parent)
    row, item = _row_of(kind)

    def read() -> Any:
        words = line.text().split() if row else [line.text().strip()]
        if not row and not words[0]:
            return None if optional else item("")
        if optional and not words:
            return None
        try:
            values = tuple(item(word) for word in words)
        except ValueError:
            raise ValueError(
                QCoreApplication.translate("SettingsForm", "{0!r} is no number.").format(line.text())
            ) from None
        return values if row else values[0]

    def write(value: Any) -> None:
        shown = "" if value is None else " ".join(map(_plain, value)) if row else _plain(value)
        line.setText(shown)
        line.setCursorPosition(0)

    control = Control(line, read, write)
    line.textChanged.connect(control.changed)
    return control


def _row_of(kind: Any) -> tuple[bool, Callable[[str], Any]]:
    if typing.get_origin(kind) is tuple:
        inner, _ = _without_none(typing.get_args(kind)[0])
        return True, inner if inner in (int, float, Path) else str
    return False, kind if kind in (int, float) else str


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


class NoWheel(QObject):
    """Keeps the mouse wheel from changing a number that it only passes over while the page is scrolled."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Leave it to what is scrolled."""
        if event.type() == QEvent.Type.Wheel and isinstance(watched, QWidget) and not watched.hasFocus():
            event.ignore()
            return True
        return super().eventFilter(watched, event)


class SettingsForm(QWidget):
    """The settings of one step: some of them at hand, all others folded away.

    Attributes:
        changed: something was changed by whoever sits there, or by `set_values`.
    """

    changed = Signal()

    def __init__(
        self,
        kind: type,
        shown: Sequence[str],
        hidden: Sequence[str] = (),
        parent: QWidget | None = None,
        *,
        choices: Mapping[str, Sequence[str]] | None = None,
        labels: Mapping[str, str] | None = None,
        outside: Mapping[str, Control] | None = None,
    ) -> None:
        """A form of `kind`.

        Args:
            kind: a settings dataclass.
            shown: fields at hand, in this order, as dotted names.
            hidden: fields that the page sets itself; a name stands for all below it.
            parent: the page.
            choices: of text fields, what is usual in them; anything else may be typed.
            labels: of fields whose own name says too little to who has not read the code.
            outside: of fields that are not `shown`, controls that stand elsewhere on the page.
        """
        super().__init__(parent)
        self._choices, self._labels, self._outside = choices or {}, labels or {}, outside or {}
        fields = {".".join(field.path): field for field in fields_of(kind)}
        kept = {
            name: field
            for name, field in fields.items()
            if not any(name == off or name.startswith(off + ".") for off in hidden)
        }
        self._fields, self._controls = kept, dict[str, Control]()
        self._advanced_names = [name for name in kept if name not in shown]
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._at_hand = _form()
        layout.addLayout(self._at_hand)
        for name in shown:
            self._add(self._at_hand, name)
        self._fold = QToolButton(self)
        self._fold.setText(self.tr("Advanced settings"))
        self._fold.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._fold.setArrowType(Qt.ArrowType.RightArrow)
        self._fold.setToolTip(self.tr("Everything else that this step can be told. The defaults suit most scans."))
        self._fold.setCheckable(True)
        self._fold.setAutoRaise(True)
        self._fold.setVisible(bool(self._advanced_names))
        self._fold.toggled.connect(self._unfold)
        layout.addWidget(self._fold)
        self._advanced = QWidget(self)
        self._advanced.setVisible(False)
        layout.addWidget(self._advanced)

    def _unfold(self, opened: bool) -> None:
        if opened and self._advanced.layout() is None:  # hundreds of controls are not made before they are wanted
            form, group = _form(self._advanced), ""
            form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapAllRows)  # long names would not fit beside their fields
            for name in self._advanced_names:
                if name in self._outside:
                    self._hold(name, self._outside[name])
                    continue
                above = name.rpartition(".")[0]
                if above != group:
                    group = above
                    title = QLabel(_sentence(above.replace(".", " · ")), self._advanced)
                    title.setObjectName("group")
                    title.setWordWrap(True)  # the longest is wider than a page's side, and would widen all of it
                    form.addRow(title)
                self._add(form, name)
        theme.pad_numbers(self._advanced)
        self._fold.setArrowType(Qt.ArrowType.DownArrow if opened else Qt.ArrowType.RightArrow)
        self._advanced.setVisible(opened)

    def _add(self, form: QFormLayout, name: str) -> None:
        field = self._fields[name]
        choices = self._choices.get(name)
        optional = _without_none(field.kind)[1]
        control = control_of(field, self) if choices is None else _open_choice(choices, optional, self)
        text = QCoreApplication.translate("settings", field.help)
        group = "" if form is not self._at_hand or len(field.path) < 2 else f"{_sentence(field.path[-2])} · "
        said = self._labels.get(name) or group + QCoreApplication.translate("settings", field.label)
        label = QLabel(said, self)
        label.setBuddy(control.widget)
        for widget in (label, control.widget):
            widget.setToolTip(f"<p>{text}</p>")
            widget.setWhatsThis(text)
        control.widget.setAccessibleName(label.text())
        control.widget.setAccessibleDescription(text)
        form.addRow(label, control.widget)
        self._hold(name, control)

    def _hold(self, name: str, control: Control) -> None:
        """Read it with the others from now on, in their order."""
        default = self._fields[name].default
        if default is not dataclasses.MISSING:
            control.write(default)
        control.changed.connect(self.changed)
        self._controls[name] = control

    def open_all(self) -> None:
        """Unfold what is folded away."""
        self._fold.setChecked(True)

    def fold(self) -> None:
        """Fold it away again; what was changed stays so."""
        self._fold.setChecked(False)

    def set_shown(self, name: str, shown: bool) -> None:
        """Show or hide the row of a field that is at hand."""
        self._at_hand.setRowVisible(self.control(name).widget, shown)

    def control(self, name: str) -> Control:
        """The control of a field, which is made if it is still folded away."""
        if name not in self._controls:
            self.open_all()
        return self._controls[name]

    def set_values(self, values: dict[str, Any]) -> None:
        """Show values of fields, by dotted name; names that the form has not are passed over."""
        for name, value in values.items():
            if name in self._fields:
                self.control(name).write(value)

    def values(self) -> dict[str, Any]:
        """What is other than its default, by dotted name.

        Raises:
            ValueError: something in it is none; the sentence says what.
        """
        found: dict[str, Any] = {}
        for name, control in self._controls.items():
            field = self._fields[name]
            try:
                value = control.read()
            except ValueError as error:
                raise ValueError(f"{field.label}: {error}") from None
            if not _same(value, field.default):
                found[name] = value
        return found

    def words(self) -> list[str]:
        """What is other than its default, as the command line takes it.

        Raises:
            ValueError: see `values`.
        """
        return [word for name, value in self.values().items() for word in words_of(self._fields[name], value)]


def words_of(field: Field, value: Any) -> list[str]:
    """A value as the command line's words."""
    if isinstance(value, bool):
        head, name = ".".join(field.path[:-1]), field.path[-1].replace("_", "-")
        off = f"--{head.replace('_', '-')}.no-{name}" if head else f"--no-{name}"
        return [field.flag if value else off]
    if isinstance(value, tuple):
        return [field.flag, *map(_exact, value)]
    return [field.flag, _exact(value)]


def _exact(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, float) and isinstance(default, int | float):
        return math.isclose(value, default, rel_tol=1e-9, abs_tol=1e-9)
    return bool(value == default)


def _form(parent: QWidget | None = None) -> QFormLayout:
    form = QFormLayout() if parent is None else QFormLayout(parent)
    form.setContentsMargins(0, 0, 0, 0)
    form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
    form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
    form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
    return form
