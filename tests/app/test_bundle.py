"""``pocketworld export`` and ``run``: from a policy to what drives a robot."""

from __future__ import annotations

import ast
import dataclasses
import json
import keyword
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from app.bundle_stage import ExportResult, ExportSettings, export_bundle
from app.project import Project, content_hash
from app.reality_stage import RealitySettings, check_reality
from app.ros2_package import NEEDS, config_yaml, package_name, package_xml, write_package
from app.run_stage import RunSettings, run_bundle
from policies.dataset import open_dataset
from policies.deploy.bundle import Bundle, read_manifest
from policies.deploy.ros2.settings import parameters_of
from reconstruction.errors import OutputError, UsageError
from tests import bundles
from tests.app.scans import tree
from tests.conftest import ROOT, Run, command, environment
from tests.robot_bench import VARY, project_at

Shell = Callable[..., Run]
ROS2_FILES = (*(ROOT / "policies" / "deploy" / "ros2").glob("*.py"), ROOT / "resources" / "ros2" / "node.py")
TASK = ("--task", "place block_1 in bowl_1", "--seed", "3")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a scene, with a space and an umlaut in its path."""
    return project_at(tmp_path_factory.mktemp("bundle") / "Küche drei").folder


def refused(run: Run, code: int, said: str) -> None:
    assert run.code == code, run.stdout + run.stderr
    assert said in run.stderr
    assert "what to do:" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_a_policy_to_a_run(project: Path, shell: Shell, tmp_path: Path) -> None:
    shown = shell("demonstrate", project, *TASK, "--cameras", "none", "--vary", *VARY, "--count", 3, "--jobs", 1)
    assert shown.code == 0, shown.stderr
    with pytest.raises(UsageError, match="has no policy"):
        export(project)
    quick = (
        "--observe",
        "state",
        "--steps",
        20,
        "--batch",
        16,
        "--check-every",
        10,
        "--jobs",
        1,
        "--blunders",
        0,
        "--checks",
        0,
    )
    assert shell("train", project, *TASK, *quick).code == 0
    refused(shell("export", project, *TASK), 2, "Nobody knows how good")
    tried = shell("evaluate", project, *TASK, "--count", 1, "--films", 0, "--jobs", 1, "--json")
    policy = Path(tried.result["policy"])
    kept = json.loads((policy.parent / "evaluation.json").read_text())
    assert kept["policy"] == content_hash(policy)
    assert (kept["count"], kept["successes"]) == (1, tried.result["successes"])
    (policy.parent / "evaluation.json").write_text(json.dumps({**kept, "successes": 0}))
    with pytest.raises(UsageError, match="succeeded in 0% of the cousins"):
        export(project)
    with pytest.raises(UsageError, match="--least"):
        export(project, least=2.0)
    assert not (project / "bundle").exists()

    (policy.parent / "evaluation.json").write_text(json.dumps({**kept, "successes": 1}))
    made = shell("export", project, *TASK, "--json")
    assert made.code == 0, made.stderr
    assert made.result["success"] == 1.0
    assert made.result["parity"] <= 1e-4
    folder = Path(made.result["bundle"])
    assert folder == project / "bundle" / "place_block_1_in_bowl_1_panda_3"
    read = Bundle(folder)
    assert read.manifest.task == "place block_1 in bowl_1"
    assert str(project) not in (folder / "manifest.json").read_text(encoding="utf-8")
    assert set(read.manifest.document["files"]) == tree(folder) - {"manifest.json"} - folders(folder)

    (policy.parent / "evaluation.json").write_text(json.dumps({**kept, "policy": "blake2b:of another one"}))
    with pytest.raises(UsageError, match="Nobody knows how good"):
        export(project)
    before = content_hash(folder)
    again = export(project, anyway=True, ros2=True)
    assert again.success is None
    assert again.ros2 == str(folder / "ros2" / "pocketworld_place_block_1_in_bowl_1_panda")
    assert read_manifest(Path(again.ros2) / "bundle") == read_manifest(folder)
    whole = tree(Path(again.ros2) / "bundle")
    assert whole == {name for name in tree(folder) if name.partition("/")[0] != "ros2"}
    assert content_hash(folder) != before  # it says that it was never evaluated
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(".")]

    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("x")
    with pytest.raises(OutputError, match="is no bundle"):
        export(project, tmp_path / "letters", anyway=True)
    assert tree(tmp_path) == {"letters", "letters/dear.txt"}

    words = ("run", folder, "--project", project, "--fast", "--seconds", 3, "--out", tmp_path / "runs")
    told = shell(*words, "--json")
    assert told.code == 0, told.stderr
    result = told.result
    assert result["success"] in (True, False)
    assert (result["missed"], result["fault"]) == (0, False)
    settings = RunSettings(seconds=3.0, fast=True)
    run_bundle(folder, settings, project=Project(project), out=tmp_path / "runs")
    runs = recorded(tmp_path / "runs")
    episodes = [runs.read(number) for number in range(2)]
    assert len(episodes[0]) >= result["ticks"]
    assert episodes[0].state.tobytes() == episodes[1].state.tobytes()
    assert episodes[0].action_names[-1] == "gripper.pos"
    with pytest.raises(UsageError, match="needs a scene"):
        run_bundle(folder, settings)
    _stand_in(folder, project, shell, tmp_path)

    words = ("reality-check", folder, "--project", project, "--each", 1, "--factors", "mass")
    real = shell(*words, "--count", 2, "--films", 1, "--jobs", 1, "--json")
    assert real.code == 0, real.stderr
    found = real.result
    assert (found["count"], found["world"], found["otherwise"]) == (2, "scanned", ["mass"])
    assert list(found["factors"]) == ["none", "mass"]
    assert [row["count"] for row in found["factors"].values()] == [1, 1]
    assert found["simulated"] is None  # exported anyway, never evaluated
    assert found["gap"] is None
    kept = json.loads(Path(found["file"]).read_text())
    assert len(kept["trials"]) == 2
    assert kept["successes"] == found["successes"] == sum(not trial["reason"] for trial in kept["trials"])
    films = list(Path(found["films"]).glob("*.mp4"))
    assert 1 <= len(films) <= 2
    assert all(film.stat().st_size > 5000 for film in films)
    tries = Path(found["file"]).with_name("reality_tries.jsonl")
    _killed_after_a_try(folder, project, tries)
    again = shell(*words, "--count", 2, "--films", 1, "--jobs", 2, "--json").result
    assert json.loads(Path(found["file"]).read_text())["trials"][0]["seconds"] == 77.0  # it was not made again
    assert {**again, "seconds": 0} == {**found, "seconds": 0}
    more = shell(*words, "--count", 3, "--films", 0, "--jobs", 1, "--json").result
    assert json.loads(Path(found["file"]).read_text())["trials"][0]["seconds"] == 77.0
    assert (more["count"], more["factors"]) == (3, found["factors"])
    assert more["films"] == ""
    assert not Path(found["films"]).exists()  # films of another check show something else
    refused(shell(*words, "wind"), 2, "no factor 'wind'")
    refused(shell(*words, "--truth", tmp_path / "letters"), 3, "does not say what is really there")
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}


def _killed_after_a_try(folder: Path, project: Path, kept: Path) -> None:
    """Leave what came of one try, marked, and half of another."""

    def stop(fraction: float, message: str) -> None:
        if "1 of 2 tries" in message:
            raise KeyboardInterrupt

    kept.unlink()
    settings = RealitySettings(count=2, each=1, films=0, factors=("mass",))
    with pytest.raises(KeyboardInterrupt):
        check_reality(folder, settings, stop, project=Project(project))
    *skipped, line = kept.read_text(encoding="utf-8").splitlines()
    about, group, number, row = json.loads(line)
    assert not row["trial"]["skipped"]
    row["trial"]["seconds"] = 77.0
    kept.write_text("\n".join([*skipped, json.dumps([about, group, number, row]), '["']), encoding="utf-8")


def _stand_in(folder: Path, project: Path, shell: Shell, tmp_path: Path) -> None:
    words = ("run", folder, "--project", project, "--robot", "stand-in", "--fast", "--seconds", 1, "--count", 2)
    found = []
    for bench in (4, 4, 5):
        place = tmp_path / f"stand_in_{len(found)}"
        told = shell(*words, "--bench", bench, "--out", place, "--json")
        assert told.code == 0, told.stderr
        assert (told.result["runs"], told.result["success"]) == (2, False)
        assert (told.result["successes"], told.result["dataset"]) == (0, f"{place}_failures")
        found.append([recorded(place).read(number) for number in range(2)])
    for first, second, other in zip(*found, strict=True):
        assert first.extra["observation.effort"].shape == (len(first), 7)
        for one, same in ((first.state, second.state), (first.extra["observation.effort"],) * 2):
            assert one.tobytes() == same.tobytes()
        assert first.recipe == second.recipe == other.recipe  # things stand alike, but
        assert first.state.tobytes() != other.state.tobytes()
    assert found[0][0].recipe != found[0][1].recipe
    refused(shell(*words[:4], "--robot", "dry-run", "--count", 2), 2, "must put the things back")


def export(project: Path, out: Path | None = None, **more: Any) -> ExportResult:
    return export_bundle(Project(project), ExportSettings(task=TASK[1], seed=3, **more), out=out)


def recorded(folder: Path):  # type: ignore[no-untyped-def]
    return open_dataset(folder if (folder / "meta").exists() else folder.with_name(folder.name + "_failures"))


def folders(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_dir()}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_bundle(tmp_path_factory.mktemp("made") / "ein Bündel")


def test_dry_runs_are_recorded_one_after_another(bundle: Path, shell: Shell) -> None:
    for number in range(2):
        run = shell("run", bundle, "--robot", "dry-run", "--seconds", 2, "--fast", "--json")
        assert run.code == 0, run.stderr
        result = run.result
        assert result["success"] is None
        assert (result["ticks"], result["stopped"], result["missed_share"]) == (20, "the time is over", 0.0)
        runs = recorded(Path(result["dataset"]))
        assert Path(result["dataset"]) == bundle.with_name("ein Bündel_runs") / "dry-run_failures"
        assert len(runs) == number + 1
    episode = runs.read(1)
    assert 20 <= len(episode) < 25  # and how it came to rest
    assert episode.reason == "the time is over"
    assert "observation.environment_state" in episode.extra
    said = shell("run", bundle, "--robot", "dry-run", "--seconds", 1, "--fast")
    assert "deadlines missed: 0 of 10" in said.stdout


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_is_recorded(bundle: Path, tmp_path: Path, number: int) -> None:
    words = command("run", bundle, "--robot", "dry-run", "--seconds", "60", "--out", tmp_path / "runs", "--json")
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment(fake=False))
    assert process.stdout is not None
    while b' s"' not in process.stdout.readline():  # it runs: "0.1 s"
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(number)
    said = [json.loads(line) for line in process.stdout.read().splitlines()]
    process.stdout.close()
    assert process.wait(timeout=30) == 0
    result = said[-1]
    assert (result["event"], result["stopped"]) == ("result", "it was told to stop")
    assert 3 < result["ticks"] < 300
    recorded = open_dataset(Path(result["dataset"]))
    assert result["ticks"] <= recorded.length(0) < result["ticks"] + 5  # and how it came to rest


def test_what_makes_no_sense_is_refused(bundle: Path, project: Path, shell: Shell, tmp_path: Path) -> None:
    refused(shell("run", tmp_path / "nowhere", "--robot", "dry-run"), 3, "cannot be read")
    refused(shell("run", project, "--robot", "dry-run"), 3, "manifest.json cannot be read")
    refused(shell("run", bundle, "--robot", "dry-run", "--seconds", 0), 2, "--seconds")
    assert shell("run", bundle, "--robot", "toaster").code == 2
    broken = bundles.make_bundle(tmp_path / "broken")
    (broken / "policy.onnx").write_bytes(b"tea")
    refused(shell("run", broken, "--robot", "dry-run"), 3, "policy.onnx is not the file that was exported")
    assert tree(tmp_path) - {"broken"} == {f"broken/{name}" for name in tree(broken)}  # nothing beside it


def test_a_package_of_ros_is_whole(bundle: Path, tmp_path: Path) -> None:
    manifest = Bundle(bundle).manifest
    package = write_package(bundle, tmp_path / "ros2")
    name = package.name
    assert name == package_name(manifest) == "pocketworld_place_block_1_in_bowl_1_panda"
    assert (package / "resource" / name).read_bytes() == b""
    for file in ("setup.py", f"{name}/__init__.py", f"{name}/node.py", f"launch/{name}.launch.py"):
        ast.parse((package / file).read_text(encoding="utf-8"), feature_version=(3, 10))
    for file in package.rglob("*.py"):
        compile(file.read_bytes(), file, "exec")
    assert f"$base/lib/{name}" in (package / "setup.cfg").read_text(encoding="utf-8")
    assert Bundle(package / "bundle").manifest.document == manifest.document
    root = ElementTree.parse(package / "package.xml").getroot()
    assert (root.tag, root.get("format"), root.findtext("export/build_type")) == ("package", "3", "ament_python")
    for tag in ("name", "version", "description", "maintainer", "license"):
        assert root.findtext(tag), tag
    assert root.find("maintainer").get("email")  # type: ignore[union-attr]
    assert re.fullmatch(r"\d+\.\d+\.\d+", root.findtext("version") or "")
    assert [entry.text for entry in root.findall("exec_depend")] == list(NEEDS)
    imported = set(re.findall(r"^ *(?:from|import) (\w+)", "".join(f.read_text() for f in ROS2_FILES), re.MULTILINE))
    own = {"policies", "simulation", "numpy", "__future__"} | set(sys.stdlib_module_names)
    assert imported - own <= set(NEEDS)


def test_names_of_packages_are_taken_by_ros(bundle: Path) -> None:
    manifest = Bundle(bundle).manifest
    words = [
        "lege Schüssel_1 auf Tablett 2",
        "3 Äpfel",
        "  --  ",
        "a__b",
        "класть куб",
        "класть шар",
        "x" * 300,
        "DEF",
        "ß",
    ]
    named = {task: package_name(dataclasses.replace(manifest, task=task)) for task in words}
    for name in named.values():
        assert re.fullmatch("[a-z](_?[a-z0-9]+)+", name), name
        assert len(name) <= 60
        assert not keyword.iskeyword(name)
    assert len(set(named.values())) == len(words)
    assert named["lege Schüssel_1 auf Tablett 2"] == "pocketworld_lege_schussel_1_auf_tablett_2_panda"
    assert named["ß"] == "pocketworld_ss_panda"


def test_whatever_the_words_are_files_stay_readable(bundle: Path) -> None:
    manifest = Bundle(bundle).manifest
    hostile = 'a"\n  b: <&\u0000\x1b{%\U0001f600 # ]]>'
    told = dataclasses.replace(manifest, task=hostile, sentence=hostile, robot=hostile)
    told = dataclasses.replace(told, joints=(hostile, *manifest.joints[1:]))
    assert "<&" in (ElementTree.fromstring(package_xml("some_name", told)).findtext("description") or "")
    lines = config_yaml(told).splitlines()
    assert lines[2:4] == ["/**:", "  ros__parameters:"]
    entries = parameters_of(told)
    values = [line.split(": ", 1)[1] for line in lines if ": " in line and not line.lstrip().startswith("#")]
    assert [json.loads(value) for value in values] == [entry.usual for entry in entries]
    assert all(line.isprintable() for line in lines)
