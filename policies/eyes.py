"""Eyes: where the things of a task are, from pictures.

Each camera has a small network of its own. For every place of its picture it says how likely a thing's middle is there
(a heat map, as in Newell, Yang & Deng, "Stacked Hourglass Networks for Human Pose Estimation", 2016), or that it is not
to be seen; and where in the cell exactly (Zhou, Wang & Krähenbühl, "Objects as Points", 2019). Geometry does the rest:
where the camera is and how it sees is known (`simulation.calibration`), so a place of the picture is a line of sight,
and where that meets the height at which the thing usually lies is a first guess of how far away it is, which the
network corrects. It says how sure it is, across and along the line of sight; what several cameras say is put together
by that, as information adds up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from policies.belief import Sight, inverse
from policies.features import STATE, image_key
from policies.hand import SHAPE, Hand, perceptron
from policies.other_views import undistorted
from policies.precision import in_float32
from policies.side_by_side import sum_of
from simulation.calibration import CALIBRATION, NUMBERS, ON_THE_HAND

SCALE_M = 0.05
"""What is said of sizes and of doubts is about this large."""
DOUBT = (-4.0, 3.0)
"""Least and most logarithm of how wrong an eye thinks it is, in units of `SCALE_M`."""
NEAREST_M, FARTHEST_M = 0.02, 3.0
GROUPS = 4
"""Of channels that are normalised together (Wu & He, "Group Normalization", 2018)."""


class Camera(NamedTuple):
    """Where a camera is and how it sees, of B observations.

    Attributes:
        place: its pose in the base frame, as that of a hand.
        focal, lens: ``(B,)`` (`simulation.calibration`).
    """

    place: Hand
    focal: Tensor
    lens: Tensor

    @staticmethod
    @in_float32
    def told(known: Tensor, carrier: Hand | None) -> Camera:
        """From what is known of it ``(B, NUMBERS)``; it stands still, or is fixed to a hand."""
        x, y = known[:, 3:6], known[:, 6:9]
        position, rotation = known[:, :3], torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)
        if carrier is not None:
            position = carrier.position + (carrier.rotation @ position[..., None])[..., 0]
            rotation = carrier.rotation @ rotation
        return Camera(Hand(position, rotation), known[:, 9], known[:, 10])

    @in_float32
    def rays(self, where: Tensor) -> Tensor:
        """Lines of sight ``(B, T, 3)``, base frame, 1 along the optical axis (`simulation.optics.Optics.rays`).

        Args:
            where: ``(B, T, 2)`` places of a picture as wide as high.
        """
        across = undistorted(where, self.lens) / self.focal[:, None, None]
        ray = torch.cat([across, torch.ones_like(across[..., :1])], dim=-1)
        return (self.place.rotation[:, None] @ ray[..., None])[..., 0]


class Look(NamedTuple):
    """What one camera says of T things, base frame.

    Attributes:
        heat: ``(B, T, G·G + 1)`` logits over places, row by row, and that the thing is not to be seen.
        where: ``(B, T, 2)`` place in the picture, to the right and down, −1 … 1.
        middle: ``(B, T, 3)`` metres.
        along: ``(B, T, 3)`` direction of the line of sight, of length 1.
        shape: ``(B, T, SHAPE)`` (`hand.Hand.things`).
        doubt: ``(B, T, 2)`` logarithm of how wrong it thinks `middle` is across and along the line of sight, in units
            of `SCALE_M`.
    """

    heat: Tensor
    where: Tensor
    middle: Tensor
    along: Tensor
    shape: Tensor
    doubt: Tensor

    @in_float32
    def information(self) -> Tensor:
        """``(B, T, 3, 3)`` inverse of the covariance of `middle`."""
        across, along = torch.exp(-2.0 * self.doubt).unbind(dim=-1)
        ray = self.along[..., :, None] * self.along[..., None, :]
        sure = across[..., None, None] * (torch.eye(3, device=ray.device) - ray) + along[..., None, None] * ray
        return sure / SCALE_M**2


class Found(NamedTuple):
    """Where things are in a picture.

    Attributes:
        heat, where: as in `Look`.
        what: ``(B, T, C)`` what is there.
    """

    heat: Tensor
    where: Tensor
    what: Tensor


class Finder(nn.Module):
    """Finds things in a picture, or in what else is spread out like one."""

    def __init__(self, channels: int, things: int, width: int, strides: tuple[int, int] = (2, 2)) -> None:
        """One that has learnt nothing, for so many things.

        Args:
            channels: of the picture.
            things: that it is to find.
            width: of its first layer.
            strides: of the first two layers; a place is as many pixels wide as both come to.
        """
        super().__init__()
        c, (first, second) = width, strides
        self.things = things
        self.fine = nn.Sequential(
            *_layer(channels, c, 5, first), *_layer(c, 2 * c, 3, second), *_layer(2 * c, 2 * c, 3, 1)
        )
        self.middling = nn.Sequential(*_layer(2 * c, 3 * c, 3, 2), *_layer(3 * c, 3 * c, 3, 1))
        self.coarse = nn.Sequential(*_layer(3 * c, 4 * c, 3, 2), *_layer(4 * c, 4 * c, 3, 1))
        self.from_fine, self.from_middling = nn.Conv2d(2 * c, 2 * c, 1), nn.Conv2d(3 * c, 2 * c, 1)
        self.from_coarse = nn.Conv2d(4 * c, 2 * c, 1)
        self.mixed = nn.Sequential(*_layer(2 * c, 2 * c, 3, 1))
        self.heat, self.beside = nn.Conv2d(2 * c, things, 1), nn.Conv2d(2 * c, 2 * things, 1)
        self.unseen = nn.Linear(4 * c, things)

    def find(self, x: Tensor) -> Found:
        """Where the things are in ``(B, C, H, W)``, as wide as high."""
        fine = self.fine(x.contiguous(memory_format=torch.channels_last))
        middling = self.middling(fine)
        coarse = self.coarse(middling)
        both = self.from_middling(middling) + _as_large(self.from_coarse(coarse), middling)
        both = self.mixed(torch.relu(self.from_fine(fine) + _as_large(both, fine)))
        unseen = self.unseen(coarse.mean(dim=(2, 3)))[:, :, None]
        heat = torch.cat([self.heat(both).flatten(2), unseen], dim=2)
        rows, columns = int(fine.shape[-2]), int(fine.shape[-1])  # numbers, also where it is traced for ONNX
        # Squared: what is little likely but far away counts for nothing.
        share = (2.0 * heat[:, :, :-1]).softmax(dim=-1)
        beside = torch.tanh(self.beside(both).flatten(2).unflatten(1, (self.things, 2)).mT) * (2.0 / rows)
        where = (share[..., None] * (places(rows, columns, heat) + beside)).sum(dim=2)
        return Found(heat, where, share @ both.flatten(2).mT)


def surely(heat: Tensor) -> Tensor:
    """``(B, T, 1)`` how surely things are seen, 0 … 1, by the `heat` of a `Look`."""
    return 1.0 - heat.softmax(dim=-1)[:, :, -1:]


def misplaced(heat: Tensor, where: Tensor, told: Tensor, inside: Tensor) -> Tensor:
    """How wrong it is where things are in a picture.

    Args:
        heat: as in `Look`.
        where: as in `Look`.
        told: ``(B, T, 2)`` where they are.
        inside: ``(B, T)`` whether they are to be seen.
    """
    side = round((heat.shape[-1] - 1) ** 0.5)
    near = -(told[..., None, :] - places(side, side, heat)).square().sum(dim=-1) * (side * side / 2.0)
    wanted = torch.cat([near.softmax(dim=-1) * inside[..., None], (~inside).float()[..., None]], dim=-1)
    wrong = -(wanted * heat.log_softmax(dim=-1)).sum(dim=-1).mean()
    cells = (where - told).abs().sum(dim=-1) * (side / 2.0)
    total: Tensor = wrong + 0.5 * (cells.clamp_max(6.0) * inside).mean()
    return total


class Eye(Finder):
    """One camera's network."""

    def __init__(self, things: int, width: int) -> None:
        """An eye for so many things that has learnt nothing."""
        super().__init__(3, things, width)
        c = width
        self.said = nn.ModuleList(perceptron(2 + 1 + 2 * c + 2 + 9, 2 * c, 1 + SHAPE + 2) for _ in range(things))
        for one in self.said:  # at first, all lies where the line of sight meets its height
            for weight in list(one.parameters())[-2:]:
                nn.init.zeros_(weight)

    def forward(self, picture: Tensor, camera: Camera, state: Tensor, hand: Hand, heights: Tensor) -> Look:
        """What it says of a picture.

        Args:
            picture: ``(B, H, W, 3)`` of 0 … 255, as wide as high.
            camera: that took it.
            state: ``(B, J + 1)`` of the robot then.
            hand: then.
            heights: ``(T,)`` at which the things usually lie, metres, base frame.
        """
        x = (picture.permute(0, 3, 1, 2).float() / 255.0 - 0.5) * 4.0
        heat, where, what = self.find(x)
        shown = surely(heat)
        ray = camera.rays(where)
        falls = ray[..., 2]
        far = (heights - camera.place.position[:, 2:]) / torch.where(falls.abs() < 1e-3, falls - 2e-3, falls)
        far = torch.where((far < NEAREST_M) | (far > FARTHEST_M), torch.full_like(far, FARTHEST_M), far)
        uprights = [part for at in (camera.place, hand) for part in (at.position[:, 2:], at.rotation[:, 2])]
        own = torch.cat([*uprights, state[:, -1:]], dim=1)
        told = torch.cat([where, shown, what, far[..., None], far.log()[..., None]], dim=-1)
        said = [one(torch.cat([told[:, number], own], dim=1)) for number, one in enumerate(self.said)]
        rows_said = torch.stack(said, dim=1).float()
        depth = far * torch.exp(rows_said[..., 0].clamp(-4.0, 2.0))
        middle = camera.place.position[:, None] + ray * depth[..., None]
        along = ray / ray.norm(dim=-1, keepdim=True)
        shape = camera.place.back().shapes(SCALE_M * rows_said[..., 1 : 1 + SHAPE])
        return Look(heat, where, middle, along, shape, rows_said[..., 1 + SHAPE :].clamp(*DOUBT))


class Eyes(nn.Module):
    """All cameras of a robot."""

    usual: Tensor

    def __init__(self, cameras: Sequence[str], things: int, width: int = 16) -> None:
        """Eyes for so many things that have learnt nothing."""
        super().__init__()
        self.cameras, self.things = tuple(cameras), things
        self.eyes = nn.ModuleDict({name: Eye(things, width) for name in cameras})
        self.register_buffer("usual", torch.zeros(things, 3))

    def look(self, seen: Mapping[str, Tensor], hand: Hand) -> dict[str, Look]:
        """What each camera says."""
        return {name: look() for name, look in self._looks(seen, hand).items()}

    def _looks(self, seen: Mapping[str, Tensor], hand: Hand) -> dict[str, Callable[[], Look]]:
        """For each camera what says it."""
        state, found = seen[STATE][:, -1], dict[str, Callable[[], Look]]()
        known = seen[CALIBRATION].split(NUMBERS, dim=1)
        for (name, eye), row in zip(self.eyes.items(), known, strict=True):
            camera = Camera.told(row, hand if name in ON_THE_HAND else None)
            found[name] = partial(eye, seen[image_key(name)], camera, state, hand, self.usual[:, 2])
        return found

    def forward(self, seen: Mapping[str, Tensor], hand: Hand) -> tuple[Sight, Tensor]:
        """What all of them say together, and how surely each sees the things ``(B, T, cameras)``."""
        looks = list(self.look(seen, hand).values())
        sure = [look.information() for look in looks]
        pull = [(one @ look.middle[..., None])[..., 0] for one, look in zip(sure, looks, strict=True)]
        total = torch.stack(sure).sum(dim=0)
        middle = (inverse(total) @ torch.stack(pull).sum(dim=0)[..., None])[..., 0]
        share = torch.stack([-2.0 * look.doubt[..., 0] for look in looks]).softmax(dim=0)[..., None]
        shape = (share * torch.stack([look.shape for look in looks])).sum(dim=0)
        return Sight(middle, total, shape), torch.cat([surely(look.heat) for look in looks], dim=-1)

    def fit(self, around: Tensor) -> None:
        """Take over where things usually are, from surroundings ``(N, n)`` (`simulation.privileged`)."""
        things = at_base(around).things(around)
        self.usual.copy_(torch.stack([middle.median(dim=0).values for middle, _ in things]))

    def loss(self, seen: Mapping[str, Tensor], hand: Hand, around: Tensor, points: Tensor) -> Tensor:
        """How wrong the cameras are.

        Args:
            seen: pictures, states and what is known of the cameras.
            hand: then.
            around: ``(B, n)`` where things are (`simulation.privileged`).
            points: ``(B, cameras · T · 3)`` where they are in the pictures (`simulation.filming.Take.image_points`).
        """
        things = at_base(around).things(around)
        middle = torch.stack([middle for middle, _ in things], dim=1)
        shape = torch.stack([shape for _, shape in things if shape is not None], dim=1)
        looks = self._looks(seen, hand)
        told = points.unflatten(1, (len(looks), self.things, 3)).unbind(1)
        wrong = [partial(_wrong, look, at, middle, shape) for look, at in zip(looks.values(), told, strict=True)]
        weights = [list(eye.parameters()) for eye in self.eyes.values()]
        return sum_of(list(zip(wrong, weights, strict=True)), around.device)


def _wrong(looks: Callable[[], Look], told: Tensor, middle: Tensor, shape: Tensor) -> Tensor:
    """How wrong one camera is.

    Args:
        looks: says what it sees.
        told: ``(B, T, 3)`` where things are in its picture.
        middle: ``(B, T, 3)`` where they are.
        shape: ``(B, T, SHAPE)`` of those that have one.
    """
    look = looks()
    inside = (told[..., :2].abs().amax(dim=-1) < 1.0) & (told[..., 2] > 0.0)
    total = misplaced(look.heat, look.where, told[..., :2], inside)
    # Laplace's distribution in two dimensions across the line of sight, and in one along it.
    off = middle - look.middle
    along = (off * look.along).sum(dim=-1)
    across = (off - along[..., None] * look.along).norm(dim=-1)
    wrong = torch.stack([across, along.abs()], dim=-1) / SCALE_M * torch.exp(-look.doubt)
    total = total + 0.5 * (wrong.sum(dim=-1) + 2.0 * look.doubt[..., 0] + look.doubt[..., 1]).mean()
    size = (look.shape[:, : shape.shape[1]] - shape).abs().sum(dim=-1) / SCALE_M
    return total + (size * inside[:, : shape.shape[1]]).mean()


def places(rows: int, columns: int, like: Tensor) -> Tensor:
    """``(rows · columns, 2)`` middles of a picture's places: to the right and down, −1 … 1."""
    down, right = torch.meshgrid(
        *((torch.arange(n, device=like.device) + 0.5) / (n / 2) - 1.0 for n in (rows, columns)), indexing="ij"
    )
    return torch.stack([right, down], dim=-1).flatten(0, 1)


def _layer(channels: int, out: int, size: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, size, stride, size // 2, bias=False), nn.GroupNorm(GROUPS, out), nn.ReLU()


def _as_large(x: Tensor, like: Tensor) -> Tensor:
    """``(B, C, h, w)`` as high and wide as `like`."""
    return nn.functional.interpolate(x, size=(int(like.shape[-2]), int(like.shape[-1])))


def at_base(like: Tensor) -> Hand:
    """The robot's base as if it were a hand: from there, all is seen in the base frame."""
    return Hand(torch.zeros(1, 3, device=like.device), torch.eye(3, device=like.device)[None])
