"""What tests of training need: a toy world, and a small network for it."""

from __future__ import annotations

import torch
from torch import Tensor

from policies.features import STATE
from policies.model import ModelSettings, WorldActionModel
from policies.windows import POSE, Windows
from simulation.privileged import BOX, COLUMN

SMALL = ModelSettings(width=32, heads=2, encoder_layers=1, decoder_layers=2, chunk=4, patch=2, horizons=(2, 4))
STATES, AROUND = 3, 2 * BOX


def toy_windows(count: int = 400) -> Windows:
    """An arm that is told to go where the first thing is, and a world in which it gets there and all else stays."""
    rng = torch.Generator().manual_seed(0)
    states = torch.randn(count, 1, STATES, generator=rng).repeat(1, 2, 1)
    around = torch.randn(count, AROUND, generator=rng)
    axes = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.5]).repeat(count, 1)
    told = torch.cat([around[:, :3], axes], dim=1)
    actions = told[:, None].repeat(1, SMALL.chunk, 1)
    future = torch.cat([told, around], dim=1)[:, None].repeat(1, 2, 1)
    return Windows({STATE: states, COLUMN: around}, actions, future)


def small_model(windows: Windows, settings: ModelSettings = SMALL) -> WorldActionModel:
    """The same every time, with the scales of `windows`."""
    torch.manual_seed(0)
    model = WorldActionModel(settings, "state", STATES, AROUND)
    model.fit(windows)
    return model


class Certain(WorldActionModel):
    """A network whose loss draws nothing: the same for the same rows, whoever computes it."""

    def loss(self, windows: Windows, stray_rad: float = 0.0) -> tuple[Tensor, Tensor]:
        """How far what is likeliest is from what was done, squared: smooth, so that rounding does not grow."""
        chunk = self.act(windows.seen, torch.zeros(len(windows), SMALL.chunk, POSE), 1)
        return (chunk - windows.actions).square().mean(), torch.zeros(())


def certain_model(windows: Windows) -> Certain:
    """Likewise."""
    torch.manual_seed(0)
    model = Certain(SMALL, "state", STATES, AROUND)
    model.fit(windows)
    return model
