"""How often a policy succeeds where it has never been, and films of where it does not."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.demonstrate_stage import made_with
from app.kept_tries import KeptTries
from app.policy_folder import FILMS, evaluation_file
from app.project import Project, as_settings_json, content_hash, read_json
from app.report import REPORT, write_report
from app.train_stage import TrainSettings, act_settings, demonstrations_of, require_policy
from app.trials import HELD_OUT_SEED, Trials
from policies.dataset import open_dataset
from reconstruction.disk import write_whole, writing_to
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, part, silent
from simulation.pool import workers

if TYPE_CHECKING:
    from policies.evaluate import Score
    from policies.rollout import ActSettings

FILM_PX = 192
"""Height of films of an evaluation."""
EVALUATION_FORMAT = "pocketworld.evaluation"


@dataclass(frozen=True)
class EvaluateResult:
    """What a policy is worth, as the command line reports it.

    Attributes:
        score: of all cousins.
        policy: its file.
        films: the folder with those of some of them, "" without any.
        seconds: of this run.
    """

    score: Score
    policy: str
    films: str
    seconds: float

    def as_json(self) -> dict[str, Any]:
        """The result as a JSON-able dict."""
        return {**self.score.as_json(), "seconds": self.seconds, "policy": self.policy, "films": self.films}


def evaluate_policy(
    project: Project,
    settings: TrainSettings,
    count: int,
    progress: Progress = silent,
    *,
    dataset: Path | None = None,
    films: int = 3,
    jobs: int = 1,
) -> EvaluateResult:
    """Let a policy try cousins that neither its demonstrations nor its training have seen, nor things in them.

    Args:
        project: with a policy.
        settings: which one.
        count: cousins in which it tries.
        progress: is told about it.
        dataset: the demonstrations it was learnt from; left out: those in the project's folder ``episodes``.
        films: of the first cousins in which it failed, as many, and of one in which it did not, into the folder
            ``films`` beside the policy.
        jobs: processes; never changes the result.

    Raises:
        PocketworldError: there is no policy, or it is damaged.
    """
    from policies.checkpoint import load_model
    from policies.evaluate import score
    from simulation.robots import robot_of

    started = time.perf_counter()
    if count < 1 or jobs < 1:
        raise UsageError("--count and --jobs are 1 or more.", remedy="Give 1 or more.", code="bad_value")
    if films < 0:
        raise UsageError(f"--films is {films}.", remedy="Give 0 or more.", code="bad_value")
    folder = dataset.absolute() if dataset is not None else demonstrations_of(project, settings)
    path = require_policy(project, folder)
    model, notes = load_model(path)
    content = content_hash(path)
    act = act_settings(open_dataset(folder), robot_of(settings.robot))
    with workers(jobs, None) as crew:
        cameras = model.encoder.sensors
        trials = Trials(project, folder, path, HELD_OUT_SEED, float(notes["longest_s"]), act, cameras)
        made, scene = made_with(folder)
        told = {"made": as_settings_json(made), "scene": content_hash(scene / "scene.json")}
        kept = KeptTries(path.with_name("evaluation_tries.jsonl"), {"policy": content, "act": _plain(act), **told})
        tried = trials.tried(count, crew.executor, part(progress, 0.0, 0.9 if films else 1.0), kept)
        found = score(tried)
        shown = [*found.worst[:films], *(found.done[:1] if films else ())]
        _keep_films(path, found, trials.films(shown, crew.executor, FILM_PX, part(progress, 0.9, 1.0)))
    learnt = {name: notes.get(name) for name in ("task", "robot", "observe", "episodes")}
    about = {"format": EVALUATION_FORMAT, "version": 1, "policy": content, "act": _plain(act), "learnt": learnt}
    about.update(found.as_json())
    about["trials"] = [trial.as_json() for trial in tried if not trial.skipped]
    write_whole(evaluation_file(path), json.dumps(about, indent=1) + "\n")
    if (project.folder / REPORT).is_file():
        write_report(project)
    where = str(path.parent / FILMS) if shown else ""
    return EvaluateResult(found, str(path), where, round(time.perf_counter() - started, 3))


def _keep_films(policy: Path, score: Score, films: Iterator[tuple[int, bytes]]) -> None:
    """Write films beside a policy, in place of those of an evaluation before."""
    folder = policy.parent / FILMS
    with writing_to(folder):
        folder.mkdir(exist_ok=True)
        for path in folder.glob("*.mp4"):
            path.unlink()
        for index, film in films:
            write_whole(folder / f"{'failed' if index in score.worst else 'succeeded'}_{index:06d}.mp4", film)


def evaluation_of(policy: Path, act: ActSettings) -> dict[str, Any] | None:
    """The last score of this very policy, run in this very way, or None: never evaluated, or changed since."""
    found = read_json(evaluation_file(policy))
    wanted = {"format": EVALUATION_FORMAT, "policy": content_hash(policy), "act": _plain(act)}
    if found is None or any(found.get(key) != value for key, value in wanted.items()):
        return None
    counts = found.get("count"), found.get("successes")
    return found if all(type(count) is int and count >= 0 for count in counts) else None


def _plain(act: ActSettings) -> Any:
    """As it reads back from JSON."""
    return json.loads(json.dumps(dataclasses.asdict(act)))
