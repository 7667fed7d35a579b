"""Cousins in which a policy tries, is set right, or takes glances: portions of them go to processes."""

from __future__ import annotations

import dataclasses
import itertools
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.demonstrate_stage import Order, bank_file, made_with
from app.project import Project
from reconstruction.errors import InputError
from reconstruction.progress import Progress, part, silent

if TYPE_CHECKING:
    from app.kept_tries import KeptTries
    from policies.evaluate import Trial
    from policies.rollout import Actor, ActSettings

HELD_OUT_SEED = 1_000_003
"""Added to the demonstrations' seed for the cousins on which a policy is tested …"""
CHECK_SEED = 2_000_003
"""… and for those on which its training is watched: what it was chosen by must not be what it is judged by."""
OTHERS = 1_000_000
"""Numbers from which on cousins of the demonstrations' own seed are others than the demonstrations'."""
GLANCED = 3 * OTHERS
"""Those into which eyes glance are others again: where they learnt, they see better than anywhere else, and who then
learns to act on what they say there trusts them too much."""
PLAYED = 4 * OTHERS
"""From here on, it is played."""
CHUNK = 2
"""Cousins that a process tries at a time."""
AHEAD = 6
"""Such portions that wait for a process."""


def order_of(
    project: Project,
    dataset: Path,
    more: int,
    *,
    held_out: bool,
    cameras: bool = False,
    film_every: int = 1,
    executor: Executor | None = None,
    progress: Progress = silent,
) -> Order:
    """Cousins for the task of a dataset, of its seed plus `more`, with `held_out` things or the others.

    They are filmed as in the dataset where `cameras` are wanted, or only every so manieth frame is.

    Raises:
        InputError: it is not known how the dataset was made.
    """
    settings, scene = made_with(dataset)
    settings = dataclasses.replace(settings, seed=settings.seed + more, like=None)
    if not cameras:
        settings = dataclasses.replace(settings, cameras="none")
    bank = bank_file(dataset, project, scene, settings, executor, progress)
    return Order(scene, bank, settings, uuid.uuid4().hex, held_out, film_every)


class Trials:
    """Cousins in which a policy is tried: of another seed, with other things than the demonstrations'."""

    def __init__(
        self,
        project: Project,
        dataset: Path,
        policy: Path,
        more: int,
        longest_s: float,
        act: ActSettings,
        cameras: Sequence[str],
    ) -> None:
        """Those of the demonstrations' seed plus `more`, filmed by `cameras`."""
        self._filmed = bool(cameras)
        self._project, self._dataset, self._more = project, dataset, more
        self._policy, self._act = policy, act
        self._longest_s = act.patience * longest_s
        self._held_out: Order | None = None

    def tried(
        self, count: int, executor: Executor | None, progress: Progress, kept: KeptTries | None = None
    ) -> list[Trial]:
        """Try until `count` cousins were tried in which the task makes sense, in the order of their numbers.

        Args:
            count: how many.
            executor: its processes try; None: this one does.
            progress: is told about it.
            kept: tries of earlier runs, from which to go on, and to which to add.

        Raises:
            InputError: hardly any makes sense.
        """
        from policies.evaluate import Trial, try_some

        order = self._tested_on(executor, part(progress, 0.0, 0.1))
        before = [Trial.from_row(row) for row in kept.of("")] if kept is not None else []
        found: list[Trial] = []
        tried = 0
        for trial in itertools.chain(before, in_turn(self._work(try_some, order), executor, len(before))):
            found.append(trial)
            tried += not trial.skipped
            if kept is not None and len(found) > len(before):
                kept.add("", trial.as_row())
            progress(0.1 + 0.9 * tried / count, f"{tried} of {count} cousins")
            if tried >= count:
                break
            check_sense(len(found), tried, trial.skipped)
        return found

    def corrections(self, count: int, executor: Executor | None, folder: Path, progress: Progress) -> None:
        """Fill a dataset with `count` episodes of the expert setting right what the policy has begun."""
        from policies.evaluate import correct_some

        order = self._order(executor, part(progress, 0.0, 0.1), held_out=False)
        work = self._work(correct_some, order)
        _fill(folder, order, count, work, executor, part(progress, 0.1, 1.0), 2 * OTHERS)

    def films(
        self, indices: Sequence[int], executor: Executor | None, size: int, progress: Progress
    ) -> Iterator[tuple[int, bytes]]:
        """Films of held-out cousins being tried, by the cousins' numbers."""
        from policies.evaluate import film_one

        order = self._tested_on(executor, silent)
        if not self._filmed:  # things need their looks all the same
            filmed = dataclasses.replace(order.settings, cameras="both")
            order = dataclasses.replace(order, settings=filmed, key=uuid.uuid4().hex)
        actor = partial(actor_of, self._policy, self._act)
        work = partial(film_one, order.job, actor, order.key, longest_s=self._longest_s, size=size)
        films = map(work, indices) if executor is None else executor.map(work, indices)
        for number, (index, film) in enumerate(zip(indices, films, strict=True), 1):
            progress(number / len(indices), f"{number} of {len(indices)} films")
            yield index, film

    def _tested_on(self, executor: Executor | None, progress: Progress) -> Order:
        """The same every time: processes then go on with what they have loaded."""
        if self._held_out is None:
            self._held_out = self._order(executor, progress, held_out=True)
        return self._held_out

    def _order(self, executor: Executor | None, progress: Progress, held_out: bool) -> Order:
        return order_of(
            self._project,
            self._dataset,
            self._more,
            held_out=held_out,
            cameras=self._filmed,
            executor=executor,
            progress=progress,
        )

    def _work(self, work: Callable[..., list[Any]], order: Order) -> Callable[[tuple[int, ...]], list[Any]]:
        actor = partial(actor_of, self._policy, self._act)
        return partial(work, order.job, actor, order.key, longest_s=self._longest_s)


def blunders_into(
    order: Order, count: int, longest_s: float, executor: Executor | None, folder: Path, progress: Progress
) -> None:
    """Fill a dataset with `count` episodes of the expert setting right its own blunders (`simulation.blunders`)."""
    from policies.evaluate import blunder_some

    work = partial(blunder_some, order.job, order.key, longest_s=longest_s)
    _fill(folder, order, count, work, executor, progress, OTHERS)


def plays_into(order: Order, count: int, executor: Executor | None, folder: Path, progress: Progress) -> None:
    """Fill a dataset with `count` episodes of the hand going about things at random (`simulation.play`)."""
    from policies.evaluate import play_some

    _fill(folder, order, count, partial(play_some, order.job, order.key), executor, progress, PLAYED)


def glances_into(order: Order, count: int, executor: Executor | None, folder: Path, progress: Progress) -> None:
    """Fill a dataset with what `count` cousins look like with the hand anywhere (`simulation.glances`)."""
    from policies.evaluate import glance_some

    _fill(folder, order, count, partial(glance_some, order.job, order.key), executor, progress, GLANCED)


def _fill(
    folder: Path,
    order: Order,
    count: int,
    work: Callable[[tuple[int, ...]], list[Any]],
    executor: Executor | None,
    progress: Progress,
    first: int = 0,
) -> None:
    """Fill a dataset with `count` episodes of what `work` makes of cousin after cousin; goes on where it was killed."""
    from policies.dataset import DatasetWriter

    with DatasetWriter(folder, robot=Path(order.settings.robot).stem) as writer:
        good = len(writer.succeeded())
        found = in_turn(work, executor, first) if good < count else ()
        for looked, (index, episode) in enumerate(found, 1):
            if episode is not None and index not in writer.done():
                writer.add(episode)
                good += 1
            progress(min(1.0, good / count), f"{good} of {count} {folder.name.split('-')[0]}")
            if good >= count:
                break
            check_sense(looked, good, "nothing came of it")
        writer.finish()


def in_turn(work: Callable[[tuple[int, ...]], list[Any]], executor: Executor | None, first: int = 0) -> Iterator[Any]:
    """What `work` makes of cousin after cousin, without end, in the order of their numbers, from the `first` on."""
    chunks = (tuple(range(start, start + CHUNK)) for start in itertools.count(first, CHUNK))
    if executor is None:
        for chunk in chunks:
            yield from work(chunk)
        return
    waiting: deque[Future[list[Any]]] = deque()
    try:
        while True:
            while len(waiting) < AHEAD:
                waiting.append(executor.submit(work, next(chunks)))
            yield from waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def check_sense(looked: int, good: int, why: str) -> None:
    """See that the task makes sense often enough to go on.

    Args:
        looked: cousins that were looked at.
        good: of them, those in which something came of it.
        why: not in the last one.

    Raises:
        InputError: it hardly ever does.
    """
    if looked > 50 + 50 * good:
        raise InputError(
            f"The task makes no sense in {looked} cousins ({why}).",
            remedy="Choose another task or thing, or another place for the robot.",
            code="no_cousins",
        )


def actor_of(policy: Path, act: ActSettings) -> Actor:
    """The policy in a file, on one core: processes share the others."""
    import torch

    from policies.checkpoint import load_model
    from policies.rollout import Actor

    torch.set_num_threads(1)
    return Actor(load_model(policy)[0], act)
