"""What a policy would have dreamed in an episode, beside what came; and how far short of it is too far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from policies.deploy.trust import FALSE_STOPS, Trust, limit_of
from policies.model import dreamer
from policies.policy import Policy
from policies.windows import windows_of
from reconstruction.errors import UsageError
from simulation.chain import Chain
from simulation.episode import Episode

FloatArray = npt.NDArray[np.float64]
AT_ONCE = 256
"""Frames that are dreamed of together."""
ENOUGH = round(1.0 / FALSE_STOPS) - 1
"""Runs that succeeded from which a limit can be told."""
TEACHER = 2.0
"""A policy that succeeds falls so many times as short of its dreams as its teacher does, or less."""


@dataclass(frozen=True)
class Dreams:
    """Of T frames.

    Attributes:
        horizons: frames ahead.
        places: ``(T, P, 3)`` where the tool and the things were seen, metres, base frame; for eyes, as they say.
        ahead: ``(T, H, P, 3)`` where they would be at the horizons if what was then done is done.
    """

    horizons: tuple[int, ...]
    places: FloatArray
    ahead: FloatArray

    def trust(self, every: int) -> Trust:
        """As if a decision was made `every` so many frames."""
        trust = Trust(self.horizons)
        for frame in range(0, len(self.places), every):
            trust.notice(frame, self.places[frame], self.ahead[frame])
        return trust

    def off_m(self) -> FloatArray:
        """``(H, P)`` by how much they were off, the median; NaN for horizons beyond the end."""
        rows = []
        for number, horizon in enumerate(self.horizons):
            come = np.linalg.norm(self.places[horizon:] - self.ahead[: len(self.ahead) - horizon, number], axis=-1)
            rows.append(np.median(come, axis=0) if len(come) else np.full(self.places.shape[1], np.nan))
        return np.array(rows)


def dreams_of(model: Policy, episode: Episode, chain: Chain, every: int) -> Dreams:
    """What a model dreams at every frame of an episode with the pictures that it needs (`windows.check_columns`).

    Args:
        model: ready to act.
        episode: of the arm.
        chain: the arm.
        every: so many frames it looks, when it acts.

    Raises:
        UsageError: it has only learnt to act.
    """
    world, s = dreamer(model), model.settings
    if world is None:
        raise UsageError(
            "The policy has not learnt to foretell anything.",
            remedy="Train it without --action-only and --policy act.",
            code="no_dreams",
        )
    windows = model.encoder.seen_once(windows_of(episode, chain, s.chunk, s.horizons, model.encoder.columns), every)
    places, ahead = [], []
    with torch.inference_mode():
        for rows in torch.arange(len(windows)).split(AT_ONCE):
            some = windows.some(rows)
            middle = torch.zeros(len(rows), len(s.horizons), world.foretold)
            places.append(world.whereabouts(some.seen))
            ahead.append(world.whereabouts_then(some.seen, world.dream(some.seen, some.actions, middle)))
    found = [torch.cat(parts).double().numpy() for parts in (places, ahead)]
    return Dreams(s.horizons, *found)


def limit_from(evaluation: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """How far a run may fall short of its dreams, as the last evaluation has shown; None where it has not.

    Returns:
        `limit_m`; `false_stops`, the share of runs that would succeed which it stops; how many `runs` tell so.
    """
    trials = (evaluation or {}).get("trials") or []
    peaks = [float(trial["peak"]) for trial in trials if not trial["reason"]]
    return _told(peaks, 1.0) if len(peaks) >= ENOUGH else None


def limit_by_teacher(dreams: Sequence[Dreams], every: int) -> dict[str, Any]:
    """Likewise from demonstrations, for want of better."""
    return _told([one.trust(every).peak for one in dreams], TEACHER)


def _told(peaks: Sequence[float], share: float) -> dict[str, Any]:
    limit, false = limit_of([share * peak for peak in peaks])
    return {"limit_m": round(limit, 4), "false_stops": round(false, 4), "runs": len(peaks)}
