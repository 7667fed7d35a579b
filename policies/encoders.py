"""What a policy makes of what it sees: encoders turn observations into tokens.

`ENCODERS` names them: an encoder for another kind of observation is one class and one entry there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from policies.belief import Belief, Sight, believe, memory_size
from policies.deploy.bundle import MEMORY
from policies.eyes import Eyes
from policies.features import STATE, image_key
from policies.hand import SHAPE, Arm, Hand, perceptron
from policies.other_views import other_view
from policies.point_eyes import PointEyes, Points, changed
from policies.precision import in_float32
from policies.side_by_side import each
from policies.surroundings import SIZE, surroundings
from policies.windows import TICK, Windows
from simulation.calibration import CALIBRATION, NUMBERS
from simulation.filming import CAMERAS
from simulation.pointcloud import CLOUD
from simulation.privileged import BOX, COLUMN, POINTS

GLANCE = "glance"
"""Name of what is believed of where things are, among what is seen."""
GLANCE_SIZE = 3 + SHAPE + 1
"""Middle, shape and doubt of a thing; then how surely each camera sees it, or the cloud shows it."""
AROUND = "around"
"""Name of the maps of what stands around the hand and the things, among what is seen."""
NEAR_M = (0.1, 0.03, 0.01)
"""Distances are told on these scales too: where fingers close, millimetres count."""

GAIN, LEVEL = 0.2, 0.1
"""How much stronger or weaker each colour, and lighter or darker all, is made while eyes are trained …"""
CHANCE = 3 + 1 + 4
"""Numbers that are drawn for a picture: gains, level, and where the camera looks."""
GREY = 127.5
"""What a camera that looks elsewhere did not see."""
CALIBRATED = (0.003, 0.004, 0.005)
"""… and how far off what they are told of the cameras: position (m), direction (rad), focal length (share)."""


class Scaler(nn.Module):
    """Makes values about one in size, by mean and standard deviation; goes where the network goes, into checkpoints."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, *shape: int) -> None:
        """Change nothing, until `fit`."""
        super().__init__()
        self.register_buffer("mean", torch.zeros(shape))
        self.register_buffer("deviation", torch.ones(shape))

    def fit(self, values: Tensor, least: float = 1e-3) -> None:
        """Take over the scale of values ``(N, …)``; what hardly varies is not blown up."""
        self.mean.copy_(values.mean(dim=0))
        self.deviation.copy_(values.std(dim=0).clamp_min(least))

    def forward(self, values: Tensor) -> Tensor:
        """Values made about one in size."""
        return (values - self.mean) / self.deviation

    def back(self, values: Tensor) -> Tensor:
        """What `forward` made, in units again."""
        return values * self.deviation + self.mean


class Encoder(nn.Module):
    """Tokens of the arm, of each thing that the task is about, and of how the second lies to the first.

    Of its own motion it is told only how the gripper opens and closes (de Haan, Jayaraman & Levine, "Causal Confusion
    in Imitation Learning", 2019: who sees more may act worse).

    All is told as it is seen from the hand; what is told of a thing, and how it is known, is the subclasses' affair.
    """

    scalers: nn.ModuleList
    readers: nn.ModuleList
    sensors: ClassVar[tuple[str, ...]] = ()
    """Cameras that must see for it …"""
    cameras: ClassVar[tuple[str, ...]] = ()
    """… and of those, those whose pictures it learns from."""
    columns: ClassVar[tuple[str, ...]] = ()
    """Of a dataset, that it learns from beside its pictures and `COLUMN`."""

    def __init__(self, state: int, around: int, width: int) -> None:
        """An encoder for states of `state` numbers, the gripper's last, and surroundings of `around` numbers."""
        super().__init__()
        self.state, self.around, self.width = state, around, width
        self.arm = Arm(state - 1)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of all that it must be told to act."""
        return STATE, COLUMN

    def hand(self, seen: Mapping[str, Tensor]) -> Hand:
        """Where the tool is now."""
        return Hand(*self.arm(seen[STATE][:, 1, :-1]))

    def things(self, seen: Mapping[str, Tensor], hand: Hand) -> list[tuple[Tensor, list[Tensor]]]:
        """For each thing its middle ``(B, 3)``, and more ``(B, n)`` that is known of it, seen from the hand."""
        raise NotImplementedError

    @in_float32
    def vectors(self, seen: Mapping[str, Tensor]) -> list[Tensor]:
        """``(B, n)`` for each token.

        Args:
            seen: states ``(B, 2, J + 1)``, one tick ago and now, and what the subclass needs.
        """
        states, hand = seen[STATE], self.hand(seen)
        reach = torch.stack([hand.position[:, 2], hand.position[:, :2].norm(dim=1)], dim=1)
        # The first joint turns all of it about the upright: that changes nothing. How fast it moves is not told: as in
        # demonstrations that says best how it goes on, who is told learns to go on as he does, not what for.
        own = [reach, hand.rotation[:, 2], states[:, 1, 1:-1], states[:, :, -1]]
        found = [torch.cat(own, dim=1)]
        middles: list[Tensor] = []
        for middle, more in self.things(seen, hand):
            found.append(torch.cat([_near(middle), *more], dim=1))
            middles.append(middle)
        if len(middles) > 1:
            found.append(_near(middles[1] - middles[0]))
        return found

    def learn_to_see(self, windows: Windows) -> Tensor:
        """How wrong it is about where things are; only for those with `sensors`."""
        raise NotImplementedError

    def remembers(self) -> int:
        """Numbers that it keeps from one decision to the next, in ``seen[MEMORY]``; zeros before the first."""
        return 0

    def made_out(self, seen: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Tensor]:
        """What is seen, made out as far as that takes no part in learning to act, and what to remember ``(B, n)``."""
        return seen, seen[STATE].new_zeros(len(seen[STATE]), 0)

    def seen_once(self, windows: Windows, every: int) -> Windows:
        """Windows of whole episodes, or `Windows.each` of them, made out; who acts looks at one frame of `every`."""
        return windows

    def make_readers(self, seen: Mapping[str, Tensor]) -> None:
        """Get ready for vectors of the sizes that come of an example."""
        sizes = [vector.shape[1] for vector in self.vectors(seen)]
        self.scalers = nn.ModuleList(Scaler(size) for size in sizes)
        self.readers = nn.ModuleList(perceptron(size, self.width) for size in sizes)

    def fit(self, seen: Mapping[str, Tensor]) -> None:
        """Take over the scales of training data."""
        for scaler, vector in zip(self.scalers, self.vectors(seen), strict=True):
            assert isinstance(scaler, Scaler)
            scaler.fit(vector)

    def forward(self, seen: Mapping[str, Tensor]) -> Tensor:
        """Tokens ``(B, M, D)``."""
        readers = zip(self.scalers, self.readers, self.vectors(seen), strict=True)
        return torch.stack([reader(scaler(vector)) for scaler, reader, vector in readers], dim=1)


class StateEncoder(Encoder):
    """Knows where everything is: the boxes about the things of the task, as only a simulation does."""

    def __init__(self, state: int, around: int, width: int) -> None:
        """As for all encoders."""
        super().__init__(state, around, width)
        self.make_readers({STATE: torch.zeros(1, 2, state), COLUMN: torch.zeros(1, around)})

    def things(self, seen: Mapping[str, Tensor], hand: Hand) -> list[tuple[Tensor, list[Tensor]]]:
        """Their shapes."""
        found = hand.things(seen[COLUMN])
        return [(middle, [] if shape is None else [shape]) for middle, shape in found]


class SeeingEncoder(Encoder):
    """Makes out where the things of the task are, in what cameras see.

    Its eyes are trained first (`train.LoopSettings.part`); from then on what is believed after what they say is kept in
    ``seen[GLANCE]``, so that the rest need not look again.
    """

    eyes: Eyes | PointEyes
    at_once: ClassVar[int]
    """Frames that are looked at together."""

    def fit(self, seen: Mapping[str, Tensor]) -> None:
        """Take over where things usually are, and once the eyes can see, the scales of what they say."""
        if GLANCE in seen:
            super().fit(seen)
        else:
            self.eyes.fit(seen[COLUMN])

    def things(self, seen: Mapping[str, Tensor], hand: Hand) -> list[tuple[Tensor, list[Tensor]]]:
        """Where they seem to be, and how sure that is."""
        glance = seen[GLANCE]
        middles, shapes, rest = glance.split((3, SHAPE, glance.shape[2] - 3 - SHAPE), dim=-1)
        middles, shapes = hand.points(middles), hand.shapes(shapes)
        return [(middles[:, number], [shapes[:, number], rest[:, number]]) for number in range(glance.shape[1])]

    def remembers(self) -> int:
        """See `Encoder.remembers`."""
        return memory_size(self.eyes.things)

    def made_out(self, seen: Mapping[str, Tensor]) -> tuple[Mapping[str, Tensor], Tensor]:
        """See `Encoder.made_out`."""
        hand = self.hand(seen)
        sight, shown = self.eyes(seen, hand)
        belief = self._believe(sight, seen[MEMORY], hand, seen[STATE])
        glance = _glance(belief, shown)
        return {STATE: seen[STATE], GLANCE: glance, **self.beside(seen, hand, glance)}, belief.memory

    def beside(self, seen: Mapping[str, Tensor], hand: Hand, glance: Tensor) -> dict[str, Tensor]:
        """What else is to be kept of what is seen, once it is believed where things are."""
        return {}

    def _believe(self, sight: Sight, memory: Tensor, hand: Hand, states: Tensor) -> Belief:
        return believe(sight, memory, hand, states[:, -1, -1], self.eyes.usual)

    @torch.no_grad()
    def seen_once(self, windows: Windows, every: int) -> Windows:
        """The windows with what is believed in place of what the cameras see."""
        states, ticks = windows.seen[STATE], windows.seen[TICK]
        hand, said = self.hand(windows.seen), []
        portions = [slice(row, row + self.at_once) for row in range(0, len(windows), self.at_once)]
        for rows in portions:
            part = {name: values[rows] for name, values in windows.seen.items()}
            sight, shown = self.eyes(part, self.hand(part))
            said.append((*sight, shown))
        *parts, shown = (torch.cat(column) for column in zip(*said, strict=True))
        sight = Sight(*parts)
        memory = states.new_zeros(len(windows), self.remembers())
        glance = states.new_zeros(*shown.shape[:2], GLANCE_SIZE + shown.shape[2])
        apart = 1 if not (ticks % every).any() else every
        for look in range(int(ticks.max()) // every + 1):
            chosen = torch.nonzero(ticks // every == look)[:, 0]
            before = memory[chosen - apart] if look else memory[chosen]
            at = Hand(hand.position[chosen], hand.rotation[chosen])
            belief = self._believe(Sight(*(part[chosen] for part in sight)), before, at, states[chosen])
            memory[chosen], glance[chosen] = belief.memory, _glance(belief, shown[chosen])
        more = list[dict[str, Tensor]]()
        for rows in portions:
            part = {name: values[rows] for name, values in windows.seen.items()}
            more.append(self.beside(part, self.hand(part), glance[rows]))
        beside = {name: torch.cat([part[name] for part in more]) for name in more[0]}
        kept = {name: windows.seen[name] for name in (STATE, COLUMN)}
        return Windows({**kept, GLANCE: glance, **beside}, windows.actions, windows.future)


class RgbEncoder(SeeingEncoder):
    """Sees pictures."""

    sensors = cameras = CAMERAS
    columns = (POINTS, CALIBRATION)
    at_once = 256
    eyes: Eyes

    def __init__(self, state: int, around: int, width: int) -> None:
        """As for all encoders."""
        super().__init__(state, around, width)
        things = math.ceil(around / BOX)
        self.eyes = Eyes(self.cameras, things)
        glance = torch.zeros(1, things, GLANCE_SIZE + len(self.cameras))
        self.make_readers({STATE: torch.zeros(1, 2, state), GLANCE: glance})

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Encoder.needs`."""
        return (STATE, CALIBRATION, *map(image_key, self.cameras))

    def learn_to_see(self, windows: Windows) -> Tensor:
        """The eyes' loss, in other light, for cameras that look elsewhere and not quite where they are said to look."""
        seen, views = dict(windows.seen), list[Callable[[], tuple[Tensor, Tensor, Tensor]]]()
        told = seen[POINTS].unflatten(1, (len(self.eyes.cameras), self.eyes.things, 3)).unbind(1)
        for name, row, at in zip(self.eyes.cameras, seen[CALIBRATION].split(NUMBERS, dim=1), told, strict=True):
            picture = seen[image_key(name)]
            views.append(partial(_elsewhere, picture, row, at, torch.randn(len(row), CHANCE, device=row.device)))
        found = each(views) if told[0].device.type == "cpu" else [view() for view in views]
        pictures, known, points = zip(*found, strict=True)
        seen.update(zip(map(image_key, self.eyes.cameras), pictures, strict=True))
        seen[CALIBRATION] = torch.cat([_misjudged(row) for row in known], dim=1)
        return self.eyes.loss(seen, self.hand(seen), seen[COLUMN], torch.cat([at.flatten(1) for at in points], dim=1))


class PointEncoder(SeeingEncoder):
    """Sees clouds of points; has tokens, too, of what stands around the hand and around each thing."""

    sensors = CAMERAS
    columns = (CLOUD,)
    at_once = 32
    eyes: PointEyes

    def __init__(self, state: int, around: int, width: int) -> None:
        """As for all encoders."""
        super().__init__(state, around, width)
        things = math.ceil(around / BOX)
        self.eyes = PointEyes(things)
        glance, maps = torch.zeros(1, things, GLANCE_SIZE + 1), torch.zeros(1, 1 + things, SIZE)
        self.make_readers({STATE: torch.zeros(1, 2, state), GLANCE: glance, AROUND: maps})

    @property
    def needs(self) -> tuple[str, ...]:
        """See `Encoder.needs`."""
        return (STATE, CLOUD)

    def vectors(self, seen: Mapping[str, Tensor]) -> list[Tensor]:
        """See `Encoder.vectors`."""
        return [*super().vectors(seen), *seen[AROUND].unbind(dim=1)]

    def beside(self, seen: Mapping[str, Tensor], hand: Hand, glance: Tensor) -> dict[str, Tensor]:
        """What stands around the hand and the things (`surroundings`), ``(B, 1 + T, SIZE)``."""
        places = Points.of(seen[CLOUD]).place
        middles = [hand.position, *glance[..., :3].unbind(dim=1)]
        return {AROUND: torch.stack([surroundings(places, Hand(at, hand.rotation)) for at in middles], dim=1)}

    def learn_to_see(self, windows: Windows) -> Tensor:
        """The eyes' loss, with clouds that are turned, shifted, thinner and in other light."""
        seen = windows.seen
        points, hand, around = Points.of(seen[CLOUD]), self.hand(seen), seen[COLUMN]
        return self.eyes.loss(*changed(points, hand, around, self.eyes.middle), seen[STATE][:, -1, -1:])


ENCODERS: dict[str, type[Encoder]] = {"state": StateEncoder, "rgb": RgbEncoder, "pointcloud": PointEncoder}


def _elsewhere(picture: Tensor, known: Tensor, points: Tensor, chance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures ``(B, H, W, 3)`` of 0 … 255 in other light, of a camera that looks elsewhere (`other_view`).

    Args:
        picture: as they are.
        known: of the camera.
        points: where things are in them.
        chance: ``(B, CHANCE)`` drawn from the standard normal distribution.
    """
    gain, more, way = chance[:, None, None].split((3, 1, CHANCE - 4), dim=-1)
    light = ((1.0 + GAIN * gain) * picture.float() + 255.0 * LEVEL * more).clamp(0.0, 255.0) - GREY
    view, known, points = other_view(light.permute(0, 3, 1, 2), known, points, way[:, 0, 0])
    return view.permute(0, 2, 3, 1) + GREY, known, points


def _misjudged(known: Tensor) -> Tensor:
    """What is known of a camera ``(B, NUMBERS)``, a little wrong."""
    off = torch.randn(len(known), 7, device=known.device)
    position, turn, focal = off[:, :3] * CALIBRATED[0], off[:, 3:6] * CALIBRATED[1], off[:, 6:] * CALIBRATED[2]
    axes = known[:, 3:9].unflatten(1, (2, 3))
    axes = axes + torch.linalg.cross(turn[:, None].expand_as(axes), axes)
    return torch.cat([known[:, :3] + position, axes.flatten(1), known[:, 9:10] * (1.0 + focal), known[:, 10:]], dim=1)


def _glance(belief: Belief, shown: Tensor) -> Tensor:
    """``(B, T, GLANCE_SIZE + cameras)``."""
    doubt = 0.5 * belief.spread.diagonal(dim1=-2, dim2=-1).sum(dim=-1, keepdim=True).log()
    return torch.cat([belief.middle, belief.shape, doubt, shown], dim=-1)


def _near(offset: Tensor) -> Tensor:
    """An offset ``(B, 3)`` as it is, and on finer scales ``(B, 12)``."""
    return torch.cat([offset, *(torch.tanh(offset / scale) for scale in NEAR_M)], dim=-1)
