"""The tabs of the reality check (success in its stand-in for reality, and the gap) and of the last run's films."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSpinBox, QVBoxLayout, QWidget

from app.gui.bundle_contents import STEP, Contents, Panel, counted, percent, policy_folder, told
from app.gui.curves import Bar, Bars, Group, ShareBar, wilson
from app.gui.desk import Desk
from app.gui.film_player import FilmPlayer
from app.gui.job import Job, Task
from app.gui.page import Notice, label
from app.gui.walk import SELDOM
from app.policy_folder import REALITY_FILMS, films_of, reality_file
from app.project import read_json
from policies.features import IMAGES
from policies.files import BEST


class RealityPanel(Panel):
    """How often a bundle succeeds where nothing is quite as in its simulation."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self.tries, self.each = QSpinBox(self), QSpinBox(self)
        self.tries.setRange(1, 10_000)
        self.tries.setValue(24)
        self.each.setRange(0, 10_000)
        row = QHBoxLayout()
        for name, box, tip in (
            (self.tr("Tries"), self.tries, self.tr("Tries with everything otherwise at once. Earlier ones count.")),
            (
                self.tr("one thing at a time"),
                self.each,
                self.tr("So many tries with one factor at a time, to find what costs most; 0: none of these."),
            ),
        ):
            said = QLabel(name, self)
            said.setBuddy(box)
            said.setToolTip(tip)
            box.setToolTip(tip)
            box.setAccessibleName(name)
            row.addWidget(said)
            row.addWidget(box)
        self.reality = QPushButton(self.tr("Reality check"), self)
        self.reality.setObjectName("primary")
        self.reality.setToolTip(self.tr("Try the bundle where friction, mass, delays, cameras, light are otherwise."))
        self.reality.clicked.connect(self._check_reality)
        row.addStretch(1)
        row.addWidget(self.reality)
        self.reality_said = label("", "faint", self)
        self.reality_stale = Notice("stale", self)
        self.shares = QWidget(self)
        both = QHBoxLayout(self.shares)
        both.setContentsMargins(0, 0, 0, 0)
        both.setSpacing(24)
        self.figures: dict[str, tuple[QLabel, ShareBar, QLabel]] = {}
        for key, name in (
            ("simulated", self.tr("In simulation")),
            ("real", self.tr("In the stand-in for reality")),
            ("gap", self.tr("The gap")),
        ):
            column = QVBoxLayout()
            figure, bar, more = label("", "figure", self, wrap=False), ShareBar(self), label("", "faint", self)
            column.addWidget(label(name, "group", self))
            for widget in (figure, bar, more):
                column.addWidget(widget)
            column.addStretch(1)
            both.addLayout(column, 1)
            self.figures[key] = figure, bar, more
        self.figures["gap"][1].hide()
        self.reality_more = label("", "", self)
        self.factors_heading = label(self.tr("One thing otherwise at a time: success"), "heading", self)
        self.factors = Bars(self.tr("Success with one thing otherwise"), self)
        self.player = FilmPlayer(self)
        self.player.setMaximumWidth(520)
        self.fill(
            row,
            self.reality_said,
            self.reality_stale,
            self.shares,
            self.reality_more,
            self.factors_heading,
            self.factors,
            self.player,
        )

    def show_bundle(self, contents: Contents | None) -> None:
        """Say how it did when it was last tried."""
        self._contents = contents
        self._show_reality()

    def enable(self, free: bool) -> None:
        """Whether it can be tried now."""
        self.reality.setEnabled(free and policy_folder(self.desk, self._contents) is not None)

    def _show_reality(self) -> None:
        folder = policy_folder(self.desk, self._contents)
        found = (read_json(reality_file(folder / BEST)) if folder is not None else None) or {}
        shares = {"simulated": found.get("simulated"), "real": found}
        count = found.get("count")
        there = isinstance(count, int) and count > 0 and isinstance(found.get("successes"), int)
        for widget in (self.shares, self.reality_more, self.player):
            widget.setVisible(there)
        self.reality_said.setText(
            self.tr("Otherwise than in the simulation, by chance: {0}.").format(self._otherwise(found))
            if there
            else self.tr(
                "Another engine, other masses and frictions, late pictures, lagging motors, cameras beside where they "
                "are believed to be: how often would it still succeed? Not tried yet."
            )
        )
        source = None if self._contents is None else self._contents.part("policy").get("source")
        other = there and found.get("policy") != source
        self.reality_stale.say(
            *(
                [self.tr("These figures are of another policy than the one in this bundle: check it again.")]
                if other
                else []
            )
        )
        factors = found.get("factors")
        groups = self._groups(factors if there and isinstance(factors, dict) else {})
        self.factors.show_groups(groups)
        for part in (self.factors, self.factors_heading):
            part.setVisible(bool(groups))
        if not there or folder is None:
            self.player.show_films({})
            return
        for key, entry in shares.items():
            self._show_share(key, entry)
        self._show_gap(found)
        self.reality_more.setText("\n".join(self._reality_words(found)))
        self.player.show_films(films_of(folder / BEST, REALITY_FILMS))

    def _otherwise(self, found: Mapping[str, Any]) -> str:
        names = found.get("otherwise")
        return ", ".join(map(str, names)) if isinstance(names, list) else "?"

    def _show_share(self, key: str, entry: object) -> None:
        figure, bar, more = self.figures[key]
        count, done = (entry.get(name) if isinstance(entry, dict) else None for name in ("count", "successes"))
        if not isinstance(count, int) or not isinstance(done, int) or count < 1:
            figure.setText("–")
            bar.clear()
            more.setText(self.tr("never evaluated"))
            return
        figure.setText(percent(done / count))
        low, high = wilson(done, count)
        more.setText(told(count, done))
        bar.set_color("warn" if done < SELDOM * count else "accent")
        bar.show_share(done / count, low, high, more.text())

    def _show_gap(self, found: Mapping[str, Any]) -> None:
        figure, _, more = self.figures["gap"]
        gap, interval = found.get("gap"), found.get("gap_interval")
        if not isinstance(gap, int | float) or not isinstance(interval, list) or len(interval) != 2:
            figure.setText("–")
            more.setText("")
            return
        points = round(100 * gap)
        figure.setText(
            self.tr("{0} points").format(points) if abs(points) != 1 else self.tr("{0} point").format(points)
        )
        more.setText(
            self.tr("The true one is between {0} and {1}, 95 % sure.").format(
                round(100 * interval[0]), round(100 * interval[1])
            )
        )

    def _reality_words(self, found: Mapping[str, Any]) -> list[str]:
        lines, failures, stopped = [], found.get("failures"), found.get("would_be_stopped")
        if isinstance(failures, dict) and failures:
            said = ", ".join(f"{count} × {reason}" for reason, count in failures.items())
            lines.append(self.tr("Failures: {0}").format(said))
        if isinstance(stopped, dict):
            lines.append(
                self.tr("Its own doubts would have stopped {0} and {1}.").format(
                    counted(stopped.get("failures", "?"), self.tr("1 failure"), self.tr("{0} failures")),
                    counted(stopped.get("successes", "?"), self.tr("1 success"), self.tr("{0} successes")),
                )
            )
        lines.append(
            self.tr("The things are the true ones: what the virtual phone has scanned.")
            if found.get("world") == "true"
            else self.tr("The things are the scanned ones, with errors of shape.")
        )
        return lines

    def _groups(self, factors: Mapping[str, Any]) -> list[Group]:
        groups = []
        for name, row in factors.items():
            count, done = (row.get(key) if isinstance(row, dict) else None for key in ("count", "successes"))
            if not isinstance(count, int) or not isinstance(done, int) or count < 1:
                continue
            cost = row.get("cost")
            text = f"{done} / {count}"
            if isinstance(cost, int | float):
                text += self.tr("  ({0:+.0f} points)").format(-100 * cost)
            shown = self.tr("nothing") if name == "none" else name
            groups.append((cost if isinstance(cost, int | float) else 9.0, Group(shown, [Bar(done / count, text)])))
        return [group for _, group in sorted(groups, key=lambda pair: -pair[0])]

    def _check_reality(self) -> None:
        if self._contents is None or self.desk.project is None:
            return
        words = ["reality-check", str(self._contents.folder), "--project", str(self.folder())]
        words += ["--count", str(self.tries.value())]
        if self.each.value():
            words += ["--each", str(self.each.value())]
        title = self.tr("Reality check: {0}").format(self._contents.folder.name)
        self.started.emit(Task(title, tuple(words), STEP, self.folder()))


def run_films(dataset: Path) -> dict[str, Path]:
    """The newest film of each camera in a dataset: each run that is added to it has files of its own."""
    newest: dict[str, tuple[float, Path]] = {}
    for path in sorted((dataset / "videos").glob("**/file-*.mp4")):
        camera = path.relative_to(dataset / "videos").parts[0].removeprefix(IMAGES)
        try:
            made = path.stat().st_mtime
        except OSError:
            continue
        if camera not in newest or made >= newest[camera][0]:
            newest[camera] = made, path
    return {camera: path for camera, (_, path) in newest.items()}


class RunPanel(Panel):
    """What the cameras saw in the last run."""

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(desk, parent)
        self._shown: tuple[Job, str] | None = None
        self.said = label("", "faint", self)
        self.player = FilmPlayer(self)
        self.player.setMaximumWidth(640)
        self.player.choice.setToolTip(self.tr("Which camera's film is shown."))
        self.fill(self.said, self.player)
        self.show_run(None)

    def show_run(self, job: Job | None) -> bool:
        """Show the films of a run; whether it has just ended and there are some."""
        about = None if job is None else (job, job.state.kind)
        if job is not None and about == self._shown:
            return False
        self._shown = about
        films = {} if job is None else self._films(job)
        self.said.setText(self._words(job, films))
        self.player.show_films(films)
        self.player.setVisible(bool(films))
        return bool(films)

    def _films(self, job: Job) -> dict[str, Path]:
        result = job.state.result
        if not job.is_over or not result.get("ticks") or not isinstance(result.get("dataset"), str):
            return {}
        return {self._name(camera): path for camera, path in run_films(Path(result["dataset"])).items()}

    def _name(self, camera: str) -> str:
        return {"front": self.tr("before the arm"), "wrist": self.tr("on the hand")}.get(camera, camera)

    def _words(self, job: Job | None, films: Mapping[str, Path]) -> str:
        if job is None:
            return self.tr("After a run, what the cameras saw is shown here.")
        if not job.is_over:
            return self.tr("What the cameras see is shown here when the run has ended.")
        if films:
            return self.tr("What the cameras saw in the last run:")
        if not Contents.of(Path(job.task.words[1])).cameras:
            return self.tr("This policy looks at no camera: nothing was filmed.")
        return self.tr("This run has left no film.")
