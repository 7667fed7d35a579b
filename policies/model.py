"""The world-action model: one transformer that decodes the next actions and the coming observations together.

What is seen now becomes tokens, which an encoder lets look at each other once. A decoder turns noise into the next
chunk of actions and into what will be seen at several horizons, by flow matching (Lipman et al., "Flow Matching for
Generative Modeling", 2023): from any point of the straight line from noise to the truth it is trained to say where the
truth lies (as in Li & He, "Back to Basics: Let Denoising Generative Models Denoise", 2025), which for so few examples
is far easier to learn than which way. Tokens of the future look at those of the actions and not the other way round, so
acting needs no dream, and a dream is one of what these actions will lead to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.encoders import Scaler
from policies.hand import SHAPE, Hand
from policies.policy import Policy, PolicySettings
from policies.transformer import Layer
from policies.windows import POSE, Windows
from simulation.privileged import COLUMN

THING = 3 + SHAPE
"""Numbers of a thing in an outlook: its middle and its shape, which a zone, always the last, has not."""
FREQUENCIES = 32
"""Of the sine and cosine waves that stand for a point of the flow."""


@dataclass(frozen=True)
class ModelSettings(PolicySettings):
    """How large the network is, and how far it looks."""

    horizons: tuple[int, ...] = (4, 8, 16)
    """Frames ahead at which it says what will be seen; none: it only acts (the ablation)."""


class WorldActionModel(Policy):
    """Observations in, actions and the coming observations out (see `Policy`).

    Attributes:
        foretold: numbers of a dream, at each horizon.
    """

    kind = "world-action"
    sizes = ModelSettings
    reach: Tensor

    def __init__(self, settings: PolicySettings, observe: str, state: int, around: int) -> None:
        """A network that has learnt nothing; as for all policies."""
        super().__init__(settings, observe, state, around)
        s = settings
        nothing = Hand(torch.zeros(1, 3), torch.eye(3)[None])
        future = _outlook(nothing, torch.zeros(1, around), torch.zeros(1, 1, POSE + around)).shape[2]
        self.foretold = int(future)
        self.future_scaler = Scaler(len(s.horizons), future)
        self.decoder = nn.ModuleList(Layer(s.width, s.heads, decoder=True, flow=True) for _ in range(s.decoder_layers))
        self.decoder_norm = nn.LayerNorm(s.width)
        self.point = nn.Sequential(nn.Linear(2 * FREQUENCIES, s.width), nn.SiLU(), nn.Linear(s.width, s.width))
        own, ahead = s.chunk // s.patch, len(s.horizons)
        self.action_in, self.action_out = nn.Linear(s.patch * POSE, s.width), nn.Linear(s.width, s.patch * POSE)
        if ahead:
            self.future_in, self.future_out = nn.Linear(future, s.width), nn.Linear(s.width, future)
        self.places = nn.Parameter(0.02 * torch.randn(own + ahead, s.width))
        reach = torch.ones(own + ahead, own + ahead, dtype=torch.bool)
        reach[:own, own:] = False
        self.register_buffer("reach", reach, persistent=False)

    def fit(self, windows: Windows) -> None:
        """Take over the scales of training data."""
        super().fit(windows)
        self.fit_ahead(windows)

    def fit_ahead(self, windows: Windows) -> None:
        """Take over the scales of what is to be foretold alone: in play, more moves than in demonstrations."""
        if self.settings.horizons:
            hand = self.encoder.hand(windows.seen)
            self.future_scaler.fit(_outlook(hand, windows.seen[COLUMN], windows.future))

    def flow(
        self, context: Tensor, point: Tensor, actions: Tensor, future: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Where the truth lies, for scaled actions ``(B, K, POSE)`` and futures ``(B, H, F)``.

        Args:
            context: ``(B, M, D)`` of `look`.
            point: ``(B,)`` of the flow: 0 noise, 1 truth.
            actions: at that point.
            future: the same; None: actions alone, which come out the same.
        """
        s = self.settings
        angle = (
            1000.0
            * point[:, None]
            * torch.exp(-math.log(1000.0) / FREQUENCIES * torch.arange(FREQUENCIES, device=point.device))
        )
        condition = self.point(torch.cat([angle.sin(), angle.cos()], dim=-1))
        x = self.action_in(actions.unflatten(1, (-1, s.patch)).flatten(2))
        own, mask = x.shape[1], None
        if future is not None:
            x, mask = torch.cat([x, self.future_in(future)], dim=1), self.reach
        x = x + self.places[: x.shape[1]]
        for layer in self.decoder:
            x = layer(x, context, condition, mask)
        x = self.decoder_norm(x)
        chunk = self.action_out(x[:, :own]).unflatten(2, (s.patch, -1)).flatten(1, 2)
        return chunk, None if future is None else self.future_out(x[:, own:])

    def loss(self, windows: Windows, stray_rad: float = 0.0) -> tuple[Tensor, Tensor]:
        """Mean distances of actions and of the future from the truth, at points of the flow drawn at random."""
        seen = self.strayed(windows, stray_rad)
        hand, context = self.encoder.hand(seen), self.look(seen)
        point = torch.rand(len(windows), device=context.device)
        at = point[:, None, None]
        truth = self.action_scaler(hand.poses(windows.actions))
        actions = torch.lerp(torch.randn_like(truth), truth, at)
        if not self.settings.horizons:
            chunk, _ = self.flow(context, point, actions)
            return (chunk - truth).abs().mean(), torch.zeros(())
        coming = self.future_scaler(_outlook(hand, seen[COLUMN], windows.future))
        chunk, ahead = self.flow(context, point, actions, torch.lerp(torch.randn_like(coming), coming, at))
        assert ahead is not None
        return (chunk - truth).abs().mean(), (ahead - coming).abs().mean()

    def act(self, seen: Mapping[str, Tensor], noise: Tensor, steps: int = 4) -> Tensor:
        """Where the tool is to be next ``(B, K, POSE)``, from noise of that shape in `steps` steps along the flow."""
        context, actions = self.look(seen), noise
        for number in range(steps):
            point = torch.full((len(noise),), number / steps, device=noise.device)
            actions = torch.lerp(actions, self.flow(context, point, actions)[0], 1.0 / (steps - number))
        return self.encoder.hand(seen).poses_back(self.action_scaler.back(actions))

    def dream(self, seen: Mapping[str, Tensor], actions: Tensor, noise: Tensor, steps: int = 4) -> Tensor:
        """What will be seen if `actions` ``(B, K, POSE)`` are done, in terms of `outlook`; `noise` ``(B, H, F)``."""
        context, future = self.look(seen), noise
        done = self.action_scaler(self.encoder.hand(seen).poses(actions))
        for number in range(steps):
            point = torch.full((len(noise),), number / steps, device=noise.device)
            # The actions are known: all along, they are where they will be.
            ahead = self.flow(context, point, number / steps * done, future)[1]
            assert ahead is not None
            future = torch.lerp(future, ahead, 1.0 / (steps - number))
        return self.future_scaler.back(future)

    def foresee(
        self, seen: Mapping[str, Tensor], noise: Tensor, dreamt: Tensor, steps: int = 4
    ) -> tuple[Tensor, Tensor]:
        """What `act` decides, and beside it, at hardly any cost, where the tool and the things will then be.

        Args:
            seen: now, made out (`encoders.Encoder.made_out`).
            noise: ``(B, K, POSE)`` that actions are made of.
            dreamt: ``(B, H, F)`` noise that the dream is made of.
            steps: along the flow.

        Returns:
            ``(B, K, POSE)`` and ``(B, H, 1 + T, 3)`` (`whereabouts`) at the horizons.
        """
        context, actions, future = self.look(seen), noise, dreamt
        for number in range(steps):
            point = torch.full((len(noise),), number / steps, device=noise.device)
            chunk, ahead = self.flow(context, point, actions, future)
            assert ahead is not None
            actions = torch.lerp(actions, chunk, 1.0 / (steps - number))
            future = torch.lerp(future, ahead, 1.0 / (steps - number))
        poses = self.encoder.hand(seen).poses_back(self.action_scaler.back(actions))
        return poses, self.whereabouts_then(seen, self.future_scaler.back(future))

    def whereabouts(self, seen: Mapping[str, Tensor]) -> Tensor:
        """``(B, 1 + T, 3)`` where the tool is now, and the things of the task are or seem to be: base frame, metres."""
        hand = self.encoder.hand(seen)
        base = Hand(torch.zeros_like(hand.position), torch.eye(3, device=hand.position.device).expand_as(hand.rotation))
        things = self.encoder.things(seen, base)
        return torch.stack([hand.position, *(middle for middle, _ in things)], dim=1)

    def whereabouts_then(self, seen: Mapping[str, Tensor], future: Tensor) -> Tensor:
        """Likewise ``(B, H, 1 + T, 3)`` at the horizons, of what `dream` has foretold ``(B, H, F)``."""
        back, now = self.encoder.hand(seen).back(), self.whereabouts(seen)
        changes = torch.stack([future[..., at : at + 3] for at in range(POSE, future.shape[-1], THING)], dim=2)
        then = now[:, None, 1:] + back.directions(changes)
        return torch.cat([back.points(future[..., :3])[:, :, None], then], dim=2)

    def outlook(self, seen: Mapping[str, Tensor], future: Tensor) -> Tensor:
        """What was seen then, ``(B, H, POSE + n)`` of `Windows`, as `dream` foretells it ``(B, H, F)``."""
        return _outlook(self.encoder.hand(seen), seen[COLUMN], future)


def dreamer(policy: Policy) -> WorldActionModel | None:
    """The policy, if it is one that foretells what will be seen."""
    return policy if isinstance(policy, WorldActionModel) and policy.settings.horizons else None


def _outlook(hand: Hand, around: Tensor, future: Tensor) -> Tensor:
    """``(B, H, F)``: the tool then, and how things then differ from now; seen from the hand as it is now."""
    rows = [hand.poses(future[..., :POSE])]
    now = hand.things(around[:, None])
    for (middle, shape), (middle_now, shape_now) in zip(hand.things(future[..., POSE:]), now, strict=True):
        rows.append(middle - middle_now)
        if shape is not None and shape_now is not None:
            rows.append(shape - shape_now)
    return torch.cat(rows, dim=-1)
