"""``pocketworld probe`` and ``learn-from``: what an arm felt corrects the scene, and can be forgotten again."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import app.learn_stage
import app.probe_stage
import simulation.probing
from app.learn_stage import LearnSettings, learn_from
from app.probe_stage import ProbeSettings, probe
from app.project import Project, StageKey, StageNotes, content_hash
from app.real_arm import ArmSettings
from policies.dataset import DatasetWriter, open_dataset
from policies.deploy.bundle import Bundle
from policies.deploy.follow import KEPT, follow
from policies.deploy.robot import Reading
from reconstruction.errors import InputError, OutputError, UsageError
from reconstruction.scene import Scene
from simulation.cousins import wardrobe_of
from simulation.episode import EFFORT
from simulation.probing import PHASE, as_it_stands
from simulation.reality import FACTORS, RealCell, strengths_of_factors
from simulation.robots import robot_of
from simulation.variations import VARIATIONS
from tests import bundles
from tests.app.scans import tree
from tests.conftest import ROOT, Run
from tests.fake_lerobot import FakeArm, install
from tests.robot_bench import bench

Shell = Callable[..., Run]
THING, HEAVY_KG = "block_1", 0.8
BENCH = 6


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The small bench, its block being of steel: one run is then enough."""
    made = Project(tmp_path_factory.mktemp("learn") / "Küche vier")
    made.create(Path("none"))
    scene = bench()
    share = HEAVY_KG / 0.2
    heavy = tuple(
        dataclasses.replace(item, mass_kg=HEAVY_KG, inertia=share * item.inertia) if item.name == THING else item
        for item in scene.objects
    )

    def work(place: Path) -> StageNotes:
        dataclasses.replace(scene, objects=heavy).save(place)
        return StageNotes()

    made.run_stage("scene", StageKey({}, {}, ""), work)
    return made


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_bundle(tmp_path_factory.mktemp("made") / "ein Bündel")


@pytest.fixture(scope="module")
def probes(project: Project, bundle: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:  # a heavy thing need not be weighed as long
        patch.setattr(simulation.probing, "SWEEPS", 2)
        patch.setattr(simulation.probing, "DRAGS", 2)
        made = probe(bundle, ProbeSettings(count=1, bench=BENCH, fast=True), project=project)
    assert (made.thing, made.runs, made.done, made.pressed, made.stopped) == (THING, 1, 1, 1, "")
    assert Path(made.dataset) == bundle.with_name("ein Bündel_runs") / "stand-in_probes"
    return Path(made.dataset)


def true(quantity: str, key: str) -> float:
    """What is drawn for the block on the stand-in's bench."""
    return FACTORS[quantity].values(1.0, "bench", BENCH, "reality", quantity, THING)[key]


def refused(run: Run, code: int, said: str) -> None:
    assert run.code == code, run.stdout + run.stderr
    assert said in run.stderr
    assert "what to do:" in run.stderr
    assert "Traceback" not in run.stderr


def test_a_probe_is_recorded_as_runs_are(probes: Path) -> None:
    episode = open_dataset(probes).read(0)
    assert (episode.task_name, episode.success) == (f"probe {THING}", True)
    assert episode.extra[EFFORT].shape == (len(episode), 7)
    assert set(np.unique(episode.extra[PHASE])) == {0, 1, 2, 3, 4}
    assert np.abs(np.diff(episode.action[:, :-1], axis=0)).max() < 0.3


def test_runs_correct_the_scene_and_are_forgotten_again(project: Project, probes: Path, shell: Shell) -> None:
    folder = project.stage_folder("scene")
    before = {name: (folder / name).read_bytes() for name in tree(folder) if (folder / name).is_file()}
    tried = learn_from(project, [probes], LearnSettings(dry=True))
    assert not tried.changed
    assert (folder / "scene.json").read_bytes() == before["scene.json"]

    told = shell("learn-from", project.folder, probes, "--json")
    assert told.code == 0, told.stderr
    assert (told.result["runs"], told.result["changed"]) == (1, True)
    found = {item["quantity"]: item for item in told.result["learnt"]}
    mass, friction = HEAVY_KG * true("mass", "mass"), 0.5 * true("friction", "thing")
    assert found["mass_kg"]["value"] == pytest.approx(mass, rel=0.2)
    assert found["friction"]["value"] == pytest.approx(friction, rel=0.2)
    assert (found["mass_kg"]["before"], found["friction"]["before"]) == (HEAVY_KG, 0.5)
    low, high = found["mass_kg"]["interval"]
    assert low < found["mass_kg"]["value"] < high

    document = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, json.loads((ROOT / "resources" / "scene.schema.json").read_text(encoding="utf-8")))
    learnt = document["learnt"]["things"][THING]
    assert learnt["from"] == [{"path": str(probes), "content": content_hash(probes)}]
    scanned = learnt["scanned"]
    assert (scanned["mass_kg"], scanned["mass_interval_kg"], scanned["friction"]) == (HEAVY_KG, [0.1, 0.4], 0.5)
    scene = Scene.load(folder)
    cousin = as_it_stands(scene).apply(scene)
    for one in (scene, cousin):
        item = next(item for item in one.objects if item.name == THING)
        assert (item.mass_kg, item.friction) == (found["mass_kg"]["value"], found["friction"]["value"])
        assert item.inertia[0, 0] / item.mass_kg == pytest.approx(bench().objects[0].inertia[0, 0] / 0.2, rel=1e-6)
    assert f'mass value="{item.mass_kg:.6f}"' in (folder / "objects" / THING / "object.urdf").read_text()
    assert {name for name, data in before.items() if (folder / name).read_bytes() != data} == {
        "scene.json",
        f"objects/{THING}/object.urdf",
    }

    again = learn_from(project, [probes], LearnSettings())
    assert not again.changed
    assert [item.before for item in again.learnt if item.quantity == "mass_kg"] == [HEAVY_KG]
    undone = shell("learn-from", project.folder, "--undo")
    assert undone.code == 0, undone.stderr
    assert "forgotten" in undone.stdout
    after = {name: (folder / name).read_bytes() for name in before}
    assert {name for name, data in before.items() if after[name] != data} <= {f"objects/{THING}/object.urdf"}
    assert f'mass value="{HEAVY_KG:.6f}"' in (folder / "objects" / THING / "object.urdf").read_text()
    assert not learn_from(project, [], LearnSettings(undo=True)).changed


def test_what_stands_in_for_reality_stays_as_it_is(project: Project) -> None:
    """Its things are otherwise than the scan, not than what has been learnt since."""
    scene = Scene.load(project.stage_folder("scene"))
    items = {item.name: item for item in scene.objects}
    was = items[THING]
    now = dataclasses.replace(was, mass_kg=2 * was.mass_kg, inertia=2 * was.inertia, friction=3 * was.friction)
    scanned = {"mass_kg": was.mass_kg, "friction": was.friction}
    known = {"mass_kg": now.mass_kg, "friction": now.friction, "scanned": scanned}
    taught = dataclasses.replace(
        scene,
        objects=tuple((items | {THING: now}).values()),
        extra={"learnt": {"things": {THING: known}, "arms": {}}},
    )
    found = []
    for one in (scene, taught):
        wardrobe = wardrobe_of(one, 0, dict.fromkeys(VARIATIONS, 0.0), ()).bare()
        with RealCell(wardrobe, robot_of("panda"), 10.0, strengths_of_factors(["mass", "friction"]), [], BENCH) as cell:
            cell.reset(as_it_stands(one))
            model, body = cell._physics.model, cell._physics.body(THING)
            geom = list(model.geom_bodyid).index(body)
            found.append((model.body_mass[body], model.geom_friction[geom, 0]))
    assert found[0] == pytest.approx((HEAVY_KG * true("mass", "mass"), 0.5 * true("friction", "thing")), rel=1e-5)
    assert found[1] == pytest.approx(found[0], rel=1e-5)


def test_a_write_that_fails_leaves_the_scene_as_it_was(
    project: Project, probes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = project.stage_folder("scene")
    before, names = content_hash(folder), tree(project.folder)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(app.learn_stage, "write_learnt", full)
    with pytest.raises(OutputError, match="no space left"):
        learn_from(project, [probes], LearnSettings())
    assert content_hash(folder) == before
    assert tree(project.folder) ^ names <= {".lock"}  # whoever writes first leaves it


def test_runs_that_are_no_probes_teach_the_delay_alone(project: Project, probes: Path, tmp_path: Path) -> None:
    episode = open_dataset(probes).read(0)
    with DatasetWriter(tmp_path / "runs", robot="panda") as writer:
        writer.add(dataclasses.replace(episode, task_name="place block_1 in bowl_1", extra={}))
        writer.finish()
    made = learn_from(project, [tmp_path / "runs"], LearnSettings(dry=True))
    assert {item.quantity for item in made.learnt} == {"delay_s", "dead_s", "lag_s"}
    assert "no run is a probe" in made.warnings[0]
    with DatasetWriter(tmp_path / "mute", robot="panda") as writer:
        writer.add(dataclasses.replace(episode, extra={PHASE: episode.extra[PHASE]}))
        writer.finish()
    made = learn_from(project, [tmp_path / "mute"], LearnSettings(dry=True))
    assert "did not say what they do" in made.warnings[0]
    still = dataclasses.replace(episode, state=episode.state * 0, action=episode.action * 0, extra={})
    with DatasetWriter(tmp_path / "still", robot="panda") as writer:
        writer.add(dataclasses.replace(still, task_name="rest"))
        writer.finish()
    with pytest.raises(InputError, match="teach nothing.*hardly moved"):
        learn_from(project, [tmp_path / "still"], LearnSettings())


def test_what_makes_no_sense_is_refused(
    project: Project, bundle: Path, probes: Path, shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(shell("learn-from", project.folder), 2, "Either runs are learnt from")
    refused(shell("learn-from", project.folder, tmp_path), 4, "no dataset of episodes")
    with pytest.raises(UsageError, match="Either"):
        learn_from(project, [probes], LearnSettings(undo=True))
    with pytest.raises(UsageError, match="another arm than xarm6"):
        learn_from(project, [probes], LearnSettings(robot="xarm6"))
    episode = open_dataset(probes).read(0)
    with DatasetWriter(tmp_path / "runs", robot="panda") as writer:
        writer.add(dataclasses.replace(episode, task_name="probe teapot_1"))
        writer.finish()
    with pytest.raises(UsageError, match="no teapot_1"):
        learn_from(project, [tmp_path / "runs"], LearnSettings())
    refused(shell("probe", bundle, "--project", project.folder, "--port", "x"), 2, "no real arm")
    for said, more in {
        "--count": {"count": 0},
        "--press-n": {"press_n": 300.0},
        "--speed": {"speed": 0.0},
        "has no 'teapot_1'": {"thing": "teapot_1"},
        "box_1 cannot be probed where it was scanned": {"thing": "box_1"},
    }.items():
        with pytest.raises(UsageError, match=said):
            probe(bundle, ProbeSettings(**more), project=project)  # type: ignore[arg-type]
    narrow = bundles.make_bundle(tmp_path / "narrow")
    bundles.change(narrow, "guard", "workspace", to={"low": [0.1, -0.6, 0.0], "high": [0.75, 0.6, 0.1]})
    rows = Bundle(bundle).manifest.home[None]
    still = simulation.probing.Plan(THING, *[rows] * 6, along=np.array([1.0, 0.0, 0.0]))
    monkeypatch.setattr(simulation.probing.Prober, "rehearse", lambda *_: still)
    with pytest.raises(UsageError, match="leave the workspace"):
        probe(narrow, ProbeSettings(fast=True), project=project)


def test_an_arm_that_feels_nothing_is_not_moved(
    project: Project, bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    device = FakeArm(clock=time.perf_counter)
    home = Bundle(bundle).manifest.home
    device.now = dict(zip(device.now, map(float, [*np.rad2deg(home[:-1]), 100.0]), strict=True))
    install(monkeypatch, device)
    monkeypatch.setattr(app.probe_stage, "_rehearsed", lambda *_: None)
    settings = ProbeSettings(robot="lerobot:fake_arm")
    with pytest.raises(UsageError, match="do not say what they do"):
        probe(bundle, settings, project=project, arm=ArmSettings(yes=True), out=tmp_path / "runs")
    assert (device.told, device.happened) == ([], ["connect", "disconnect"])
    assert list(tmp_path.iterdir()) == []


class Still:
    """An arm that notes what it is told."""

    def __init__(self, home: np.ndarray) -> None:
        self.now, self.told, self.stopped = home, list[np.ndarray](), 0
        self.age_s = 0.0

    def connect(self) -> None:
        pass

    def read(self) -> Reading:
        return Reading(self.now, {"joints": time.monotonic() - self.age_s})

    def act(self, command: np.ndarray) -> None:
        self.now = command
        self.told.append(command)

    def stop(self) -> None:
        self.stopped += 1


def test_whoever_follows_goals_is_guarded(bundle: Path) -> None:
    manifest = Bundle(bundle).manifest
    far, outside = manifest.home.copy(), manifest.home.copy()
    far[0] += 0.8
    outside[3] += 2.5
    arm = Still(manifest.home)
    assert follow(manifest, arm, iter([far, manifest.home]), fast=True).stopped == ""
    paces = np.abs(np.diff([manifest.home, *arm.told], axis=0))[:, :-1]
    assert (paces <= manifest.limits.speed / manifest.rate_hz + 1e-9).all()
    assert arm.told[-1] == pytest.approx(manifest.home, abs=2e-3)
    assert max(told[0] for told in arm.told) > far[0] - 2e-3
    arm = Still(manifest.home)
    assert follow(manifest, arm, iter([outside] * 3), fast=True).stopped == KEPT
    arm = Still(manifest.home)
    arm.age_s = 1.0
    assert "stale data" in follow(manifest, arm, iter([far]), fast=True).stopped
    assert (arm.told, arm.stopped) == ([], 1)
