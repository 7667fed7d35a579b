"""Pictures of cousins for the window, one after the other, while somebody moves the sliders.

``python -m app.cousin_wall SCENE_FOLDER`` loads the scene once. Each line of JSON on its stdin asks for pictures::

    {"ticket": 7, "vary": ["pose=0.5"], "seed": 0, "first": 0, "count": 12, "size": 320, "skip": [], "settings": {}}

`size` is their width in pixels, `skip` the numbers that the asker has already, `settings` whatever else of
`CousinSettings` is not as usual. Each picture is a JPEG file and a line on stdout as soon as it is drawn::

    {"event": "picture", "ticket": 7, "index": 0, "path": …, "made": false, "facts": {…}}

then ``{"event": "done", "ticket": 7}``. A newer line puts an end to the older one's pictures. What goes wrong is an
``error`` as every command says it, with the ticket it belongs to. It ends with its stdin, so that it never outlives who
started it, and takes its files with it; whoever has read a picture may delete its file.

A picture comes first as a sketch (``"sketch": true``), in which things are put on the table as they would stand, for
trying that in physics takes a hundred times as long. Then it is tried, as `pocketworld cousins` does with these
settings (`simulation.bank`), but only what these very cousins ask for. A cousin that comes out as it was sketched gets
a line ``{"event": "sure", "ticket", "index", "facts"}``, any other one, such as one with a new stack, a new picture.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from app.console import JsonConsole, StdoutError, internal_error, open_console
from app.cousin_stage import RECIPES, pool_of
from app.pictures import write_picture
from app.project import read_json
from app.worker import from_json
from reconstruction.errors import InputError, PocketworldError, UsageError
from reconstruction.scene import Scene
from simulation.cousins import Cousin, CousinSettings, dress, scene_key, wardrobe_of
from simulation.variations import VARIATIONS, strengths_of
from simulation.world import pose_change

if TYPE_CHECKING:
    from reconstruction.scene import SceneObject
    from simulation.bank import Bank, Wardrobe
    from simulation.draw import Draw
    from simulation.stances import Rig, Stance

READY, PICTURE, SURE, DONE = "ready", "picture", "sure", "done"
ON_ITS_SIDE_DEG = 20.0
MOVED_M = 0.005
"""What is nearer than this to where it was scanned has not been moved."""
BANKS = 12
"""Of so many settings it is remembered how things stand: sliders go back and forth."""
LARGEST_PX = 2000
ALIKE_M, ALIKE_DEG = 0.015, 6.0
"""A cousin that is not farther than this from its sketch looks the same."""


class Superseded(Exception):  # noqa: N818 - no error
    """Somebody wants other pictures by now."""


class _Later(Exception):  # noqa: N818 - no error
    """This cousin needs stacks, which take long to try: it comes after those that do not."""


@dataclass(frozen=True)
class Request:
    """Which pictures are wanted; see the module."""

    ticket: int
    settings: CousinSettings
    first: int
    count: int
    size: int
    skip: frozenset[int]

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Request:
        """A request from its line.

        Raises:
            UsageError: its settings are none.
            KeyError, TypeError, ValueError: it is none at all.
        """
        more = {**document.get("settings", {}), "vary": list(document["vary"]), "seed": int(document["seed"])}
        numbers = (int(document[name]) for name in ("first", "count", "size"))
        first, count, size = numbers
        skip = frozenset(map(int, document.get("skip", ())))
        settings = from_json(CousinSettings, more)
        return Request(int(document["ticket"]), settings, max(first, 0), count, min(max(size, 16), LARGEST_PX), skip)


class _Forms(Sequence["tuple[Stance, ...]"]):
    """The stances of each form of one source, tried when they are looked at."""

    def __init__(self, trials: Trials, source: str) -> None:
        self._trials, self._source = trials, source

    def __len__(self) -> int:
        return self._trials.wardrobe.forms_of(self._source)

    def __getitem__(self, number: Any) -> Any:
        return self._trials.alone(self._source, number)


class _Alone(Mapping[str, _Forms]):
    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    def __getitem__(self, source: str) -> _Forms:
        return _Forms(self._trials, source)

    def __iter__(self) -> Iterator[str]:
        return iter(self._trials.wardrobe.sources())

    def __len__(self) -> int:
        return len(self._trials.wardrobe.sources())


class _Group(Sequence["Stance | None"]):
    """The stances of things that belong together; as scanned too where no form stands, as in `simulation.bank`."""

    def __init__(self, trials: Trials, names: tuple[str, ...]) -> None:
        self._trials, self._names = trials, names

    def __len__(self) -> int:
        count = self._trials.wardrobe.forms_of(self._names[0])
        return count if any(self._trials.group(self._names, number) for number in range(count)) else count + 1

    def __getitem__(self, number: Any) -> Any:
        return self._trials.group(self._names, number)


class _Stacks(Sequence["Stance"]):
    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    def __len__(self) -> int:
        return len(self._trials.stacks())

    def __getitem__(self, number: Any) -> Any:
        return self._trials.stacks()[number]

    def __iter__(self) -> Iterator[Stance]:
        return iter(self._trials.stacks())


class _Sketch:
    """In the place of a `Rig`: everything stands as it was put."""

    def __init__(self, lean_deg: float) -> None:
        self._tilt_deg = lean_deg

    def __enter__(self) -> _Sketch:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def stands(self, items: Sequence[SceneObject], forms: Sequence[tuple[str, int]]) -> Stance | None:
        from simulation.stances import stance_of

        return stance_of(items, forms, self._tilt_deg)


class Trials:
    """A `Bank` of which only that is tried which somebody asks for. Nothing is tried twice.

    Attributes:
        wardrobe: without what physics does not need.
        stacks_now: whether stacks may be tried; until then whoever needs them is put off.
    """

    def __init__(self, wardrobe: Wardrobe, check: Callable[[], None], sketch: bool) -> None:
        """`check` is called before each trial and may raise; a `sketch` tries nothing, and has no stacks."""
        from simulation.bank import scanned_groups

        self.wardrobe, self.stacks_now, self._check, self._sketch = wardrobe, False, check, sketch
        self._alone: dict[tuple[str, int], tuple[Stance, ...]] = {}
        self._groups: dict[tuple[tuple[str, ...], int], Stance | None] = {}
        self._stacks: tuple[Stance, ...] | None = () if sketch else None
        self._names = scanned_groups(wardrobe.scene)
        self._lean_deg = VARIATIONS["support"].ranges["tilt_deg"].high * wardrobe.strengths["support"]

    def _rig(self) -> Rig:
        """On which something is tried; a new one each time, so that the order of trials plays no part."""
        from simulation.stances import Rig

        if self._sketch:
            return cast(Rig, _Sketch(self._lean_deg))
        return Rig(self.wardrobe.scene.supports[0], lean_deg=self._lean_deg)

    def bank(self) -> Bank:
        """What `simulation.draw.Draw` draws from."""
        from simulation.bank import Bank

        groups = tuple((names, cast("tuple[Stance | None, ...]", _Group(self, names))) for names in self._names)
        alone = cast("Mapping[str, tuple[tuple[Stance, ...], ...]]", _Alone(self))
        return Bank(alone, groups, cast("tuple[Stance, ...]", _Stacks(self)), {}, {})

    def alone(self, source: str, number: int) -> tuple[Stance, ...]:
        """How a form of a thing stands by itself."""
        from simulation import bank
        from simulation.stances import sides

        if (source, number) not in self._alone:
            self._check()
            ups = sides(self.wardrobe.sources()[source])
            with self._rig() as rig:
                self._alone[source, number] = bank._alone(rig, self.wardrobe, source, number, ups)
        return self._alone[source, number]

    def group(self, names: tuple[str, ...], number: int) -> Stance | None:
        """How a form of things that belong together stands; past the last form, as scanned."""
        from simulation import bank

        if number >= self.wardrobe.forms_of(names[0]):
            return bank.as_scanned(self.wardrobe.scene, names)
        if (names, number) not in self._groups:
            self._check()
            with self._rig() as rig:
                self._groups[names, number] = bank._group(rig, self.wardrobe, names, number)
        return self._groups[names, number]

    def stacks(self) -> tuple[Stance, ...]:
        """New stacks that stand."""
        from simulation import bank

        if self._stacks is None:
            if not self.stacks_now:
                raise _Later
            found = []
            for lower, upper in bank._pairs(self.wardrobe, self.bank().alone):
                self._check()
                with self._rig() as rig:
                    found.append(bank._stack(rig, self.wardrobe, lower, upper))
            self._stacks = tuple(stance for stance in found if stance is not None)
        return self._stacks


@dataclass
class Wall:
    """Draws what is asked for.

    Attributes:
        place: the scene's folder.
        scene: the parent of all.
        folder: for the pictures.
        say: an event and its details, told to whoever asked.
        superseded: whether somebody wants other pictures by now.
    """

    place: Path
    scene: Scene
    folder: Path
    say: Callable[..., None]
    superseded: Callable[[], bool]
    _trials: dict[tuple[object, ...], Trials] = field(default_factory=dict)

    def show(self, request: Request) -> None:
        """Draw all pictures of a request, or those until a newer one waits.

        Raises:
            PocketworldError: there are none with these settings.
        """
        with contextlib.suppress(Superseded):
            wanted = [n for n in range(request.first, request.first + request.count) if n not in request.skip]
            if wanted:
                self._show(request, wanted)
            self.say(DONE, "", ticket=request.ticket)

    def _show(self, request: Request, wanted: Sequence[int]) -> None:
        settings = request.settings
        made = self._made(settings, max(wanted))
        wardrobe = wardrobe_of(self.scene, settings.seed, strengths_of(settings.vary), pool_of(settings.swap_from))
        for index in wanted:
            if index in made:
                self._check()
                self._picture(request, made[index], wardrobe, made=True)
        wanted = [index for index in wanted if index not in made]
        if not wanted:
            return
        draw, _ = self._draw(settings, wardrobe, sketch=True)
        sketches: dict[int, Cousin] = {}
        for index in wanted:
            self._check()
            sketches[index], _ = draw.cousin(index)
            self._picture(request, sketches[index], wardrobe, sketch=True)
        draw, trials = self._draw(settings, wardrobe, sketch=False)
        for trials.stacks_now in (False, True):  # those that need stacks come last
            left = []
            for index in wanted:
                self._check()
                try:
                    cousin, _ = draw.cousin(index)
                except _Later:
                    left.append(index)
                    continue
                if _alike(cousin, sketches[index]):
                    facts = facts_of(cousin, self.scene)
                    self.say(SURE, "", ticket=request.ticket, index=index, size=request.size, facts=facts)
                else:
                    self._picture(request, cousin, wardrobe)
            wanted = left

    def _check(self) -> None:
        if self.superseded():
            raise Superseded

    def _picture(
        self, request: Request, cousin: Cousin, wardrobe: Wardrobe, *, made: bool = False, sketch: bool = False
    ) -> None:
        from simulation.cousin_pictures import picture

        index, size = cousin.index, request.size
        path = self.folder / f"{request.ticket}_{index}_{size}{'_sketch' if sketch else ''}.jpg"
        write_picture(path, picture(dress(cousin, wardrobe), size))
        facts = facts_of(cousin, self.scene)
        details = {"ticket": request.ticket, "index": index, "size": size, "path": str(path), "facts": facts}
        self.say(PICTURE, "", **details, made=made, sketch=sketch)

    def _draw(self, settings: CousinSettings, wardrobe: Wardrobe, *, sketch: bool) -> tuple[Draw, Trials]:
        from simulation.draw import Draw

        bare, s = wardrobe.bare(), wardrobe.strengths
        key = (sketch, settings.seed, settings.swap_from, s["shape"], s["physics"], s["support"], bool(s["pose"]))
        trials = self._trials.pop(key, None)
        if trials is None:
            trials = Trials(bare, self._check, sketch)
        # The rest of the strengths does not change how a form stands: what was tried holds.
        trials.wardrobe = bare
        self._trials[key] = trials
        while len(self._trials) > BANKS:
            del self._trials[next(iter(self._trials))]
        return Draw(bare, trials.bank(), settings), trials

    def _made(self, settings: CousinSettings, last: int) -> dict[int, Cousin]:
        """Those up to number `last` that the project has with these settings, of this scene."""
        record = read_json(self.place.parent / "cousins" / "stage.json")
        if not record:
            return {}
        try:
            made = from_json(CousinSettings, record["settings"])
            if _as_made(settings) != _as_made(made):
                return {}
            found: dict[int, Cousin] = {}
            with (self.place.parent / "cousins" / RECIPES).open(encoding="utf-8") as lines:
                for number, line in zip(range(last + 1), lines, strict=False):
                    found[number] = Cousin.from_json(line)
        except (OSError, ValueError, KeyError, TypeError, PocketworldError):
            return {}  # damaged: the command line says so where it matters
        if any(cousin.parent != scene_key(self.scene) for cousin in list(found.values())[:1]):
            return {}
        return found


def _as_made(settings: CousinSettings) -> tuple[object, ...]:
    """What two families have in common that are the same, however many there are of them."""
    plain = replace(settings, count=0, vary=())
    return plain, strengths_of(settings.vary)


def _alike(cousin: Cousin, other: Cousin) -> bool:
    """Whether nobody could tell two cousins of one index and family apart by their pictures."""
    if cousin.attempt != other.attempt or cousin.objects.keys() != other.objects.keys():
        return False  # another attempt has another light
    for name, placed in cousin.objects.items():
        twin = other.objects[name]
        moved_m, turned_deg = pose_change(placed.matrix(), twin.matrix())
        if (placed.source, placed.form) != (twin.source, twin.form) or moved_m > ALIKE_M or turned_deg > ALIKE_DEG:
            return False
    return True


def facts_of(cousin: Cousin, scene: Scene) -> dict[str, Any]:
    """What is another way in a cousin than in its scene, JSON-able.

    Returns:
        ``things``: name and `change` ("gone", "added", "swapped", "moved", "kept") of each, with the `source` of what
        is new, how far it moved (`moved_m`) and whether it lies on another side (`on_side`); ``light`` and ``support``:
        values of those variations, where they vary.
    """
    own = {item.name: item for item in scene.objects}
    things: list[dict[str, Any]] = []
    for name in sorted({*own, *cousin.objects}):
        if name not in cousin.objects:
            things.append({"name": name, "change": "gone"})
            continue
        placed = cousin.objects[name]
        if name not in own:
            things.append({"name": name, "change": "added", "source": placed.source.removeprefix("+")})
            continue
        before, after = own[name].scene_from_object, placed.matrix()
        moved_m = round(float(np.linalg.norm(after[:2, 3] - before[:2, 3])), 4)
        lean = float(np.degrees(np.arccos(np.clip(before[2, :3] @ after[2, :3], -1.0, 1.0))))
        fact: dict[str, Any] = {"name": name, "change": "moved" if moved_m > MOVED_M else "kept", "moved_m": moved_m}
        if placed.source != name:
            fact.update(change="swapped", source=placed.source.partition("~")[2])
        elif lean > ON_ITS_SIDE_DEG:
            fact.update(change="moved", on_side=True)
        things.append(fact)
    more = {name: dict(cousin.values(name)) for name in ("light", "support") if cousin.strengths[name]}
    return {"things": things, "tilt_deg": cousin.tilt_deg, **more}


class _Inbox:
    """The newest line on stdin that nobody has taken yet; calls `end` when there will be none."""

    def __init__(self, end: Callable[[], None]) -> None:
        self._newest: bytes | None = None
        self._there = threading.Condition()
        self._end = end
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            if line.strip():
                with self._there:
                    self._newest = line
                    self._there.notify()
        self._end()

    @property
    def waits(self) -> bool:
        return self._newest is not None

    def take(self) -> bytes:
        with self._there:
            self._there.wait_for(lambda: self._newest is not None)
            line, self._newest = self._newest, None
        assert line is not None
        return line


def main() -> int:
    """Serve until stdin ends; returns the exit status."""
    folder = Path(tempfile.mkdtemp(prefix="pocketworld_wall_"))

    def leave(code: int) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os._exit(code)  # whatever native code is at

    def stopped(number: int, frame: FrameType | None) -> None:
        leave(128 + number)

    signal.signal(signal.SIGTERM, stopped)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal is for the window, with which this ends
    with contextlib.suppress(AttributeError, OSError):
        os.nice(5)  # the window, and a step that runs, come first
    inbox = _Inbox(lambda: leave(0))
    with open_console(True) as console:
        assert isinstance(console, JsonConsole)
        try:
            return _serve(Path(sys.argv[1]), folder, console, inbox)
        except PocketworldError as error:
            console.error(error)
            return error.exit_code
        except StdoutError:
            return 1
        except Exception as error:  # noqa: BLE001 - the last line of defence: no traceback on anyone's screen
            console.error(internal_error(error, None))
            return 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _serve(place: Path, folder: Path, console: JsonConsole, inbox: _Inbox) -> int:
    scene = Scene.load(place)
    if not scene.objects or not scene.supports:
        raise UsageError(
            f"{place} has {'no support' if scene.objects else 'no objects'}: there is nothing to vary.",
            remedy="Scan a bench with things on it.",
            code="empty_scene",
        )
    wall = Wall(place, scene, folder, console.say, lambda: inbox.waits)
    names = [item.name for item in scene.objects]
    console.say(READY, "", objects=names, folder=str(folder))
    while True:
        line = inbox.take()
        ticket: object = None
        try:
            document = json.loads(line)
            ticket = document["ticket"]
            wall.show(Request.from_json(document))
        except PocketworldError as error:
            console.error(error, ticket=ticket)
        except (ValueError, KeyError, TypeError) as error:
            if ticket is None:
                bad = InputError(f"This is no request: {error}.", remedy="See app/cousin_wall.py.", code="bad_request")
                console.error(bad)
            else:
                console.error(internal_error(error, None), ticket=ticket)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # native libraries may crash in their clean-up when everything is already said
