"""Eyes: where the things of a task are, from pictures.

Each camera has a small network of its own that says, for every place of its picture, how likely a thing's middle is
there (a heat map, as in Newell, Yang & Deng, "Stacked Hourglass Networks for Human Pose Estimation", 2016), or that it
is not to be seen. What the picture looks like there, and where that is, then says where in space: from the robot's base
for a camera that stands still, from the hand for one on the wrist. Of what several cameras say the surer counts more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from policies.features import STATE, image_key
from policies.hand import Hand, perceptron

GLANCE = "glance"
"""Name of what `Eyes` say, among what is seen."""
GLANCE_SIZE = 10
"""Middle (3), extent (6) and doubt of a thing; then how surely each camera sees it."""
ON_THE_HAND = ("wrist",)
"""Cameras that move with the hand."""
CELL = 4
"""A place of a heat map is so many pixels wide."""
SCALE_M = 0.1
"""What is said of places is about this large."""
SURENESS = (-6.0, 2.0)
"""Least and most logarithm of how wrong an eye thinks it is, in units of `SCALE_M`."""


class Look(NamedTuple):
    """What one camera says of T things.

    Attributes:
        heat: ``(B, T, G·G + 1)`` logits over places, row by row, and that the thing is not to be seen.
        middle: ``(B, T, 3)`` metres, seen from the hand.
        extent: ``(B, T, 6)`` likewise (`hand.Hand.things`).
        doubt: ``(B, T)`` logarithm of how wrong it thinks `middle` is, in units of `SCALE_M`.
    """

    heat: Tensor
    middle: Tensor
    extent: Tensor
    doubt: Tensor


class Eye(nn.Module):
    """One camera's network."""

    usual: Tensor

    def __init__(self, things: int, width: int, *, on_hand: bool) -> None:
        """An eye for so many things that has learnt nothing."""
        super().__init__()
        self.on_hand, c = on_hand, width
        self.fine = nn.Sequential(
            *(nn.Conv2d(3, c, 5, 2, 2), nn.ReLU()),
            *(nn.Conv2d(c, 2 * c, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(2 * c, 2 * c, 3, 1, 1), nn.ReLU()),
        )
        self.coarse = nn.Sequential(
            *(nn.Conv2d(2 * c, 3 * c, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(3 * c, 3 * c, 3, 1, 1), nn.ReLU()),
        )
        self.from_fine, self.from_coarse = nn.Conv2d(2 * c, 2 * c, 1), nn.Conv2d(3 * c, 2 * c, 1)
        self.heat, self.unseen = nn.Conv2d(2 * c, things, 1), nn.Linear(3 * c, things)
        told, said = 2 + 1 + 2 * c + 5, 3 + 6 + 1
        self.place = nn.ModuleList(perceptron(told, 2 * c, said) for _ in range(things))
        # Most of where a thing is follows from where it is in the picture in a straight line: that is learnt at once.
        self.straight = nn.ModuleList(nn.Linear(told, said) for _ in range(things))
        self.register_buffer("usual", torch.zeros(things, 3))

    def forward(self, picture: Tensor, state: Tensor, hand: Hand) -> Look:
        """What it says of a picture ``(B, H, W, 3)`` of 0 … 255 and the robot's state ``(B, J + 1)`` then."""
        x = (picture.permute(0, 3, 1, 2).float() / 255.0 - 0.5) * 4.0
        fine = self.fine(x.contiguous(memory_format=torch.channels_last))
        coarse = self.coarse(fine)
        size = (int(fine.shape[-2]), int(fine.shape[-1]))  # numbers, also where it is traced for ONNX
        both = torch.relu(self.from_fine(fine) + nn.functional.interpolate(self.from_coarse(coarse), size=size))
        heat = torch.cat([self.heat(both).flatten(2), self.unseen(coarse.mean(dim=(2, 3)))[:, :, None]], dim=2)
        share = heat[:, :, :-1].softmax(dim=-1)
        where, what = share @ places(size[0], size[1], heat), share @ both.flatten(2).mT
        shown = heat.softmax(dim=-1)[:, :, -1:]
        own = torch.cat([hand.position[:, 2:], hand.rotation[:, 2], state[:, -1:]], dim=1)
        rows = []
        for number, (place, straight) in enumerate(zip(self.place, self.straight, strict=True)):
            told = torch.cat([where[:, number], shown[:, number], what[:, number], own], dim=1)
            rows.append(place(told) + straight(told))
        said = torch.stack(rows, dim=1)
        middle, extent = self.usual + SCALE_M * said[..., :3], SCALE_M * said[..., 3:9]
        if not self.on_hand:
            middle, extent = hand.points(middle), hand.extents(extent)
        return Look(heat, middle, extent, said[..., 9].clamp(*SURENESS))


class Eyes(nn.Module):
    """All cameras of a robot."""

    def __init__(self, cameras: Sequence[str], things: int, width: int = 16) -> None:
        """Eyes for so many things that have learnt nothing."""
        super().__init__()
        self.cameras, self.things = tuple(cameras), things
        self.eyes = nn.ModuleDict({name: Eye(things, width, on_hand=name in ON_THE_HAND) for name in cameras})

    def looks(self, seen: Mapping[str, Tensor], hand: Hand) -> dict[str, Look]:
        """What each camera says."""
        state = seen[STATE][:, -1]
        return {name: eye(seen[image_key(name)], state, hand) for name, eye in self.eyes.items()}

    def forward(self, seen: Mapping[str, Tensor], hand: Hand) -> Tensor:
        """Where things seem to be ``(B, T, GLANCE_SIZE + cameras)``, base frame."""
        looks = list(self.looks(seen, hand).values())
        doubt = torch.stack([look.doubt for look in looks])
        share = (-2.0 * doubt).softmax(dim=0)[..., None]
        middle = (share * torch.stack([look.middle for look in looks])).sum(dim=0)
        extent = (share * torch.stack([look.extent for look in looks])).sum(dim=0)
        shown = [1.0 - look.heat.softmax(dim=-1)[:, :, -1:] for look in looks]
        back = hand.back()
        return torch.cat([back.points(middle), back.extents(extent), doubt.amin(dim=0)[..., None], *shown], dim=-1)

    def fit(self, hand: Hand, around: Tensor) -> None:
        """Take over where things usually are, from surroundings ``(N, n)`` (`simulation.privileged`)."""
        base = Hand(torch.zeros(1, 3), torch.eye(3)[None])
        for eye in self.eyes.values():
            assert isinstance(eye, Eye)
            where = hand if eye.on_hand else base
            eye.usual.copy_(torch.stack([middle.median(dim=0).values for middle, _ in where.things(around)]))

    def loss(self, seen: Mapping[str, Tensor], hand: Hand, around: Tensor, points: Tensor) -> Tensor:
        """How wrong the cameras are.

        Args:
            seen: pictures and states.
            hand: then.
            around: ``(B, n)`` where things are (`simulation.privileged`).
            points: ``(B, cameras · T · 3)`` where they are in the pictures (`simulation.filming.Take.image_points`).
        """
        things = hand.things(around)
        middle = torch.stack([middle for middle, _ in things], dim=1)
        extent = torch.stack([extent for _, extent in things if extent is not None], dim=1)
        total = torch.zeros((), device=around.device)
        looks = self.looks(seen, hand)
        for look, told in zip(looks.values(), points.unflatten(1, (len(looks), self.things, 3)).unbind(1), strict=True):
            side = round((look.heat.shape[-1] - 1) ** 0.5)
            grid = places(side, side, look.heat)
            inside = (told[..., :2].abs().amax(dim=-1) < 1.0) & (told[..., 2] > 0.0)
            near = -(told[..., None, :2] - grid).square().sum(dim=-1) * (side * side / 2.0)
            wanted = torch.cat([near.softmax(dim=-1) * inside[..., None], (~inside).float()[..., None]], dim=-1)
            total = total - (wanted * look.heat.log_softmax(dim=-1)).sum(dim=-1).mean()
            off = (look.middle - middle).abs().sum(dim=-1) / SCALE_M
            total = total + (off * torch.exp(-look.doubt) + 3.0 * look.doubt).mean()
            wrong = (look.extent[:, : extent.shape[1]] - extent).abs().sum(dim=-1) / SCALE_M
            total = total + (wrong * inside[:, : extent.shape[1]]).mean()
        return total


def places(rows: int, columns: int, like: Tensor) -> Tensor:
    """``(rows · columns, 2)`` middles of a picture's places: to the right and down, −1 … 1."""
    down, right = torch.meshgrid(
        *((torch.arange(n, device=like.device) + 0.5) / (n / 2) - 1.0 for n in (rows, columns)), indexing="ij"
    )
    return torch.stack([right, down], dim=-1).flatten(0, 1)
