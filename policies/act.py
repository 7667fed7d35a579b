"""Action chunking with transformers, to compare with the world-action model (Zhao et al., "Learning Fine-Grained
Bimanual Manipulation with Low-Cost Hardware", 2023).

A conditional variational autoencoder: while it learns, an encoder sums up in a few numbers in which style a chunk was
done, as near to the standard normal as it can (Kingma & Welling, "Auto-Encoding Variational Bayes", 2014). A decoder
says the whole chunk at once from what is seen and that style. When it acts, the style is the normal's middle.

It sees, is trained and is run as the world-action model is. Unlike the paper's, its layers normalise first and drop
nothing out, and chunks that overlap are not averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from policies.policy import Policy, PolicySettings
from policies.transformer import Layer
from policies.windows import POSE, Windows


@dataclass(frozen=True)
class ChunkingSettings(PolicySettings):
    """How large the network is: about as many weights as a world-action model of the usual size."""

    encoder_layers: int = 2
    """Of what looks at the observation and the style."""
    patch: int = 1
    """Actions a token; must divide `chunk`."""
    style_layers: int = 2
    """Of what makes out the style of a chunk, in training."""
    style: int = 32
    """Numbers that a style consists of; at most as many as a chunk has."""
    divergence: float = 10.0
    """Weight of how far styles are from the standard normal, beside the actions' distance."""


class ChunkingModel(Policy):
    """Observations in, a chunk of actions out (see `Policy`)."""

    kind = "act"
    sizes = ChunkingSettings
    settings: ChunkingSettings

    def __init__(self, settings: PolicySettings, observe: str, state: int, around: int) -> None:
        """A network that has learnt nothing; as for all policies."""
        assert isinstance(settings, ChunkingSettings)
        assert not settings.horizons  # it foretells nothing
        super().__init__(settings, observe, state, around)
        s, tokens = settings, settings.chunk // settings.patch
        self.action_in, self.action_out = nn.Linear(s.patch * POSE, s.width), nn.Linear(s.width, s.patch * POSE)
        self.style_layers = nn.ModuleList(Layer(s.width, s.heads) for _ in range(s.style_layers))
        self.style_norm = nn.LayerNorm(s.width)
        self.style_out, self.style_in = nn.Linear(s.width, 2 * s.style), nn.Linear(s.style, s.width)
        self.decoder = nn.ModuleList(Layer(s.width, s.heads, decoder=True) for _ in range(s.decoder_layers))
        self.decoder_norm = nn.LayerNorm(s.width)
        self.summary = nn.Parameter(0.02 * torch.randn(1, s.width))
        self.told, self.places = (nn.Parameter(0.02 * torch.randn(tokens, s.width)) for _ in range(2))

    def style_of(self, arm: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """In which style a chunk was done: mean and logarithm of the variance, ``(B, style)`` each.

        Args:
            arm: ``(B, D)`` the encoder's token of the arm: all that the paper's tells of the observation here.
            actions: ``(B, K, POSE)`` scaled.
        """
        chunk = self.action_in(actions.unflatten(1, (-1, self.settings.patch)).flatten(2)) + self.told
        x = torch.cat([self.summary.expand(len(arm), 1, -1), arm[:, None], chunk], dim=1)
        for layer in self.style_layers:
            x = layer(x)
        mean, log_variance = self.style_out(self.style_norm(x[:, 0])).chunk(2, dim=1)
        return mean, log_variance

    def decide(self, tokens: Tensor, style: Tensor) -> Tensor:
        """Scaled actions ``(B, K, POSE)`` from the encoder's tokens ``(B, M, D)`` and a style ``(B, style)``."""
        context = self.among(torch.cat([self.style_in(style)[:, None], tokens], dim=1))
        x = self.places.expand(len(tokens), -1, -1)
        for layer in self.decoder:
            x = layer(x, context)
        chunk: Tensor = self.action_out(self.decoder_norm(x)).unflatten(2, (self.settings.patch, -1)).flatten(1, 2)
        return chunk

    def loss(self, windows: Windows, stray_rad: float = 0.0) -> tuple[Tensor, Tensor]:
        """Mean distance of actions from the truth, and the weighted divergence of styles (Kullback & Leibler, 1951)."""
        seen = self.strayed(windows, stray_rad)
        tokens = self.encoder(seen)
        truth = self.action_scaler(self.encoder.hand(seen).poses(windows.actions))
        mean, log_variance = self.style_of(tokens[:, 0], truth)
        chunk = self.decide(tokens, mean + (0.5 * log_variance).exp() * torch.randn_like(mean))
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=1).mean()
        return (chunk - truth).abs().mean() + self.settings.divergence * divergence, torch.zeros(())

    def act(self, seen: Mapping[str, Tensor], noise: Tensor, steps: int = 4) -> Tensor:
        """Where the tool is to be next ``(B, K, POSE)``, at once; the style is the first of the `noise`."""
        chunk = self.decide(self.encoder(seen), noise.flatten(1)[:, : self.settings.style])
        return self.encoder.hand(seen).poses_back(self.action_scaler.back(chunk))
