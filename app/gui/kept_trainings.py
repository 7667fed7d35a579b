"""What was set on the policy page and what was begun there: kept by project, longer than the window is open."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PySide6.QtCore import QSettings

from app.gui.task_chooser import Chosen, Verb
from app.project import Project, read_json

KEY = "trainings"
"""Where it stands in the preferences. Not in the project: its words are run as a command, by whom they are of."""
MOST = 100
"""Projects of which it is kept, the newest."""
OBSERVED = {"both": "rgb", "points": "pointcloud", "none": "state"}
"""What a policy sees, by the cameras of its demonstrations: `train-and-export` has filmed them so."""
OTHER_SETTINGS = "other_settings"
"""Code of the failure where demonstrations are there that were made otherwise."""


@dataclass(frozen=True)
class Typed:
    """What somebody has set on the left of the policy page, of one project.

    Attributes:
        task: the chooser's.
        values: of the form, by name; what is left out is as it is at first.
        effort: number of the effort.
    """

    task: Chosen
    values: Mapping[str, Any]
    effort: int


class KeptTrainings:
    """What was typed for each project, and which training of it was begun and has not come to an end."""

    def __init__(self, preferences: QSettings) -> None:
        self._preferences = preferences

    def typed(self, folder: Path) -> Typed | None:
        """What was typed last for a project; None where nobody knows."""
        found: Any = self._all().get(str(folder), {}).get("typed")
        try:
            verb, what, where, typed = found["task"]
            return Typed(Chosen(int(verb), str(what), str(where), str(typed)), dict(found["values"]), found["effort"])
        except (KeyError, TypeError, ValueError):
            return None

    def begun(self, folder: Path) -> tuple[str, ...]:
        """What `train-and-export` of a project was told, without the folder, and has not finished; else ()."""
        words: Any = self._all().get(str(folder), {}).get("begun")
        known = isinstance(words, list) and words[:1] == ["--task"] and len(words) > 1
        return tuple(map(str, words)) if known else ()

    def keep_typed(self, folder: Path, typed: Typed) -> None:
        """Know it the next time, too."""
        task = typed.task
        named = [task.verb, task.what, task.where, task.typed]
        self._keep(folder, "typed", {"task": named, "values": dict(typed.values), "effort": typed.effort})

    def keep_begun(self, folder: Path, words: Sequence[str]) -> None:
        """A training was begun with these words; () where none is to be gone on with."""
        self._keep(folder, "begun", list(words))

    def _all(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(str(self._preferences.value(KEY, "{}")))
        except ValueError:
            return {}
        entries = found.items() if isinstance(found, dict) else ()
        return {name: entry for name, entry in entries if isinstance(entry, dict)}

    def _keep(self, folder: Path, name: str, value: Any) -> None:
        found = self._all()
        entry = {**found.pop(str(folder), {}), name: value}
        found[str(folder)] = entry  # last: the newest
        kept = dict(list(found.items())[-MOST:])
        self._preferences.setValue(KEY, json.dumps(kept, ensure_ascii=False))
        self._preferences.sync()  # who is killed while it trains has it, too


def demonstrated(project: Project, verbs: Sequence[Verb], effort: int) -> Typed | None:
    """What the newest demonstrations of a project were made with; None where there are none."""
    newest, found = 0.0, None
    for path in (project.folder / "episodes").glob("*.json"):
        if path.name.startswith(".") or path.stem.endswith("_by_hand"):
            continue
        settings = (read_json(path) or {}).get("settings")
        if isinstance(settings, dict) and isinstance(settings.get("task"), str) and path.stat().st_mtime > newest:
            newest, found = path.stat().st_mtime, settings
    if found is None:
        return None
    values = {name: found[name] for name in ("robot", "seed") if name in found} | made_with(found)
    return Typed(chosen_of(found["task"], verbs), values, effort)


def made_with(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What demonstrations were made with, of what can be set on the page and does not name their folder."""
    vary, seen = settings.get("vary"), OBSERVED.get(str(settings.get("cameras")))
    known = {"vary": tuple(map(str, vary))} if isinstance(vary, list) else {}
    return known | ({"observe": seen} if seen else {})


def in_the_way(message: str, project: Project) -> dict[str, Any]:
    """The settings with which a training that failed as `OTHER_SETTINGS` could go on with what is there; else {}."""
    found = re.match(r"(.+) was made with other settings \(([a-z_, ]*)\)", message, re.DOTALL)
    if found is None or not set(found[2].split(", ")) <= {"vary", "cameras"}:
        return {}  # the scene, or what only a terminal can set
    settings = (read_json(project.folder / "episodes" / f"{Path(found[1]).name}.json") or {}).get("settings")
    return made_with(settings) if isinstance(settings, dict) else {}


def with_vary(words: Sequence[str], vary: Sequence[str]) -> tuple[str, ...]:
    """A command's words with this after ``--vary``: demonstrations are compared by the very words, not by what varies.

    The sliders would say the same, but may say it otherwise.
    """
    found, skipped = list[str](), False
    for word in words:
        skipped = word == "--vary" or (skipped and not word.startswith("--"))
        found += [] if skipped else [word]
    return (*found, *(("--vary", *vary) if vary else ()))


def chosen_of(words: str, verbs: Sequence[Verb]) -> Chosen:
    """What is to be chosen for a task in words; as typed, where no verb makes them."""
    said = re.sub(r"\b(the|up) ", "", re.sub(r"^place\b", "put", words))
    for number, verb in enumerate(verbs):
        pattern = re.sub(r"\b(the|up) ", "", verb.words)
        pattern = re.escape(pattern).replace(r"\{what\}", r"(?P<what>\S+)").replace(r"\{where\}", r"(?P<where>\S+)")
        if (found := re.fullmatch(pattern, said)) is not None:
            parts = found.groupdict()
            return Chosen(number, parts.get("what", ""), parts.get("where", ""))
    return Chosen(typed=words)
