"""What a person may choose once for all projects."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtWidgets import (
    QApplication,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from app.gui import theme
from app.gui.desk import Desk


class Preferences(QDialog):
    """Theme, and where new projects go. They take effect at once."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.desk = desk
        self.setWindowTitle(self.tr("Settings"))
        self.setMinimumWidth(520)
        self.theme = QComboBox(self)
        for text, name in (
            (self.tr("As the desktop"), "system"),
            (self.tr("Dark"), "dark"),
            (self.tr("Light"), "light"),
        ):
            self.theme.addItem(text, name)
        self.theme.setCurrentIndex(self.theme.findData(str(desk.preferences.value("theme", "system"))))
        self.theme.setToolTip(self.tr("How the window looks."))
        self.theme.currentIndexChanged.connect(self._dress)
        self.home = QLineEdit(str(desk.home), self)
        self.home.setToolTip(self.tr("The folder that new projects are put into."))
        self.home.editingFinished.connect(self._settle)
        browse = QPushButton("…", self)
        browse.setAccessibleName(self.tr("Choose a folder"))
        browse.clicked.connect(self._browse)
        where = QHBoxLayout()
        where.addWidget(self.home, 1)
        where.addWidget(browse)
        form = QFormLayout()
        form.addRow(self.tr("Theme"), self.theme)
        form.addRow(self.tr("New projects"), where)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close, self)
        buttons.rejected.connect(self.accept)
        column = QVBoxLayout(self)
        column.setContentsMargins(24, 20, 24, 18)
        column.setSpacing(16)
        column.addLayout(form)
        column.addWidget(buttons)

    def _dress(self) -> None:
        name = str(self.theme.currentData())
        self.desk.preferences.setValue("theme", name)
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        theme.apply(app, theme.system_theme() if name == "system" else name)
        self.desk.refreshed.emit()

    def _settle(self) -> None:
        text = self.home.text().strip()
        if text:
            self.desk.preferences.setValue("home", str(Path(text).expanduser().absolute()))

    def _browse(self) -> None:
        name = QFileDialog.getExistingDirectory(self, self.tr("Put new projects into"), self.home.text())
        if name:
            self.home.setText(name)
            self._settle()
