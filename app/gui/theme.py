"""How the window looks, dark and light: one style sheet, filled in from two palettes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QAbstractSpinBox, QApplication, QWidget


@dataclass(frozen=True)
class Colors:
    """A theme's colours, as ``#rrggbb``."""

    window: str
    panel: str
    raised: str
    border: str
    text: str
    faint: str
    accent: str
    on_accent: str
    good: str
    warn: str
    bad: str
    bad_panel: str
    warn_panel: str
    view_top: str
    view_bottom: str


THEMES: dict[str, Colors] = {
    "dark": Colors(
        window="#16181d",
        panel="#1d2027",
        raised="#272b34",
        border="#363b47",
        text="#e8eaef",
        faint="#9aa3b2",
        accent="#4c8dff",
        on_accent="#ffffff",
        good="#3ecf8e",
        warn="#f2b04c",
        bad="#ff6b6b",
        bad_panel="#3a2226",
        warn_panel="#37301f",
        view_top="#2b303b",
        view_bottom="#15171c",
    ),
    "light": Colors(
        window="#f3f4f7",
        panel="#ffffff",
        raised="#eceef3",
        border="#cdd2dc",
        text="#1b1f27",
        faint="#5d6675",
        accent="#1f66e5",
        on_accent="#ffffff",
        good="#138a56",
        warn="#9a6200",
        bad="#c62f37",
        bad_panel="#fdeaea",
        warn_panel="#fdf3dd",
        view_top="#f7f9fc",
        view_bottom="#c9d2df",
    ),
}

ICONS = Path(__file__).resolve().parent.parent.parent / "resources" / "icons"
SHEET = """
QWidget {{ color: {text}; font-size: 13px; }}
QMainWindow, QDialog, QWidget#surface {{ background: {window}; }}
QWidget#panel, QScrollArea#panel, QFrame#panel {{ background: {panel}; }}
QScrollArea {{ border: none; background: transparent; }}
QScrollArea > QWidget > QWidget {{ background: transparent; }}
QFrame#card {{ background: {panel}; border: 1px solid {border}; border-radius: 10px; }}
QFrame#card[selected="true"] {{ border: 2px solid {accent}; }}
QFrame#failed {{ background: {bad_panel}; border: 1px solid {bad}; border-radius: 8px; }}
QFrame#stale, QFrame#warnings {{ background: {warn_panel}; border: 1px solid {warn}; border-radius: 8px; }}
QFrame#line {{ background: {border}; max-height: 1px; min-height: 1px; border: none; }}
QLabel {{ background: transparent; }}
QLabel#title {{ font-size: 22px; font-weight: 600; }}
QLabel#heading {{ font-size: 15px; font-weight: 600; }}
QLabel#group {{ font-weight: 600; color: {faint}; padding-top: 8px; }}
QLabel#faint {{ color: {faint}; }}
QLabel#small {{ color: {faint}; font-size: 11px; }}
QLabel#figure {{ font-size: 28px; font-weight: 600; }}
QPushButton {{ background: {raised}; border: 1px solid {border}; border-radius: 7px; padding: 7px 14px; }}
QPushButton:hover {{ border-color: {accent}; }}
QPushButton:focus, QToolButton:focus {{ border: 1px solid {accent}; }}
QPushButton:disabled {{ color: {faint}; background: {panel}; }}
QPushButton#primary {{ background: {accent}; color: {on_accent}; border-color: {accent}; font-weight: 600; }}
QPushButton#primary:disabled {{ background: {raised}; color: {faint}; border-color: {border}; }}
QPushButton#big {{
  background: {accent}; color: {on_accent}; border-color: {accent}; padding: 12px 18px;
  font-size: 16px; font-weight: 600;
}}
QPushButton#big:disabled {{ background: {raised}; color: {faint}; border-color: {border}; }}
QPushButton#stop {{
  background: {bad}; color: #ffffff; border-color: {bad}; font-size: 20px; font-weight: 700; padding: 16px 24px;
}}
QPushButton#stop:disabled {{ background: {raised}; color: {faint}; border-color: {border}; }}
QPushButton#step {{
  text-align: left; padding: 0 12px; border: 1px solid transparent; border-radius: 8px; background: transparent;
}}
QPushButton#step:hover {{ background: {raised}; }}
QPushButton#step:checked {{ background: {raised}; }}
QPushButton#step QLabel#step {{ font-size: 14px; }}
QPushButton#step:checked QLabel#step {{ font-weight: 600; }}
QPushButton#step:focus {{ border: 1px solid {accent}; }}
QToolButton {{ background: transparent; border: 1px solid transparent; border-radius: 6px; padding: 5px 8px; }}
QToolButton:hover {{ background: {raised}; }}
QToolButton:checked {{ background: {raised}; border-color: {border}; }}
QToolButton:disabled {{ color: {faint}; }}
QLineEdit, QSpinBox, QDoubleSpinBox, QComboBox, QPlainTextEdit, QTextEdit {{
  background: {window}; border: 1px solid {border}; border-radius: 6px; padding: 5px 7px; min-height: 18px;
  selection-background-color: {accent}; selection-color: {on_accent};
}}
QLineEdit:focus, QSpinBox:focus, QDoubleSpinBox:focus, QComboBox:focus, QPlainTextEdit:focus {{
  border-color: {accent};
}}
QComboBox::drop-down {{ border: none; width: 24px; }}
QComboBox::down-arrow {{ image: url("{icons}/down_{name}.svg"); width: 12px; height: 12px; }}
QSpinBox::up-button, QSpinBox::down-button, QDoubleSpinBox::up-button, QDoubleSpinBox::down-button {{
  width: 0; height: 0; border: none;
}}
QLineEdit:disabled, QSpinBox:disabled, QDoubleSpinBox:disabled, QComboBox:disabled {{ color: {faint}; }}
QComboBox QAbstractItemView {{ background: {panel}; border: 1px solid {border}; selection-background-color: {accent}; }}
QCheckBox {{ spacing: 8px; background: transparent; }}
QCheckBox::indicator {{
  width: 14px; height: 14px; border: 1px solid {border}; border-radius: 4px; background: {window};
}}
QCheckBox::indicator:checked {{ background: {accent}; border-color: {accent}; image: url("{icons}/check.svg"); }}
QCheckBox::indicator:focus, QCheckBox::indicator:hover {{ border-color: {accent}; }}
QCheckBox::indicator:disabled {{ background: {raised}; }}
QListView, QTableView, QTreeView {{
  background: {panel}; alternate-background-color: {raised}; border: 1px solid {border}; border-radius: 8px;
  selection-background-color: {accent}; selection-color: {on_accent}; outline: none;
}}
QHeaderView::section {{ background: {raised}; border: none; padding: 6px; }}
QProgressBar {{ background: {raised}; border: none; border-radius: 4px; max-height: 8px; min-height: 8px; }}
QProgressBar::chunk {{ background: {accent}; border-radius: 4px; }}
QSlider {{ min-height: 22px; }}
QSlider::groove:horizontal {{ height: 4px; background: {border}; border-radius: 2px; }}
QSlider::sub-page:horizontal {{ background: {accent}; border-radius: 2px; }}
QSlider::handle:horizontal {{ width: 16px; margin: -6px 0; border-radius: 8px; background: {accent}; }}
QSlider::sub-page:horizontal:disabled, QSlider::handle:horizontal:disabled {{ background: {border}; }}
QTabWidget::pane {{ border: 1px solid {border}; border-radius: 8px; background: {panel}; }}
QTabBar::tab {{ background: transparent; padding: 7px 14px; border-bottom: 2px solid transparent; color: {faint}; }}
QTabBar::tab:selected {{ color: {text}; border-bottom-color: {accent}; }}
QMenuBar, QMenu {{ background: {panel}; }}
QMenuBar::item:selected, QMenu::item:selected {{ background: {accent}; color: {on_accent}; }}
QToolTip {{ background: {raised}; color: {text}; border: 1px solid {border}; padding: 6px; }}
QSplitter::handle {{ background: {border}; }}
QScrollBar:vertical {{ background: transparent; width: 11px; margin: 0; }}
QScrollBar::handle:vertical {{ background: {border}; border-radius: 5px; min-height: 28px; }}
QScrollBar:horizontal {{ background: transparent; height: 11px; margin: 0; }}
QScrollBar::handle:horizontal {{ background: {border}; border-radius: 5px; min-width: 28px; }}
QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
"""


def pad_numbers(parent: QWidget) -> None:
    """Keep numbers clear of their frame: style sheets move the text of a spin box in no way (Qt 6.11)."""
    for box in parent.findChildren(QAbstractSpinBox):
        box.lineEdit().setTextMargins(6, 0, 0, 0)


def system_theme() -> str:
    """What the desktop has chosen."""
    window = QGuiApplication.palette().color(QPalette.ColorRole.Window)
    return "dark" if window.lightness() < 128 else "light"


def current() -> Colors:
    """The colours that `apply` has set."""
    return THEMES[str(QApplication.instance().property("pocketworld_theme") or "dark")]  # type: ignore[union-attr]


def apply(app: QApplication, name: str) -> None:
    """Dress the whole application."""
    colors = THEMES[name]
    app.setProperty("pocketworld_theme", name)
    app.setStyle("Fusion")
    palette = QPalette()
    for role, color in (
        (QPalette.ColorRole.Window, colors.window),
        (QPalette.ColorRole.Base, colors.panel),
        (QPalette.ColorRole.AlternateBase, colors.raised),
        (QPalette.ColorRole.Text, colors.text),
        (QPalette.ColorRole.WindowText, colors.text),
        (QPalette.ColorRole.ButtonText, colors.text),
        (QPalette.ColorRole.Button, colors.raised),
        (QPalette.ColorRole.Highlight, colors.accent),
        (QPalette.ColorRole.HighlightedText, colors.on_accent),
        (QPalette.ColorRole.PlaceholderText, colors.faint),
        (QPalette.ColorRole.Link, colors.accent),
    ):
        palette.setColor(role, QColor(color))
    app.setPalette(palette)
    app.setStyleSheet(SHEET.format(**asdict(colors), icons=ICONS.as_posix(), name=name))
