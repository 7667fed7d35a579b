"""The stage in which a person shows a task: cousins to drive an arm in, and a dataset of what was shown."""

from __future__ import annotations

import dataclasses
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.demonstrate_stage import (
    DemonstrateSettings,
    Order,
    TaskSettings,
    bank_file,
    check_settings,
    forget_if_empty,
    make_or_match,
    slug,
)
from app.project import Project, real_path
from policies.dataset import DatasetWriter
from policies.encoded import encode
from reconstruction.disk import writing_to
from reconstruction.progress import Progress, part, silent
from reconstruction.scene import Scene


@dataclass(frozen=True)
class TeleoperateResult:
    """What has been shown, as the command line reports it.

    Attributes:
        episodes: that succeeded, in the dataset.
        failures: that were kept although the task was not done.
        dataset: folder of the episodes.
    """

    episodes: int
    failures: int
    dataset: str

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return dataclasses.asdict(self)


class Recorder:
    """Cousins in which a person drives the arm, and the dataset that their episodes go to; use it as a context manager.

    Everything but the constructor belongs to one thread, that of whoever calls `open`.
    """

    def __init__(self, project: Project, settings: TaskSettings, out: Path | None = None) -> None:
        """Look whether it can be done at all.

        Args:
            project: with a finished scene.
            settings: what is shown.
            out: the dataset's folder; left out: ``episodes/<task> by hand`` of the project.

        Raises:
            PocketworldError: no scene, no such task or robot, a dataset of other settings in the way.
        """
        from simulation.robots import robot_of
        from simulation.tasks import task_of

        whole = DemonstrateSettings(**{f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)})
        check_settings(whole)
        self._settings = dataclasses.replace(whole, swap_from=tuple(map(real_path, settings.swap_from)))
        self._project, self._scene = project, project.require("scene")
        self.task = task_of(settings.task, Scene.load(self._scene))
        self._settings = dataclasses.replace(self._settings, task=self.task.words)  # however it was said
        robot_of(settings.robot)
        name = f"{slug(self.task.words, self._settings)}_by_hand"
        self.folder = (out or project.folder / "episodes" / name).absolute()
        self._open = ExitStack()
        self._writer: DatasetWriter | None = None

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self, progress: Progress = silent) -> None:
        """Find out how things stand and load the first cousin: up to a minute the first time.

        Raises:
            PocketworldError: the folder cannot be written, or is in use.
        """
        from simulation.demonstrations import Stage
        from simulation.teleoperation import Session

        s = self._settings
        with writing_to(self.folder):
            self.folder.parent.mkdir(parents=True, exist_ok=True)
        writer = DatasetWriter(self.folder, layout=s.layout, robot=Path(s.robot).stem)
        self._writer = self._open.enter_context(writer)
        make_or_match(self.folder, self._scene, s)
        bank = bank_file(self.folder, self._project, self._scene, s, None, part(progress, 0.0, 0.9))
        job = Order(self._scene, bank, s, uuid.uuid4().hex).job()
        stage = self._open.enter_context(Stage(job))
        self.session = Session(stage, max(writer.done(), default=-1) + 1)
        progress(1.0, "ready")

    def keep(self) -> bool:
        """Put what was shown into the dataset and load the next cousin; whether the task was done in it."""
        assert self._writer is not None  # since `open`
        episode = self.session.episode()
        self._writer.add(encode(episode))
        self.session.next()
        return episode.success

    def counts(self) -> tuple[int, int]:
        """Episodes so far: those that succeeded, and the others."""
        assert self._writer is not None
        good = len(self._writer.succeeded())
        return good, len(self._writer.done()) - good

    def finish(self, progress: Progress = silent) -> TeleoperateResult:
        """Write the dataset out of what was kept; a folder in which nothing is goes away again."""
        good = bad = 0
        if self._writer is not None and self._writer.done():
            summary = self._writer.finish(progress)
            good, bad = summary.episodes, summary.failures
        return TeleoperateResult(good, bad, str(self.folder))

    def close(self) -> None:
        """End the worlds; harmless when repeated."""
        self._open.close()
        forget_if_empty(self.folder)
