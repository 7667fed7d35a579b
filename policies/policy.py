"""What all policies have in common: their size, how they see, and what training, acting and exporting ask of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from policies.encoders import ENCODERS, Scaler
from policies.features import STATE
from policies.transformer import Layer
from policies.windows import POSE, Windows


@dataclass(frozen=True)
class PolicySettings:
    """How large a network is, and how far it looks."""

    width: int = 96
    """Numbers a token consists of."""
    heads: int = 4
    """Of attention."""
    encoder_layers: int = 1
    """Of what looks at the observation, once a decision."""
    decoder_layers: int = 3
    """Of what makes actions of that."""
    chunk: int = 16
    """Actions decided at a time."""
    patch: int = 16
    """Actions a token; must divide `chunk`."""
    horizons: tuple[int, ...] = ()
    """Frames ahead at which it says what will be seen; none: it only acts."""


class Policy(nn.Module):
    """Observations in, actions out; all in the units of the dataset.

    All that it is told or says of places is turned into the hand's own frame, and back, within.

    Attributes:
        kind: its name in `policies.checkpoint.POLICIES`, on the command line and in checkpoints.
        sizes: the class of its settings; as they are, those of the usual size.
        settings: its size.
        observe: what kind of observations it sees.
        encoder: what makes tokens of them.
        state, around: how many numbers those have.
    """

    kind: ClassVar[str]
    sizes: ClassVar[type[PolicySettings]]
    settings: PolicySettings

    def __init__(self, settings: PolicySettings, observe: str, state: int, around: int) -> None:
        """A network that has learnt nothing; what turns what it sees into actions is the subclasses' affair.

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
        self.action_scaler = Scaler(s.chunk, POSE)
        self.layers = nn.ModuleList(Layer(s.width, s.heads) for _ in range(s.encoder_layers))
        self.layers_norm = nn.LayerNorm(s.width)

    def fit(self, windows: Windows) -> None:
        """Take over the scales of training data."""
        self.encoder.fit(windows.seen)
        self.action_scaler.fit(self.encoder.hand(windows.seen).poses(windows.actions))

    def loss(self, windows: Windows, stray_rad: float = 0.0) -> tuple[Tensor, Tensor]:
        """How wrong it acts, and how wrong it foretells what will be seen (0 where it does not).

        Args:
            windows: what was seen, done, and seen then.
            stray_rad: the arm is taken to be that far from where it was, each joint, while all else and its targets
                stay: so it learns the way back.
        """
        raise NotImplementedError

    def act(self, seen: Mapping[str, Tensor], noise: Tensor, steps: int = 4) -> Tensor:
        """Where the tool is to be next ``(B, K, POSE)``.

        Args:
            seen: by name, what the encoder needs.
            noise: ``(B, K, POSE)``, what it draws by; zeros: what is most likely.
            steps: in which noise becomes actions, where it does so in steps.
        """
        raise NotImplementedError

    def look(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Context ``(B, M, D)`` from what is seen."""
        return self.among(self.encoder(seen))

    def among(self, tokens: Tensor) -> Tensor:
        """Context ``(B, M, D)``: tokens of that shape that have looked at each other."""
        for layer in self.layers:
            tokens = layer(tokens)
        context: Tensor = self.layers_norm(tokens)
        return context

    def strayed(self, windows: Windows, stray_rad: float) -> dict[str, Tensor]:
        """What is seen, with each joint that far from where it was."""
        states = windows.seen[STATE]
        away = stray_rad * torch.randn(len(states), 1, self.state, device=states.device)
        away[:, :, -1] = 0.0  # the gripper's opening
        return {**windows.seen, STATE: states + away}
