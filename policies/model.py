"""The world-action model: one transformer that decodes the next actions and the coming observations together.

What is seen now becomes tokens, which an encoder lets look at each other once. A decoder turns noise into the next
chunk of actions and into what will be seen at several horizons, by flow matching (Lipman et al., "Flow Matching for
Generative Modeling", 2023): it is trained to say, at any point of the straight line from noise to the truth, which way
the truth lies. Tokens of the future look at those of the actions and not the other way round, so acting needs no
dream, and a dream is one of what these actions will lead to.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.encoders import ENCODERS, Scaler

FREQUENCIES = 32
"""Of the sine and cosine waves that stand for a point of the flow."""


@dataclass(frozen=True)
class ModelSettings:
    """How large the network is, and how far it looks."""

    width: int = 128
    """Numbers a token consists of."""
    heads: int = 4
    """Of attention."""
    encoder_layers: int = 2
    """Of what looks at the observation, once a decision."""
    decoder_layers: int = 3
    """Of what turns noise into actions, several times a decision."""
    chunk: int = 16
    """Actions decided at a time."""
    patch: int = 4
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
        state, around, future: how many numbers those have.
    """

    reach: Tensor

    def __init__(self, settings: ModelSettings, observe: str, state: int, around: int, future: int) -> None:
        """A network that has learnt nothing.

        Args:
            settings: its size.
            observe: a key of `ENCODERS`.
            state: numbers that the robot measures of itself; an action has as many.
            around: numbers about the things around it.
            future: numbers that are foretold at each horizon.
        """
        super().__init__()
        s = self.settings = settings
        self.observe, self.state, self.around, self.future = observe, state, around, future
        self.encoder, actions = ENCODERS[observe](state, around, s.width), state
        self.action_scaler, self.future_scaler = Scaler(s.chunk, actions), Scaler(len(s.horizons), future)
        self.layers = nn.ModuleList(Layer(s.width, s.heads, decoder=False) for _ in range(s.encoder_layers))
        self.layers_norm = nn.LayerNorm(s.width)
        self.decoder = nn.ModuleList(Layer(s.width, s.heads, decoder=True) for _ in range(s.decoder_layers))
        self.decoder_norm = nn.LayerNorm(s.width)
        self.point = nn.Sequential(nn.Linear(2 * FREQUENCIES, s.width), nn.SiLU(), nn.Linear(s.width, s.width))
        own, ahead = s.chunk // s.patch, len(s.horizons)
        self.action_in, self.action_out = nn.Linear(s.patch * actions, s.width), nn.Linear(s.width, s.patch * actions)
        if ahead:
            self.future_in, self.future_out = nn.Linear(future, s.width), nn.Linear(s.width, future)
        self.places = nn.Parameter(0.02 * torch.randn(own + ahead, s.width))
        reach = torch.ones(own + ahead, own + ahead, dtype=torch.bool)
        reach[:own, own:] = False
        self.register_buffer("reach", reach, persistent=False)

    def fit(self, seen: Mapping[str, Tensor], actions: Tensor, future: Tensor) -> None:
        """Take over the scales of training data: observations, chunks ``(N, K, A)``, futures ``(N, H, F)``."""
        self.encoder.fit(seen)
        self.action_scaler.fit(actions)
        if self.settings.horizons:
            self.future_scaler.fit(future)

    def look(self, seen: Mapping[str, Tensor], noise: float = 0.0) -> Tensor:
        """Context ``(B, M, D)`` from what is seen; `noise` is added to that, in units of its scales."""
        x = self.encoder(seen, noise)
        for layer in self.layers:
            x = layer(x)
        context: Tensor = self.layers_norm(x)
        return context

    def flow(
        self, context: Tensor, point: Tensor, actions: Tensor, future: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Which way the truth lies, for scaled actions ``(B, K, A)`` and futures ``(B, H, F)``.

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
        way = self.action_out(x[:, :own]).unflatten(2, (s.patch, -1)).flatten(1, 2)
        return way, None if future is None else self.future_out(x[:, own:])

    def loss(
        self, seen: Mapping[str, Tensor], actions: Tensor, future: Tensor, noise: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Mean squared errors of the flow of actions and of the future, at points drawn at random.

        Args:
            seen: what is observed, by name.
            actions: ``(B, K, A)`` that followed, in units.
            future: ``(B, H, F)`` what was then seen, in units.
            noise: added to what is seen.
        """
        context = self.look(seen, noise)
        point = torch.sigmoid(torch.randn(len(actions), device=actions.device))
        at = point[:, None, None]
        truth = self.action_scaler(actions)
        start = torch.randn_like(truth)
        if not self.settings.horizons:
            way, _ = self.flow(context, point, torch.lerp(start, truth, at))
            return (way - (truth - start)).square().mean(), torch.zeros(())
        coming = self.future_scaler(future)
        begin = torch.randn_like(coming)
        way, ahead = self.flow(context, point, torch.lerp(start, truth, at), torch.lerp(begin, coming, at))
        assert ahead is not None
        return (way - (truth - start)).square().mean(), (ahead - (coming - begin)).square().mean()

    def act(self, seen: Mapping[str, Tensor], noise: Tensor, steps: int = 6) -> Tensor:
        """A chunk of actions ``(B, K, A)``, in units, from noise ``(B, K, A)`` in `steps` steps along the flow."""
        context, actions = self.look(seen), noise
        for number in range(steps):
            point = torch.full((len(noise),), number / steps, device=noise.device)
            actions = actions + self.flow(context, point, actions)[0] / steps
        return self.action_scaler.back(actions)

    def dream(self, seen: Mapping[str, Tensor], actions: Tensor, noise: Tensor, steps: int = 6) -> Tensor:
        """What will be seen ``(B, H, F)``, in units, if `actions` ``(B, K, A)`` are done; `noise` ``(B, H, F)``."""
        context, future, done = self.look(seen), noise, self.action_scaler(actions)
        for number in range(steps):
            point = torch.full((len(noise),), number / steps, device=noise.device)
            # The actions are known: all along, they are where they will be.
            way = self.flow(context, point, torch.lerp(torch.zeros_like(done), done, number / steps), future)[1]
            assert way is not None
            future = future + way / steps
        return self.future_scaler.back(future)
