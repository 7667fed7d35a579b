"""The world-action model: one transformer that decodes the next actions and the coming observations together.

What is seen now becomes tokens, which an encoder lets look at each other once. A decoder turns noise into the next
chunk of actions and into what will be seen at several horizons, by flow matching (Lipman et al., "Flow Matching for
Generative Modeling", 2023): from any point of the straight line from noise to the truth it is trained to say where the
truth lies (as in Li & He, "Back to Basics: Let Denoising Generative Models Denoise", 2025), which for so few examples
is far easier to learn than which way. Tokens of the future look at those of the actions and not the other way round, so
acting needs no dream, and a dream is one of what these actions will lead to.

All that it is told or says of places is turned into the hand's own frame, and back, within.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.encoders import ENCODERS, Scaler
from policies.features import STATE
from policies.hand import Hand
from policies.windows import POSE, Windows
from simulation.privileged import COLUMN

THING = 9
"""Numbers of a thing in an outlook: its middle and its extent, which a zone, always the last, has not."""
FREQUENCIES = 32
"""Of the sine and cosine waves that stand for a point of the flow."""


@dataclass(frozen=True)
class ModelSettings:
    """How large the network is, and how far it looks."""

    width: int = 96
    """Numbers a token consists of."""
    heads: int = 4
    """Of attention."""
    encoder_layers: int = 1
    """Of what looks at the observation, once a decision."""
    decoder_layers: int = 3
    """Of what turns noise into actions, several times a decision."""
    chunk: int = 16
    """Actions decided at a time."""
    patch: int = 16
    """Actions a token; must divide `chunk`."""
    horizons: tuple[int, ...] = (4, 8, 16)
    """Frames ahead at which it says what will be seen; none: it only acts (the ablation)."""


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al., 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.pair, self.out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, others: Tensor, mask: Tensor | None = None) -> Tensor:
        """Tokens ``(B, N, D)`` look at ``(B, M, D)``; `mask` ``(N, M)`` is true where they may."""
        key, value = self.pair(others).chunk(2, dim=-1)
        split = [part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query(x), key, value)]
        # Written out: for so few tokens torch's own attention is slower on a CPU.
        q, k, v = split
        weight = (q * (q.shape[-1] ** -0.5)) @ k.mT
        if mask is not None:
            weight = weight.masked_fill(~mask, float("-inf"))
        mixed: Tensor = self.out((weight.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))
        return mixed


class Layer(nn.Module):
    """Attention among tokens, to a context where there is one, and a perceptron; each from a normalised copy.

    In the decoder the point of the flow scales and shifts those copies (Peebles & Xie, "Scalable Diffusion Models with
    Transformers", 2023).
    """

    def __init__(self, width: int, heads: int, *, decoder: bool) -> None:
        super().__init__()
        self.decoder = decoder
        parts = 3 if decoder else 2
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=not decoder) for _ in range(parts))
        self.among = Attention(width, heads)
        self.to_context = Attention(width, heads) if decoder else None
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Linear(width, 3 * parts * width) if decoder else None
        if self.modulation is not None:
            nn.init.zeros_(self.modulation.weight)
            nn.init.zeros_(self.modulation.bias)

    def forward(
        self, x: Tensor, context: Tensor | None = None, point: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Tokens ``(B, N, D)``, changed; `context` ``(B, M, D)`` and `point` ``(B, D)`` of the flow in the decoder."""
        steps: list[Callable[[Tensor], Tensor]] = [lambda y: self.among(y, y, mask), self.perceptron]
        if self.to_context is not None:
            look = self.to_context
            steps.insert(1, lambda y: look(y, y if context is None else context))
        rows: Sequence[Tensor] = ()
        if self.modulation is not None and point is not None:
            rows = self.modulation(point)[:, None].chunk(3 * len(steps), dim=-1)
        for number, (norm, step) in enumerate(zip(self.norms, steps, strict=True)):
            if rows:
                scale, shift, gate = rows[3 * number : 3 * number + 3]
                x = x + step(norm(x) * (1 + scale) + shift) * (1 + gate)
            else:
                x = x + step(norm(x))
        return x


class WorldActionModel(nn.Module):
    """Observations in, actions and the coming observations out; all in the units of the dataset.

    Attributes:
        settings: its size.
        observe: what kind of observations it sees.
        encoder: what makes tokens of them.
        state, around: how many numbers those have.
        foretold: how many a dream has, at each horizon.
    """

    reach: Tensor

    def __init__(self, settings: ModelSettings, observe: str, state: int, around: int) -> None:
        """A network that has learnt nothing.

        Args:
            settings: its size.
            observe: a key of `ENCODERS`.
            state: numbers that the robot measures of itself, the gripper's opening last.
            around: numbers about the things around it.
        """
        super().__init__()
        s = self.settings = settings
        self.observe, self.state, self.around = observe, state, around
        self.encoder = ENCODERS[observe](state, around, s.width)
        nothing = Hand(torch.zeros(1, 3), torch.eye(3)[None])
        future = _outlook(nothing, torch.zeros(1, around), torch.zeros(1, 1, POSE + around)).shape[2]
        self.foretold = int(future)
        self.action_scaler, self.future_scaler = Scaler(s.chunk, POSE), Scaler(len(s.horizons), future)
        self.layers = nn.ModuleList(Layer(s.width, s.heads, decoder=False) for _ in range(s.encoder_layers))
        self.layers_norm = nn.LayerNorm(s.width)
        self.decoder = nn.ModuleList(Layer(s.width, s.heads, decoder=True) for _ in range(s.decoder_layers))
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
        hand = self.encoder.hand(windows.seen)
        self.encoder.fit(windows.seen)
        self.action_scaler.fit(hand.poses(windows.actions))
        if self.settings.horizons:
            self.future_scaler.fit(_outlook(hand, windows.seen[COLUMN], windows.future))

    def look(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Context ``(B, M, D)`` from what is seen."""
        x = self.encoder(seen)
        for layer in self.layers:
            x = layer(x)
        context: Tensor = self.layers_norm(x)
        return context

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
        """Mean distances of actions and of the future from the truth, at points of the flow drawn at random.

        Args:
            windows: what was seen, done, and seen then.
            stray_rad: the arm is taken to be that far from where it was, each joint, while all else and its targets
                stay: so it learns the way back.
        """
        states = windows.seen[STATE]
        away = stray_rad * torch.randn(len(states), 1, self.state, device=states.device)
        away[:, :, -1] = 0.0  # the gripper's opening
        seen = {**windows.seen, STATE: states + away}
        hand, context = self.encoder.hand(seen), self.look(seen)
        point = torch.rand(len(states), device=states.device)
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


def _outlook(hand: Hand, around: Tensor, future: Tensor) -> Tensor:
    """``(B, H, F)``: the tool then, and how things then differ from now; seen from the hand as it is now."""
    rows = [hand.poses(future[..., :POSE])]
    now = hand.things(around[:, None])
    for (middle, extent), (middle_now, extent_now) in zip(hand.things(future[..., POSE:]), now, strict=True):
        rows.append(middle - middle_now)
        if extent is not None and extent_now is not None:
            rows.append(extent - extent_now)
    return torch.cat(rows, dim=-1)
