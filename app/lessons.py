"""What a policy learns from beside its demonstrations: glances, blunders that are set right, and its own mistakes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.demonstrate_stage import Order, run_file
from app.project import Project, content_hash
from app.trials import Trials, blunders_into, glances_into, order_of, plays_into
from policies.dataset import open_dataset
from policies.files import BEST, EYES, PRETRAINED
from reconstruction.errors import UsageError
from reconstruction.progress import Progress, part
from simulation.beside import beside

if TYPE_CHECKING:
    from policies.episodes import Dataset
    from policies.model import WorldActionModel
    from policies.policy import Policy
    from policies.ranks import Ranks
    from policies.rollout import ActSettings
    from policies.train import LoopSettings
    from policies.windows import Windows
    from simulation.pool import Workers

MATRIX_RATE = 0.02
"""Of `train.LoopSettings`, for eyes and for acting."""


@dataclass(frozen=True)
class Lessons:
    """Makes them, and keeps them beside the policy, so that a run that was killed goes on from there.

    Attributes:
        project, dataset: with the demonstrations.
        runs: datasets of recorded runs.
        place: the policy's folder.
        reads: a dataset as windows.
        act: how the policy is run.
        rate_hz: of the demonstrations; the longest took `longest_s`.
        crew: who makes them, where this is the first of the `ranks`.
        ranks: the processes that train it together.
    """

    project: Project
    dataset: Path
    runs: Sequence[Path]
    place: Path
    reads: Callable[..., Windows]
    act: ActSettings
    rate_hz: float
    longest_s: float
    crew: Workers
    ranks: Ranks

    def seeing(
        self, model: Policy, glances: int, loop: LoopSettings, device: str, blunders: int, progress: Progress
    ) -> Policy:
        """A policy that has learnt to see, from so many cousins with the hand anywhere.

        From glances alone: so what it then says of demonstrations is as wrong as it will be elsewhere. Small networks
        make little use of a second core: meanwhile, the others make so many blunders (`put_right`).
        """
        from policies.checkpoint import load_model
        from policies.eyes_file import mark_of_eyes
        from policies.train import train
        from simulation.glances import REVISION

        eyes = self.place / EYES
        made = eyes / f"glances-{REVISION}-{short_hash(run_file(self.dataset))}"
        about: dict[str, Any] = {"glances": glances, "first": mark_of_eyes(model)}

        def make() -> None:
            order = self._order(True)
            glances_into(order, glances, self.crew.executor, made, part(progress, 0.0, 0.4))

        self.ranks.told(make)
        views = self.reads(open_dataset(made), episodes=glances)
        model.fit(views)
        about["data"] = digest(views)
        with contextlib.ExitStack() as meanwhile:
            meanwhile.enter_context(half_of_the_cores())
            if self.ranks.first and self.crew.executor is not None and blunders:
                others = partial(self._blunders, model, blunders)
                meanwhile.enter_context(beside(others, part(progress, 0.9, 1.0)))
            train(model, views, loop, eyes, part(progress, 0.4, 0.9), None, about, device, self.ranks)
        return load_model(eyes / BEST)[0]

    def put_right(self, model: Policy, count: int, progress: Progress) -> Windows:
        """So many blunders that the expert sets right, as the policy sees them."""
        made, every = self.ranks.told(partial(self._blunders, model, count, progress))
        windows = self.reads(open_dataset(made), episodes=count).each(every)
        # Those that were filmed stand for those that were not.
        return model.encoder.seen_once(windows, self.act.execute).times(every)

    def _blunders(self, model: Policy, count: int, progress: Progress) -> tuple[Path, int]:
        """Where so many of them are kept now, and which frames of them are filmed: every so manieth.

        To film takes longer than to simulate: only what somebody who acts would look at is filmed.
        """
        from simulation.blunders import REVISION

        filmed, well_ticks = bool(model.encoder.sensors), self.act.sure_ticks
        every = self.act.execute if filmed else 1
        made = self._folder(f"blunders-{REVISION}", filmed, every, well_ticks)
        order = self._order(filmed, every)
        blunders_into(order, count, well_ticks / self.rate_hz, self.crew.executor, made, progress)
        return made, every

    def pretrained(
        self,
        model: WorldActionModel,
        windows: Windows,
        plays: int,
        loop: LoopSettings,
        about: dict[str, Any],
        device: str,
        progress: Progress,
    ) -> Policy:
        """A policy that has learnt to foretell: from `windows`, failed demonstrations, and so many episodes of play."""
        from policies.checkpoint import load_model
        from policies.train import train

        own = self.place / PRETRAINED
        windows = windows.and_those_of(self._rollouts(model, plays, part(progress, 0.0, 0.4)))
        about = {**about, "data": digest(windows)}
        model.fit_ahead(windows)
        train(model, windows, loop, own, part(progress, 0.4, 1.0), None, about, device, self.ranks)
        return load_model(own / BEST)[0]

    def _rollouts(self, model: Policy, plays: int, progress: Progress) -> Windows:
        """What has been done beside what is to be done likewise."""
        from simulation.play import REVISION

        filmed, looks = bool(model.encoder.sensors), self.act.execute
        every = looks if filmed else 1
        made = self._folder(f"plays-{REVISION}", filmed, every)
        self.ranks.told(lambda: plays_into(self._order(filmed, every), plays, self.crew.executor, made, progress))
        played = self.reads(open_dataset(made), episodes=plays).each(every)
        found = model.encoder.seen_once(played, looks).times(every)
        for folder in (self.dataset, *self.runs):
            failed = folder.absolute().with_name(f"{folder.absolute().name}_failures")
            if failed.is_dir():
                found = found.and_those_of(model.encoder.seen_once(self.reads(open_dataset(failed)), looks))
        return found

    def corrections(self, before: Path, count: int, into: Path, progress: Progress) -> Windows:
        """So many of a policy's own mistakes that the expert sets right, as that policy sees them."""
        from policies.checkpoint import load_model

        model = load_model(before)[0]
        # Of this very policy: another one's mistakes are not what is to be set right.
        made = into / f"corrections-{short_hash(before)}"
        trials = self.trials(before, 0, model.encoder.sensors)
        self.ranks.told(lambda: trials.corrections(count, self.crew.executor, made, progress))
        return model.encoder.seen_once(self.reads(open_dataset(made)), self.act.execute)

    def _folder(self, name: str, *made_with: object) -> Path:
        """Where something is kept that depends on how the demonstrations were made, and on more."""
        key = " ".join(map(str, (content_hash(run_file(self.dataset)), *made_with)))
        return self.place / f"{name}-{hashlib.blake2b(key.encode(), digest_size=8).hexdigest()}"

    def _order(self, filmed: bool, every: int = 1) -> Order:
        """Cousins of the demonstrations' seed, of which every so manieth frame is filmed."""
        return order_of(
            self.project,
            self.dataset,
            0,
            held_out=False,
            cameras=filmed,
            film_every=every,
            executor=self.crew.executor,
        )

    def trials(self, policy: Path, more: int, cameras: tuple[str, ...]) -> Trials:
        """See `Trials`."""
        return Trials(self.project, self.dataset, policy, more, self.longest_s, self.act, cameras)


@contextlib.contextmanager
def half_of_the_cores() -> Iterator[None]:
    """Torch uses half of them: always, since numbers are rounded otherwise where work is divided otherwise."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(1, before // 2))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def and_runs(windows: Windows, runs: Sequence[Path], reads: Callable[..., Windows], shown: Dataset) -> Windows:
    """Windows, and those of recorded runs that succeeded.

    Args:
        windows: of demonstrations.
        runs: datasets.
        reads: one as windows.
        shown: the demonstrations.

    Raises:
        UsageError: a run is of something else, failed, or does not say where the things were.
    """
    for folder in runs:
        data = open_dataset(folder)
        other = UsageError(
            f"{folder} is not of the same task, arm and cameras as {shown.folder}.",
            remedy="Name runs of a bundle that was made from these demonstrations.",
            code="other_runs",
        )
        first, wanted = (some.read(0, ()) if len(some) else None for some in (data, shown))
        for name in ("action_names", "rate_hz", "task_name"):
            if first is not None and getattr(first, name) != getattr(wanted, name):
                raise other
        if first is not None and not first.success:
            raise UsageError(
                f"What {folder} holds has failed: it is not to be done likewise.",
                remedy="Name the dataset of the runs that succeeded; failures beside it are found.",
                code="other_runs",
            )
        more = reads(data)
        if [values.shape[1:] for values in windows.tensors()] != [values.shape[1:] for values in more.tensors()]:
            raise other
        windows = windows.and_those_of(more)
    return windows


def digest(windows: Windows) -> str:
    """What tells windows of one dataset from those of another."""
    return hashlib.blake2b(windows.actions.numpy().tobytes(), digest_size=8).hexdigest()


def short_hash(path: Path) -> str:
    """A content hash as a part of a file's name."""
    return content_hash(path).split(":")[-1][:16]
