"""A dataset read as another's features want it: entries chosen, renamed and put in order, pictures of another size.

Nothing is made up: a name that is wanted and not there is a misfit, and what has no place is named in `left_out`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from policies.episodes import Dataset
from policies.features import IMAGES, Extra, Features, bad_dataset
from policies.films import MAX_DECODED_BYTES
from reconstruction.errors import InputError, UsageError
from simulation.episode import CAMERA_NAME, EXTRA_NAME, RESERVED, Episode, Pictures

AT_ONCE, BYTES_AT_ONCE = 256, 256 << 20
"""Pictures, and bytes of them, read before they are made smaller."""
NAMED = 40
"""How many names an error lists."""
OF_THE_STEP = ("rewards", "dones")
"""Columns that, as those that begin with ``next.``, tell what an action has led to."""


@dataclass(frozen=True)
class Wishes:
    """What is to be read otherwise than it is.

    Attributes:
        rename: new names by old ones: of cameras, columns, entries of state and action.
        leave_out: old names of the same.
        every: take every n-th frame. The action is then the last before the next frame that is taken, which is right
            where actions say where to go, and wrong where they say by how much.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    leave_out: Sequence[str] = ()
    every: int = 1


Names = dict[str, str]
"""What something is called in the source, by what it is called here."""


class Fitted(Dataset):
    """A dataset seen through `Wishes` and, where there is one, a pattern.

    Args:
        source: to be read.
        wishes: names are checked against those it has.
        like: features to take over; None to take all there is.
        pattern: what errors call the dataset with these features.

    Raises:
        UsageError: a name that the source does not have, or two things of one name.
        InputError: it lacks something that `like` has; the message lists all of it.
    """

    def __init__(self, source: Dataset, wishes: Wishes, like: Features | None = None, pattern: str = "") -> None:
        has = source.features
        _check_names(source, wishes)
        names = {"state": has.state_names, "action": has.action_names, "camera": has.cameras, "column": has.extra}
        kept = {kind: _kept(kind, old, wishes) for kind, old in names.items()}
        left = list[str]()
        if like is not None:
            misfits, left = _compared(has, kept, like, wishes.every, pattern)
            if misfits:
                raise _misfit(source, has, pattern, misfits)
        self.folder, self.every = source.folder, wishes.every
        info = getattr(source, "info", {})
        self.robot = info["robot_type"] if isinstance(info.get("robot_type"), str) else None
        self._cameras, self._extra = kept["camera"], kept["column"]
        self._state = [has.state_names.index(name) for name in kept["state"].values()]
        self._action = [has.action_names.index(name) for name in kept["action"].values()]
        sizes = {new: has.cameras[old] for new, old in self._cameras.items()}
        self.features = like or Features(
            has.rate_hz / wishes.every,
            tuple(kept["state"]),
            tuple(kept["action"]),
            sizes,
            {new: _native(has.extra[old]) for new, old in self._extra.items()},
        )
        left += [
            f"{IMAGES}{new}: the rims of its pictures, {old[1]} × {old[0]}, for those of {pattern} are "
            f"{self.features.cameras[new][1]} × {self.features.cameras[new][0]}"
            for new, old in sizes.items()
            if _middle(old, self.features.cameras[new]) != (slice(0, old[0]), slice(0, old[1]))
        ]
        if wishes.every > 1:
            left.append(f"frames: all but every {wishes.every}th, as asked for")
        left += [f"{name}: as asked for" for name in wishes.leave_out]
        self.left_out = (*source.left_out, *left)
        # Columns that are not wanted are not read, and cannot be in the way when they are damaged.
        self._source = copy.copy(source)
        self._source.features = dataclasses.replace(has, extra={k: has.extra[k] for k in self._extra.values()})

    def __len__(self) -> int:
        return len(self._source)

    def length(self, number: int) -> int:
        """See `Dataset.length`."""
        return -(-self._source.length(number) // self.every)

    def read(self, number: int, cameras: Sequence[str] | None = None) -> Episode:
        """See `Dataset.read`."""
        chosen, where = self.chosen(cameras), f"{self.folder}, episode {number}"
        whole = self._source.read(number, ())
        for text in (whole.task, whole.task_name, whole.reason, whole.recipe):
            if not _is_unicode(text):
                raise bad_dataset(where, "its words are no Unicode")
        taken = np.arange(0, len(whole), self.every)
        last = np.minimum(taken + self.every, len(whole)) - 1
        if len(taken) * sum(h * w * 3 for h, w in map(self.features.cameras.__getitem__, chosen)) > MAX_DECODED_BYTES:
            raise bad_dataset(where, "its pictures do not fit into memory")
        extra = {
            new: _as(
                whole.extra[old][last if _of_the_step(old) else taken], self.features.extra[new], f"{where}: {old}"
            )
            for new, old in self._extra.items()
        }
        images = {camera: self.frames(number, camera, range(len(taken))) for camera in chosen}
        try:
            return dataclasses.replace(
                whole,
                rate_hz=self.features.rate_hz,
                state=np.ascontiguousarray(whole.state[taken][:, self._state]),
                state_names=self.features.state_names,
                action=np.ascontiguousarray(whole.action[last][:, self._action]),
                action_names=self.features.action_names,
                images=images,
                extra=extra,
            )
        except InputError as error:
            raise bad_dataset(where, error.message.rstrip(".")) from None

    def frames(self, number: int, camera: str, wanted: Sequence[int]) -> Pictures:
        """See `Dataset.frames`."""
        self._check(number, wanted)
        old = self._cameras[camera]
        before, size = self._source.features.cameras[old], self.features.cameras[camera]
        pictures = np.empty((len(wanted), *size, 3), np.uint8)
        step = max(1, min(AT_ONCE, BYTES_AT_ONCE // (before[0] * before[1] * 3)))
        for first in range(0, len(wanted), step):
            some = [place * self.every for place in wanted[first : first + step]]
            for place, picture in enumerate(self._source.frames(number, old, some), first):
                pictures[place] = resized(picture, size)
        return pictures


def resized(picture: Pictures, size: tuple[int, int]) -> Pictures:
    """A picture's middle, as much of it as has the proportions wanted, at another size (height, width)."""
    if picture.shape[:2] == size:
        return picture
    import cv2

    middle = picture[_middle((picture.shape[0], picture.shape[1]), size)]
    way = cv2.INTER_AREA if middle.shape[0] >= size[0] else cv2.INTER_LINEAR
    smaller: Pictures = cv2.resize(middle, (size[1], size[0]), interpolation=way)
    return smaller


def _middle(old: tuple[int, int], new: tuple[int, int]) -> tuple[slice, slice]:
    high = min(old[0], max(1, round(old[1] * new[0] / new[1])))
    wide = min(old[1], max(1, round(old[0] * new[1] / new[0])))
    top, side = (old[0] - high) // 2, (old[1] - wide) // 2
    return slice(top, top + high), slice(side, side + wide)


def _of_the_step(name: str) -> bool:
    return name.startswith("next.") or name in OF_THE_STEP


def _native(extra: Extra) -> Extra:
    return Extra(np.dtype(extra.dtype).name, extra.length)


def _as(values: npt.NDArray[np.generic], kind: Extra, where: str) -> npt.NDArray[np.generic]:
    """Values in the type and shape of a column; in this computer's order of bytes, which Parquet insists on."""
    before, dtype = values, np.dtype(kind.dtype)
    with np.errstate(over="ignore"):  # what has become infinite is refused with the episode
        values = before.astype(dtype)
    # NumPy lets whole numbers that are too large begin anew at the other end of the type.
    if before.dtype.kind in "iu" and dtype.kind in "iu" and not np.array_equal(before, values):
        raise InputError(
            f"{where} has numbers that do not fit into {dtype}.",
            remedy="Take another dataset after --like, or leave the column out of it (--leave-out).",
            code="other_features",
        )
    return values.reshape(len(values)) if kind.length is None else values.reshape(len(values), kind.length)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(features: Features) -> str:
    groups = {
        "state": features.state_names,
        "action": features.action_names,
        "cameras": features.cameras,
        "columns": features.extra,
    }
    return "; ".join(f"{what}: {_listed(names) or 'none'}" for what, names in groups.items())


def _listed(names: Iterable[str]) -> str:
    """Names for people; those of a file may be many, and anything."""
    words = ["".join(sign if sign.isprintable() else "?" for sign in name[:80]) for name in names]
    return ", ".join(words[:NAMED]) + (f" and {len(words) - NAMED} more" if len(words) > NAMED else "")


def _check_names(source: Dataset, wishes: Wishes) -> None:
    has = source.features
    known = {*has.state_names, *has.action_names, *has.cameras, *has.extra}
    unknown = [name for name in (*wishes.rename, *wishes.leave_out) if name not in known]
    if unknown:
        raise UsageError(
            f"{source.folder} has nothing named {_listed(unknown)}.",
            remedy=f"It has {_named(has)}.",
            code="no_such_name",
        )
    for old, new in wishes.rename.items():
        column = EXTRA_NAME.fullmatch(new) and new not in RESERVED and not new.startswith(IMAGES)
        if not new or (old in has.cameras and not CAMERA_NAME.fullmatch(new)) or (old in has.extra and not column):
            raise UsageError(
                f"{old} cannot be renamed {new!r}.",
                remedy="Use letters, digits, - and _, and no name of LeRobot's own columns.",
                code="bad_value",
            )


def _kept(kind: str, old: Iterable[str], wishes: Wishes) -> Names:
    kept: Names = {}
    for name in old:
        new = wishes.rename.get(name, name)
        if name in wishes.leave_out:
            continue
        if new in kept:
            raise UsageError(
                f"{kept[new]} and {name} would both be named {new} ({kind}).",
                remedy="Rename or leave out one of them.",
                code="bad_value",
            )
        kept[new] = name
    if not kept and kind in ("state", "action"):
        raise UsageError(
            f"Nothing of the {kind} would be left.", remedy="Leave out less with --leave-out.", code="bad_value"
        )
    return kept


def _compared(
    has: Features, kept: dict[str, Names], like: Features, every: int, pattern: str
) -> tuple[list[str], list[str]]:
    """What is missing, and what is left over; `kept` then holds what is wanted, in the order of `like`."""
    wanted = {"state": like.state_names, "action": like.action_names, "camera": like.cameras, "column": like.extra}
    missing, left = [], []
    if has.rate_hz / every != like.rate_hz:
        times = has.rate_hz / like.rate_hz
        hint = (
            f" (--every {times:.0f} gives it, if actions say where to go)"
            if times == round(times) and times > 1
            else ""
        )
        missing.append(f"it has {has.rate_hz / every:g} frames a second, not {like.rate_hz:g}{hint}")
    for kind, names in wanted.items():
        lacking = [name for name in names if name not in kept[kind]]
        if lacking:
            missing.append(f"{kind}: it lacks {_listed(lacking)}")
        left += [f"{old}: {kind} that {pattern} has not" for new, old in kept[kind].items() if new not in names]
        kept[kind] = {name: kept[kind][name] for name in names if name in kept[kind]}
    for new, old in kept["column"].items():
        mine, theirs = has.extra[old], like.extra[new]
        alike = (mine.length or 1) == (theirs.length or 1)
        if not alike or not np.can_cast(np.dtype(mine.dtype), np.dtype(theirs.dtype), "same_kind"):
            missing.append(f"column {new} is {_words(mine)}, not {_words(theirs)}")
    return missing, left


def _words(extra: Extra) -> str:
    return f"{extra.length or 1} × {extra.dtype}"


def _misfit(source: Dataset, has: Features, pattern: str, misfits: Sequence[str]) -> InputError:
    return InputError(
        f"{source.folder} does not fit {pattern}: {'; '.join(misfits)}.",
        remedy=f"Rename what is the same thing (--rename OLD=NEW), or convert {pattern} into a dataset without what "
        f"is missing (--leave-out) first. {source.folder} has {_named(has)}.",
        code="other_features",
    )
