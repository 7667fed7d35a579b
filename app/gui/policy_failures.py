"""Failures of training, evaluating and dreaming in the words of the policy page: the commands' own name their flags."""

from __future__ import annotations

import dataclasses
import re

from PySide6.QtCore import QCoreApplication

from app.gui.job import NOT_GOOD, Failed
from app.gui.kept_trainings import OTHER_SETTINGS
from app.gui.settings_form import fields_of
from app.skill_stage import SkillSettings

_NAMED = {"--count": "demonstrations", "--episodes": "demonstrations"}
"""Flags of the commands that `train-and-export` stands for, by the setting that they are here."""


def reworded(failure: Failed) -> Failed:
    """The same failure, with what can be done about it in the window."""
    remedy = _remedy(failure.code)
    if failure.code == NOT_GOOD:
        message = _tr("Trained, but too weak to export. {0}").format(failure.message)
        return dataclasses.replace(failure, message=message, remedy=remedy)
    message = _named(failure.message) if failure.code == OTHER_SETTINGS else _by_label(failure.message)
    return dataclasses.replace(failure, message=message, remedy=remedy or _by_label(failure.remedy))


def _remedy(code: str) -> str:
    """What can be done on this page; "" where the command says it well enough."""
    anew = _tr("To begin anew beside it, choose another “Seed” under “Advanced settings”.")
    remedies = {
        NOT_GOOD: _tr(
            "Train it on more (Effort: Thorough), choose a thing that fits more easily, or export it anyway."
        ),
        "not_evaluated": _tr("Press “Evaluate again” first, or tick “{0}” under “Advanced settings”.").format(
            setting_labels()["anyway"]
        ),
        "no_success": _tr(
            "Choose another task or thing, put the robot elsewhere on the page Scene, or turn down “What varies”."
        ),
        "no_valid_cousin": _tr("Turn down under “What varies” what it was drawn again for."),
        OTHER_SETTINGS: _tr("Set back what has changed. {0}").format(anew),
        "other_cameras": anew,
        "other_version": anew,
        "bad_dataset": anew,
        "no_pictures": _tr("Its demonstrations were made for another “Observe”: set it back. {0}").format(anew),
        "no_points": _tr("Its demonstrations were made for another “Observe”: set it back. {0}").format(anew),
        "no_state": anew,
        "no_demonstrations": _tr("Press “Train & export” with this task, robot and seed."),
        "no_policy": _tr("Press “Train & export” with this task, robot and seed."),
        "bad_policy": _tr("Press “Train & export” again."),
        "no_dreams": _tr("Only the policy “world-action” foretells anything (“Advanced settings”)."),
        "no_stage": _tr("Make the scene on the page Scan first."),
        "bad_scene": _tr("Make the scene again on the page Scan."),
        "disk_full": _tr("Free some space, then run it again: what is finished is kept."),
        "no_permission": _tr("Make the project's folder writable for you, then run it again."),
        "path_in_the_way": _tr("Move away what lies there, then run it again."),
        "no_display": _tr("Run it on a desktop; “Train & export” needs nobody to show the task."),
    }
    return remedies.get(code, "")


def setting_labels() -> dict[str, str]:
    """What the page calls settings whose names say too little to who has not read the code."""
    return {
        "steps": _tr("Steps of learning to act"),
        "glances": _tr("Cousins to look at"),
        "eye_steps": _tr("Steps of learning to see"),
        "blunders": _tr("Mistakes put right"),
        "rounds": _tr("Rounds of correction"),
        "cousins": _tr("Cousins to test in"),
        "least": _tr("Least success (0 … 1)"),
        "anyway": _tr("Export even if weak"),
    }


def _by_label(text: str) -> str:
    """Settings by their names in the form, not by their flags."""
    own = setting_labels()
    labels = {
        field.flag: own.get(field.path[-1]) or QCoreApplication.translate("settings", field.label)
        for field in fields_of(SkillSettings)
    }
    labels |= {flag: labels[f"--{name}"] for flag, name in _NAMED.items()}
    return re.sub(r"--[a-z][a-z-]*", lambda found: f"“{labels[found[0]]}”" if found[0] in labels else found[0], text)


def _named(text: str) -> str:
    """What was otherwise, as it is called on the page: "(vary)" is the command's."""
    labels = {"vary": _tr("What varies"), "cameras": _tr("Observe")}
    return re.sub(
        r"\(([a-z_, ]+)\)\.$",
        lambda found: f"({', '.join(labels.get(name, name) for name in found[1].split(', '))}).",
        text,
    )


def _tr(text: str) -> str:
    return QCoreApplication.translate("PolicyPage", text)
