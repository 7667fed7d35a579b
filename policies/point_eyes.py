"""Eyes for clouds of points: where the things of a task are.

The table is divided into upright pillars, a small network sums up the points in each, and from above they are a picture
in which things are found as in any (Lang et al., "PointPillars: Fast Encoders for Object Detection from Point Clouds",
2019). What lies around where a thing was found is then looked at point by point, by a small network and the largest of
what it says (Qi et al., "PointNet", 2017; as policies see in Ze et al., "3D Diffusion Policy", 2024), which tells where
the thing's middle is exactly, its shape, and how sure that is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from policies.belief import Sight
from policies.eyes import DOUBT, SCALE_M, Finder, at_base, misplaced, surely
from policies.features import STATE
from policies.hand import SHAPE, Hand, perceptron
from policies.precision import in_float32
from simulation.pointcloud import CLOUD, OF_A_POINT, UNIT_M
from simulation.privileged import BOX

SIDE = 64
"""Pillars along either side of the table."""
MARGIN_M = 0.12
"""The table goes on so far beyond where the middles of things were."""
PILLAR = 32
"""Numbers that sum up a pillar."""
NEAR_M = 0.1
"""What is this far from where a thing was found, in plan, is looked at …"""
LOOKED = 64
"""… and summed up in twice so many numbers."""
FAR_M = 0.5
"""No point of a cloud is farther up or down; of nonsense, networks make no large numbers, which round coarsely."""
FINE_M = 0.03
SEEN = 4
"""A thing is to be seen where so many points lie on it, or …"""
GROWN_M = 0.006
"""… so near it."""
GAIN, LEVEL = 0.2, 0.1
"""How much stronger or weaker each colour, and lighter or darker all, is made while eyes are trained; …"""
TURN_RAD, SHIFT_M = 0.5, (0.03, 0.03, 0.005)
"""… how far all of it is turned and shifted; …"""
OFF_M, NOISE_M = 0.003, 0.0015
"""… how far off points are, all together and each on its own; …"""
LOST, NOWHERE_M = 0.4, 100.0
"""… and which share of them, at most, goes there: standard deviations, as in what comes before."""
SPOT_M = 0.04
"""A zone, which has no shape, is to be seen where as many points lie so near to its middle."""


class Points(NamedTuple):
    """Clouds of N points.

    Attributes:
        place: ``(B, N, 3)`` metres, base frame.
        color: ``(B, N, 3)`` −0.5 … 0.5.
    """

    place: Tensor
    color: Tensor

    @staticmethod
    def of(cloud: Tensor) -> Points:
        """From ``(B, n)`` of `simulation.pointcloud`."""
        rows = cloud.float().unflatten(1, (-1, OF_A_POINT))
        return Points(UNIT_M * rows[..., :3], rows[..., 3:] / 255.0 - 0.5)


class Told(NamedTuple):
    """What is said of T things, base frame.

    Attributes:
        heat, where: as in `eyes.Look`, the picture being the table from above.
        middle: ``(B, T, 3)`` metres.
        shape: ``(B, T, SHAPE)`` (`hand.Hand.things`).
        doubt: ``(B, T, 2)`` logarithm of how wrong it thinks `middle` is in plan and in height, in units of `SCALE_M`.
    """

    heat: Tensor
    where: Tensor
    middle: Tensor
    shape: Tensor
    doubt: Tensor


class PointEyes(Finder):
    """Says where things are in a cloud of points."""

    usual: Tensor
    low: Tensor
    pillar_m: Tensor

    def __init__(self, things: int, width: int = 16) -> None:
        """Eyes for so many things that have learnt nothing."""
        super().__init__(PILLAR + 1, things, width, strides=(2, 1))
        self.register_buffer("usual", torch.zeros(things, 3))
        self.register_buffer("low", torch.zeros(2))
        self.register_buffer("pillar_m", torch.ones(()))
        self.pillar = nn.Sequential(nn.Linear(2 + 2 + 3 + 4, PILLAR), nn.ReLU(), nn.Linear(PILLAR, PILLAR), nn.ReLU())
        self.point = nn.ModuleList(
            nn.Sequential(nn.Linear(3 + 3 + 3 + 4, 32), nn.ReLU(), nn.Linear(32, LOOKED), nn.ReLU())
            for _ in range(things)
        )
        own = 2 * LOOKED + 2 * width + 1 + 3 + 1 + 3 + 1
        self.said = nn.ModuleList(perceptron(own, 2 * width, 3 + SHAPE + 2) for _ in range(things))
        for one in self.said:  # at first, all lies where the picture shows it, as high as usual
            for weight in list(one.parameters())[-2:]:
                nn.init.zeros_(weight)

    def fit(self, around: Tensor) -> None:
        """Take over where things usually are, from surroundings ``(N, n)`` (`simulation.privileged`)."""
        middles = torch.stack([middle for middle, _ in at_base(around).things(around)], dim=1)
        self.usual.copy_(middles.median(dim=0).values)
        plan = middles[..., :2].flatten(0, 1)
        low, high = plan.amin(dim=0), plan.amax(dim=0)
        half = 0.5 * (high - low).amax() + MARGIN_M
        self.low.copy_(0.5 * (low + high) - half)
        self.pillar_m.copy_(2.0 * half / SIDE)

    def forward(self, seen: Mapping[str, Tensor], hand: Hand) -> tuple[Sight, Tensor]:
        """Where the things are, and how surely each is seen ``(B, T, 1)``."""
        told = self.look(Points.of(seen[CLOUD]), hand, seen[STATE][:, -1, -1:])
        plan, height = (torch.exp(-2.0 * told.doubt) / SCALE_M**2).unbind(dim=-1)
        sure = torch.stack([plan, plan, height], dim=-1)
        information = sure[..., None] * torch.eye(3, device=sure.device)
        return Sight(told.middle, information, told.shape), surely(told.heat)

    def look(self, points: Points, hand: Hand, opening: Tensor) -> Told:
        """What it says of clouds, the gripper being open by ``(B, 1)``."""
        near = hand.points(points.place) / NEAR_M
        near = torch.cat([torch.tanh(near), torch.exp(-near.square().sum(dim=-1, keepdim=True))], dim=-1)
        found = self.find(self.pillars(points, near))
        middle = torch.cat(
            [self.place(found.where.detach()), self.usual[None, :, 2:].expand_as(found.where[..., :1])], -1
        )
        own = torch.cat([hand.position[:, 2:], hand.rotation[:, 2], opening], dim=1)
        rows = []
        for number, (point, said) in enumerate(zip(self.point, self.said, strict=True)):
            off = (points.place - middle[:, None, number]).clamp(-FAR_M, FAR_M)
            share = (1.0 - off[..., :2].square().sum(dim=-1, keepdim=True) / NEAR_M**2).clamp_min(0.0)
            each = share * point(torch.cat([off / SCALE_M, torch.tanh(off / FINE_M), points.color, near], dim=-1))
            mean = each.sum(dim=1) / share.sum(dim=1).clamp_min(1.0)
            to_hand = torch.tanh(hand.points(middle[:, number]) / NEAR_M)
            shown = surely(found.heat)[:, number]
            rows.append(said(torch.cat([each.amax(dim=1), mean, found.what[:, number], shown, to_hand, own], dim=1)))
        told = torch.stack(rows, dim=1).float()
        middle, shape = middle + SCALE_M * told[..., :3], SCALE_M * told[..., 3 : 3 + SHAPE]
        return Told(found.heat, found.where, middle, shape, told[..., 3 + SHAPE :].clamp(*DOUBT))

    def pillars(self, points: Points, near: Tensor) -> Tensor:
        """The table from above ``(B, C, SIDE, SIDE)``: the mean of what is said of each point, and how many there are.

        Args:
            points: of the clouds.
            near: ``(B, N, 4)`` how they lie to the hand.
        """
        at = (points.place[..., :2] - self.low) / self.pillar_m
        cell = at.detach().floor()
        beside = ((cell < 0.0) | (cell >= SIDE)).any(dim=-1)
        number = torch.where(beside, torch.full_like(cell[..., 0], SIDE * SIDE), cell[..., 1] * SIDE + cell[..., 0])
        height = (points.place[..., 2:] - self.usual[:, 2].amin()).clamp(-FAR_M, FAR_M)
        height = torch.cat([height / NEAR_M, torch.tanh(height / FINE_M)], dim=-1)
        each = self.pillar(torch.cat([at - cell - 0.5, height, points.color, near], dim=-1)).float()
        each = torch.cat([each, torch.ones_like(each[..., :1])], dim=-1)
        table = torch.zeros(len(each), SIDE * SIDE + 1, PILLAR + 1, device=each.device)
        table = table.scatter_add(1, number.long()[..., None].expand_as(each), each)[:, :-1]
        count = table[..., -1:]
        table = torch.cat([table[..., :-1] / count.clamp_min(1.0), torch.log1p(count)], dim=-1)
        picture: Tensor = table.mT.unflatten(2, (SIDE, SIDE))
        return picture

    @property
    def middle(self) -> Tensor:
        """``(2,)`` of the table, metres."""
        return self.low + 0.5 * SIDE * self.pillar_m

    def place(self, where: Tensor) -> Tensor:
        """Metres ``(…, 2)`` for places in the picture, −1 … 1."""
        return self.low + 0.5 * SIDE * self.pillar_m * (where + 1.0)

    def loss(self, points: Points, hand: Hand, around: Tensor, opening: Tensor) -> Tensor:
        """How wrong it is.

        Args:
            points: of the clouds.
            hand: then.
            around: ``(B, n)`` where things are (`simulation.privileged`).
            opening: ``(B, 1)`` of the gripper.
        """
        things = at_base(around).things(around)
        middle = torch.stack([middle for middle, _ in things], dim=1)
        shape = torch.stack([shape for _, shape in things if shape is not None], dim=1)
        told = self.look(points, hand, opening)
        where = (middle[..., :2] - self.low) / (0.5 * SIDE * self.pillar_m) - 1.0
        inside = (where.abs().amax(dim=-1) < 1.0) & (points_on(points.place, around) >= SEEN)
        total = misplaced(told.heat, told.where, where, inside)
        # Laplace's distribution in two dimensions in plan, and in one in height.
        off = middle - told.middle
        plan, height = off[..., :2].norm(dim=-1), off[..., 2].abs()
        wrong = torch.stack([plan, height], dim=-1) / SCALE_M * torch.exp(-told.doubt)
        total = total + 0.5 * (wrong.sum(dim=-1) + 2.0 * told.doubt[..., 0] + told.doubt[..., 1]).mean()
        size = (told.shape[:, : shape.shape[1]] - shape).abs().sum(dim=-1) / SCALE_M
        return total + (size * inside[:, : shape.shape[1]]).mean()


@in_float32
def changed(points: Points, hand: Hand, around: Tensor, middle: Tensor) -> tuple[Points, Hand, Tensor]:
    """What is seen and where things are, turned about the table's middle and shifted, with fewer points that lie less
    exactly, in other light.

    Args:
        points: of the clouds.
        hand: then.
        around: ``(B, n)`` where things are.
        middle: ``(2,)`` of the table.
    """
    count, device = len(around), around.device
    angle = TURN_RAD * torch.randn(count, device=device)
    shift = torch.randn(count, 3, device=device) * torch.tensor(SHIFT_M, device=device)
    sine, cosine, zero = angle.sin(), angle.cos(), torch.zeros_like(angle)
    rows = [cosine, -sine, zero, sine, cosine, zero, zero, zero, torch.ones_like(angle)]
    turn = torch.stack(rows, dim=1).unflatten(1, (3, 3))
    about = torch.cat([middle, middle.new_zeros(1)])
    # Turned about the middle and then shifted is as seen from elsewhere.
    seat = Hand(about - (turn.mT @ (about + shift)[..., None])[..., 0], turn.mT)
    off = OFF_M * torch.randn(count, 1, 3, device=device) + NOISE_M * torch.randn_like(points.place)
    lost = torch.rand(points.place.shape[:2], device=device) < LOST * torch.rand(count, 1, device=device)
    place = torch.where(lost[..., None], torch.full_like(points.place, NOWHERE_M), seat.points(points.place) + off)
    gain = 1.0 + GAIN * torch.randn(count, 1, 3, device=device)
    color = gain * (points.color + 0.5) + LEVEL * torch.randn(count, 1, 1, device=device) - 0.5
    things = []
    for thing in around.split(BOX, dim=-1):
        vectors = thing[:, 3:].unflatten(1, (-1, 3)) if thing.shape[1] == BOX else thing.new_zeros(count, 0, 3)
        things += [seat.points(thing[:, :3]), seat.directions(vectors).flatten(1)]
    moved = Hand(seat.points(hand.position), turn @ hand.rotation)
    return Points(place, color.clamp(-0.5, 0.5)), moved, torch.cat(things, dim=1)


@in_float32
def points_on(places: Tensor, around: Tensor) -> Tensor:
    """``(B, T)`` how many of the points ``(B, N, 3)`` lie on each thing, of surroundings ``(B, n)``."""
    counts = []
    for thing in around.split(BOX, dim=-1):
        off = places - thing[:, None, :3]
        on = off.norm(dim=-1) < SPOT_M
        if thing.shape[-1] == BOX:
            edges = thing[:, 3:12].unflatten(1, (3, 3))
            length = edges.norm(dim=-1).clamp_min(1e-6)
            on = ((off @ (edges / length[..., None]).mT).abs() < length[:, None] + GROWN_M).all(dim=-1)
        counts.append(on.sum(dim=1))
    return torch.stack(counts, dim=1)
