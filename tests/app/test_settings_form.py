"""Forms made of settings dataclasses: what they show, and the command line's words for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import tyro
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytestqt.qtbot import QtBot

from app.demonstrate_stage import DemonstrateSettings
from app.gui.settings_form import SettingsForm, documentation, fields_of, words_of
from app.real_arm import ArmSettings
from app.reality_stage import RealitySettings
from app.run_stage import RunSettings
from app.skill_stage import SkillSettings
from app.stages import SceneSettings
from app.train_stage import TrainSettings
from simulation.cousins import CousinSettings

ALL = (
    SceneSettings,
    CousinSettings,
    DemonstrateSettings,
    TrainSettings,
    SkillSettings,
    RunSettings,
    ArmSettings,
    RealitySettings,
)


@dataclass(frozen=True)
class Inner:
    """Inside."""

    depth_mm: float = 2.5
    """How deep."""
    turned: bool = True
    """Whether."""


@dataclass(frozen=True)
class Settings:
    """Of all kinds."""

    task: str = "pick it"
    """What
    to do."""
    count: int = 3
    """How many."""
    share: float = 0.5
    """How much."""
    kind: Literal["a", "b"] = "a"
    """Which."""
    names: tuple[str, ...] = ()
    """Who."""
    place: tuple[float, float] | None = None
    """Where."""
    least: float | None = None
    """At least."""
    file: Path | None = None
    """From what."""
    inner: Inner = field(default_factory=Inner)


def test_nothing_changed_needs_no_words(qtbot: QtBot) -> None:
    form = SettingsForm(Settings, ["task"])
    qtbot.addWidget(form)
    assert form.words() == []
    form.open_all()
    assert form.words() == []


def test_help_is_the_docstring_in_one_line(qtbot: QtBot) -> None:
    form = SettingsForm(Settings, ["task"])
    qtbot.addWidget(form)
    assert documentation(Settings)["task"] == "What to do."
    assert "What to do." in form.control("task").widget.toolTip()
    assert form.control("inner.depth_mm").widget.accessibleName() == "Depth (mm)"


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(-1000, 10**9),
    share=st.floats(-1e6, 1e6).map(lambda value: round(value, 6)),
    kind=st.sampled_from(["a", "b"]),
    names=st.lists(st.text("abc_=0.5", min_size=1).filter(lambda name: not name.startswith("-")), max_size=3),
    place=st.one_of(st.none(), st.tuples(st.integers(0, 50), st.integers(0, 50))),
    least=st.one_of(st.none(), st.integers(0, 100)),
    depth=st.floats(0.0, 100.0).map(lambda value: round(value, 4)),
    turned=st.booleans(),
)
def test_what_the_form_says_is_what_the_command_line_reads(qtbot: QtBot, **drawn: Any) -> None:
    form = SettingsForm(Settings, ["task"])
    names = tuple(drawn["names"])
    values = {key: drawn[key] for key in ("count", "share", "kind", "place", "least")}
    form.set_values({**values, "names": names, "inner.depth_mm": drawn["depth"], "inner.turned": drawn["turned"]})
    read = tyro.cli(Settings, args=form.words())
    assert read.inner.depth_mm == pytest.approx(drawn["depth"], abs=1e-6)
    assert read.inner.turned is drawn["turned"]
    assert (read.count, read.kind, read.names) == (drawn["count"], drawn["kind"], names)
    assert read.share == pytest.approx(drawn["share"], abs=1e-6)
    assert read.place == drawn["place"]
    assert read.least == drawn["least"]
    form.deleteLater()


@pytest.mark.parametrize("kind", ALL)
def test_every_setting_of_every_step_has_a_control_and_help(qtbot: QtBot, kind: type) -> None:
    form = SettingsForm(kind, [])
    qtbot.addWidget(form)
    form.open_all()
    without = [".".join(field.path) for field in fields_of(kind) if not field.help]
    assert without == []
    required = {".".join(field.path) for field in fields_of(kind)} & {"task"}
    assert set(form.values()) <= required  # as they are shown, they are the defaults


def test_what_is_no_number_is_said(qtbot: QtBot) -> None:
    form = SettingsForm(Settings, ["least"])
    qtbot.addWidget(form)
    form.control("least").widget.setProperty("text", "three")
    with pytest.raises(ValueError, match="Least: 'three' is no number"):
        form.words()


def test_flags_in_pairs() -> None:
    turned = next(found for found in fields_of(Settings) if found.path == ("inner", "turned"))
    assert words_of(turned, False) == ["--inner.no-turned"]
    assert words_of(turned, True) == ["--inner.turned"]
