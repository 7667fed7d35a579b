"""``pocketworld train`` and ``evaluate``: from demonstrations to a policy and how good it is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from app.demonstrate_stage import check_cameras
from app.evaluate_stage import evaluate_policy
from app.project import Project
from app.report import write_report
from app.train_stage import TrainSettings
from policies.checkpoint import POLICIES, load_model
from policies.dataset import open_dataset
from policies.deploy.bundle import Bundle
from policies.deploy.loop import unfit
from policies.deploy.robot import Reading
from policies.evaluate import FRAMES
from reconstruction.errors import InputError
from simulation.calibration import CALIBRATION
from simulation.pointcloud import DEPTH
from tests.conftest import Run
from tests.robot_bench import VARY, project_at

Shell = Callable[..., Run]
ROOT = Path(__file__).parents[2]
TASK = ("--task", "place block_1 in bowl_1", "--seed", "3")
QUICK = ("--observe", "state", "--steps", 20, "--batch", 16, "--blunders", 0, "--check-every", 10, "--jobs", 1)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a scene, with a space and an umlaut in its path."""
    return project_at(tmp_path_factory.mktemp("train") / "Küche zwei").folder


def test_a_policy_is_trained_corrected_and_evaluated(project: Path, shell: Shell, tmp_path: Path) -> None:
    before = shell("train", project, *TASK, *QUICK)
    assert before.code != 0
    assert "Nobody has demonstrated" in before.stderr
    shown = shell("demonstrate", project, *TASK, "--cameras", "none", "--vary", *VARY, "--count", 3, "--jobs", 1)
    assert shown.code == 0, shown.stdout + shown.stderr
    none = shell("evaluate", project, *TASK, "--count", 1)
    assert none.code != 0
    assert "has no policy" in none.stderr
    more = ("--blunders", 2, "--rounds", 1, "--corrections", 2, "--checks", 1)
    made = shell("train", project, *TASK, *QUICK, *more, "--json")
    assert made.code == 0, made.stdout + made.stderr
    result = made.result
    assert result["episodes"] == 3
    assert 0.0 <= result["success"] <= 1.0
    policy = Path(result["policy"])
    assert policy.parent.parent == project / "policy"
    model, notes = load_model(policy)
    assert notes["task"] == "place block_1 in bowl_1"
    assert model.observe == "state"
    lines = [json.loads(line) for line in (policy.parent / "round_1" / "metrics.jsonl").read_text().splitlines()]
    assert {"step": 10, "success": lines[-1]["success"]}.keys() == lines[-1].keys()
    (wrong,) = policy.parent.glob("blunders-*")
    put_right = open_dataset(wrong)
    assert len(put_right) == 2
    shown = open_dataset(project / "episodes" / policy.parent.name)
    frames = [sum(data.length(number) for number in range(len(data))) for data in (shown, put_right)]
    fixed = open_dataset(next((policy.parent / "round_1").glob("corrections-*")))
    frames.append(sum(fixed.length(number) for number in range(len(fixed))))
    assert result["frames"] == sum(frames)
    again = shell("train", project, *TASK, *QUICK, *more, "--json")
    assert Path(again.result["policy"]).read_bytes() == policy.read_bytes()  # nothing was left to do
    write_report(Project.open(project))
    films = ("--films", 1)
    tried = [shell("evaluate", project, *TASK, "--count", 2, *films, "--jobs", 1, "--json")]

    def stop(fraction: float, message: str) -> None:
        if message.startswith("1 of 2 cousins"):
            raise KeyboardInterrupt

    settings = TrainSettings(task=TASK[1], seed=3)
    kept = policy.with_name("evaluation_tries.jsonl")
    kept.unlink()
    with pytest.raises(KeyboardInterrupt):
        evaluate_policy(Project.open(project), settings, 2, stop, jobs=1)
    *skipped, line = kept.read_text(encoding="utf-8").splitlines()
    about, group, number, row = json.loads(line)
    assert not row["skipped"]
    line = json.dumps([about, group, number, {**row, "peak": 77.0}])
    kept.write_text("".join(f"{row}\n" for row in (*skipped, line)), encoding="utf-8")
    tried.append(shell("evaluate", project, *TASK, "--count", 2, *films, "--jobs", 2, "--json"))
    scored = json.loads(policy.with_name("evaluation.json").read_text(encoding="utf-8"))
    assert scored["trials"][0]["peak"] == 77.0  # it was not made again
    for run in tried:
        assert run.code == 0, run.stdout + run.stderr
        assert set(run.result) >= {"count", "successes", "interval", "failures", "skipped", "seconds"}
        assert run.result["count"] == 2
        assert run.result["successes"] + sum(run.result["failures"].values()) == 2
    left = [{name: value for name, value in run.result.items() if name != "seconds"} for run in tried]
    assert left[0] == left[1]
    shown = sorted(Path(tried[0].result["films"]).iterdir())
    assert 1 <= len(shown) <= 2
    assert {film.stem.split("_")[0] for film in shown} <= {"failed", "succeeded"}
    with av.open(str(shown[0])) as film:
        seen = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(seen) > 5
    assert np.abs(seen[0].astype(int) - seen[-1]).max() > 50
    page = (project / "report.html").read_text(encoding="utf-8")
    for words in (
        "place block_1 in bowl_1",
        f"{tried[0].result['successes']} of 2",
        "data:video/mp4;base64,",
        "acting",
    ):
        assert words in page
    assert run.result["dream_auroc"] is None or 0.0 <= run.result["dream_auroc"] <= 1.0
    kept = json.loads((policy.parent / "evaluation.json").read_text(encoding="utf-8"))["trials"]
    assert len(kept) == 2
    ticks = {trial["index"]: round(10 * trial["seconds"]) for trial in kept}
    long = ticks[int(shown[0].stem.split("_")[1])]
    assert len(seen) == -(-long // max(2, -(-long // FRAMES)))  # what is shown is what was tried
    assert all(trial["doubts"] for trial in kept)
    film = tmp_path / "Traum ä.mp4"
    dreamed = shell("dream", project, *TASK, "--episode", 1, "--size", 64, "--video", film, "--json")
    assert dreamed.code == 0, dreamed.stdout + dreamed.stderr
    assert dreamed.result["horizons_s"] == [0.4, 0.8, 1.6]
    assert len(dreamed.result["doubts"]) == int((dreamed.result["seconds"] - 0.05) / 0.4)
    assert dreamed.result["limit_m"] is None  # two cousins tell nothing
    with av.open(str(film)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == round(dreamed.result["seconds"] * 10)
    assert frames[0].shape == (80, 64, 3)
    assert np.std(frames[5][:64]) > 10
    assert shell("dream", project, *TASK, "--episode", 99, "--json").errors[0]["code"] == "bad_value"
    policy.write_bytes(policy.read_bytes()[:1000])
    broken = shell("evaluate", project, *TASK, "--count", 1)
    assert broken.code != 0
    assert "is no readable policy" in broken.stderr
    assert "Traceback" not in broken.stderr


def test_action_chunking_is_trained_corrected_evaluated_exported_and_run(project: Path, shell: Shell) -> None:
    task = ("--task", "pick block_1", "--seed", "6")
    shown = shell("demonstrate", project, *task, "--cameras", "none", "--vary", *VARY, "--count", 2, "--jobs", 1)
    assert shown.code == 0, shown.stdout + shown.stderr
    words = ("train", project, *task, *QUICK, "--policy", "act", "--rounds", 1, "--corrections", 1, "--checks", 0)
    made = shell(*words, "--json")
    assert made.code == 0, made.stdout + made.stderr
    policy = Path(made.result["policy"])
    for path in (policy, policy.parent / "round_0" / policy.name):
        assert type(load_model(path)[0]) is POLICIES["act"]
    tried = shell("evaluate", project, *task, "--count", 1, "--films", 0, "--jobs", 1, "--json")
    assert tried.code == 0, tried.stdout + tried.stderr
    assert tried.result["count"] == 1
    bundle = shell("export", project, *task, "--anyway", "--json")
    assert bundle.code == 0, bundle.stdout + bundle.stderr
    assert bundle.result["parity"] < 1e-4
    drive = ("run", bundle.result["bundle"], "--robot", "sim", "--project", project, "--fast", "--seconds", 1, "--json")
    ran = shell(*drive)
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.result["ticks"] == 10
    both = shell(*words, "--action-only")
    assert both.code == 2
    assert "--policy act only acts anyway" in both.stderr


def test_a_policy_learns_from_pictures(project: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    task = ("--task", "pick block_1", "--seed", "4")
    eyes = ("--observe", "rgb", "--glances", 2, "--eye-steps", 6, "--eye-batch", 4)
    quick = (*eyes, "--blunders", 1, "--steps", 6, "--batch", 8, "--check-every", 3, "--jobs", 1)
    filmed = ("--cameras", "both", "--image-size", 32, "--vary", *VARY)
    shown = shell("demonstrate", project, *task, *filmed, "--count", 1, "--jobs", 1)
    assert shown.code == 0, shown.stdout + shown.stderr
    made = shell("train", project, *task, *quick, "--rounds", 1, "--corrections", 1, "--checks", 0, "--json")
    assert made.code == 0, made.stdout + made.stderr
    policy = Path(made.result["policy"])
    model, before = load_model(policy)
    assert (model.observe, model.encoder.cameras) == ("rgb", ("front", "wrist"))
    assert (policy.parent / "eyes" / "metrics.jsonl").stat().st_size
    other = shell("train", project, *task, *quick, "--eye-steps", 9, "--rounds", 0, "--checks", 0, "--json")
    assert other.code == 0, other.stdout + other.stderr
    model, notes = load_model(policy)
    assert notes["eyes"] != before["eyes"]  # with other eyes, it learnt to act anew
    eyes = load_model(policy.parent / "eyes" / "policy.safetensors")[0].encoder.state_dict()
    mine = model.encoder.state_dict()
    assert all((mine[name] == value).all() for name, value in eyes.items() if name.startswith("eyes."))
    seeing = policy.parent / "eyes" / "policy.safetensors"
    taken = shell("train", project, *task, *quick, "--eye-steps", 0, "--checks", 0, "--eyes", seeing, "--json")
    assert taken.code == 0, taken.stdout + taken.stderr
    other, about = load_model(policy)
    assert about["eyes"] == notes["eyes"]
    assert all((other.encoder.state_dict()[name] == value).all() for name, value in eyes.items() if "eyes." in name)
    blind = shell("train", project, *task, *quick, "--eye-steps", 0)
    assert (blind.code, "--eye-steps is 0" in blind.stderr) == (2, True)
    tried = shell("evaluate", project, *task, "--count", 1, "--films", 0, "--jobs", 1, "--json")
    assert tried.code == 0, tried.stdout + tried.stderr
    assert tried.result["count"] == 1
    bundle = shell("export", project, *task, "--anyway", "--json")
    assert bundle.code == 0, bundle.stdout + bundle.stderr
    manifest = json.loads((Path(bundle.result["bundle"]) / "manifest.json").read_text())
    assert {name: facts["size"] for name, facts in manifest["cameras"].items()} == {
        "front": [32, 32],
        "wrist": [32, 32],
    }
    ran = shell(
        "run", bundle.result["bundle"], "--robot", "sim", "--project", project, "--fast", "--seconds", 1, "--json"
    )
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.result["ticks"] == 10
    filmed_in = open_dataset(project / "episodes" / "pick_block_1_panda_4")
    check_cameras(filmed_in)
    with monkeypatch.context() as other:
        other.setattr("simulation.robots.CAMERA_XYZ", (0.07, 0.0, -0.05 - 0.12))
        with pytest.raises(InputError, match=r"'wrist' .* was 12 cm from where it is today"):
            check_cameras(filmed_in)
    unfilmed = shell("demonstrate", project, *TASK, "--cameras", "none", "--vary", *VARY, "--count", 3, "--jobs", 1)
    assert unfilmed.code == 0, unfilmed.stdout + unfilmed.stderr
    blind = shell("train", project, *TASK, "--observe", "rgb", "--jobs", 1)
    assert blind.code == 2
    assert "has no pictures of the camera 'front'" in blind.stderr


def test_a_policy_learns_from_clouds_of_points(project: Path, shell: Shell) -> None:
    task = ("--task", "pick block_1", "--seed", "7")
    sizes = ("--demonstrations", 1, "--glances", 2, "--eye-steps", 4, "--blunders", 1, "--steps", 6, "--cousins", 1)
    words = ("train-and-export", project, *task, "--vary", *VARY, "--observe", "pointcloud", *sizes, "--anyway")
    made = shell(*words, "--jobs", 1, "--json")
    assert made.code == 0, made.stdout + made.stderr
    assert made.result["export"]["parity"] < 1e-4
    bundle = Path(made.result["export"]["bundle"])
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["observe"] == "pointcloud"
    assert set(manifest["policy"]["inputs"]) == {"observation.state", "observation.points"}
    assert manifest["points"]["cameras"] == ["front", "wrist"]
    dreamed = shell("dream", project, *task, "--json")
    assert dreamed.code == 0, dreamed.stdout + dreamed.stderr
    quick = ("--fast", "--seconds", 1, "--json")
    for robot in (("sim", "--project", project), ("dry-run",)):
        ran = shell("run", bundle, "--robot", *robot, *quick)
        assert ran.code == 0, ran.stdout + ran.stderr
        assert (ran.result["ticks"], ran.result["fault"]) == (10, False)
    # A robot whose cameras do not measure depth is not driven.
    told = Bundle(bundle)
    assert told.manifest.measures[-3:] == (f"{DEPTH}front", f"{DEPTH}wrist", CALIBRATION)
    reading = Reading(told.manifest.home, {"joints": 0.0}, {})
    assert unfit(told.manifest, 0.0, reading) == f"the robot does not measure {min(told.manifest.measures)}"


def test_all_at_once_goes_on_where_it_was_and_refuses_what_is_not_good_enough(project: Path, shell: Shell) -> None:
    words = ("train-and-export", project, "--task", "pick can_1", "--seed", "5", "--vary", *VARY, "--observe", "state")
    sizes = ("--demonstrations", 2, "--blunders", 0, "--steps", 10, "--cousins", 2, "--jobs", 1, "--json")
    weak = shell(*words, *sizes, "--least", 1.0)
    assert weak.code == 2, weak.stdout + weak.stderr
    assert weak.errors[0]["code"] == "not_good_enough"
    assert not (project / "bundle" / "pick_can_1_panda_5").exists()
    made = shell(*words, *sizes, "--anyway")
    assert made.code == 0, made.stdout + made.stderr
    result = made.result
    assert result["demonstrate"]["successes"] == 2
    assert result["train"]["episodes"] == 2
    assert result["evaluate"]["count"] == 2
    assert (Path(result["export"]["bundle"]) / "manifest.json").is_file()
    refused = shell(*words, "--least", 3)
    assert refused.code == 2
    assert "--least" in refused.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("train", "--steps", "0"),
        ("train", "--checks", "-1"),
        ("train", "--glances", "0"),
        ("train", "--blunders", "-1"),
        ("train", "--patience", "-1"),
        ("train", "--patience", "2", "--checks", "0"),
        ("train", "--pretrain-steps", "5", "--action-only"),
        ("train", "--eyes", "eyes.safetensors", "--observe", "state"),
        ("train", "--observe", "rgb", "--eye-steps", "0"),
        ("train", "--jobs", "0"),
        ("train", "--device", "abacus"),
        ("train", "--robot", "xarm6"),
        ("evaluate", "--count", "0"),
    ],
)
def test_what_makes_no_sense_is_refused(project: Path, shell: Shell, words: tuple[str, ...]) -> None:
    run = shell(words[0], project, *TASK, *words[1:])
    assert run.code == 2
    assert run.stderr.strip()
    assert "Traceback" not in run.stderr


def test_it_first_learns_to_foretell_from_failures_and_play(project: Path, shell: Shell) -> None:
    task = ("--task", "pick can_1", "--seed", "8")
    shown = shell("demonstrate", project, *task, "--cameras", "none", "--vary", *VARY, "--count", 2, "--jobs", 1)
    assert shown.code == 0, shown.stdout + shown.stderr
    dataset = project / "episodes" / "pick_can_1_panda_8"
    words = ("train", project, *task, *QUICK, "--checks", 0, "--json")
    plain = shell(*words)
    assert plain.code == 0, plain.stdout + plain.stderr
    policy = Path(plain.result["policy"])
    before, weights = load_model(policy)[1], policy.read_bytes()
    failures = dataset.with_name(dataset.name + "_failures")
    shutil.rmtree(failures, ignore_errors=True)
    shutil.copytree(dataset, failures)
    made = shell(*words, "--pretrain-steps", 10, "--plays", 2)
    assert made.code == 0, made.stdout + made.stderr
    assert made.result["frames"] == plain.result["frames"]  # to act is learnt from the same
    (plays,) = policy.parent.glob("plays-*")
    played = open_dataset(plays)
    assert len(played) == 2
    first, notes = load_model(policy.parent / "pretrained" / policy.name)
    assert first.settings.horizons
    assert "pretrained" not in before
    assert load_model(policy)[1]["pretrained"]
    assert policy.read_bytes() != weights
    # What has been recorded of a robot counts, too: successes to act, failures beside them to foretell.
    recorded = failures.with_name("läuft")
    shutil.copytree(dataset, recorded)
    shutil.copytree(dataset, recorded.with_name("läuft_failures"))
    more = shell(*words, "--pretrain-steps", 10, "--plays", 2, "--runs", recorded)
    assert more.code == 0, more.stdout + more.stderr
    assert more.result["frames"] == 2 * plain.result["frames"]
    ahead = load_model(policy.parent / "pretrained" / policy.name)[1]
    shutil.rmtree(recorded.with_name("läuft_failures"))
    shell(*words, "--pretrain-steps", 10, "--plays", 2, "--runs", recorded)
    assert load_model(policy.parent / "pretrained" / policy.name)[1]["data"] != ahead["data"]
    info = recorded / "meta" / "info.json"
    info.write_text(info.read_text(encoding="utf-8").replace('"fps": 10', '"fps": 20'), encoding="utf-8")
    other = shell(*words, "--runs", recorded)
    assert (other.code, other.errors[0]["code"]) == (2, "other_runs")
    shutil.rmtree(failures)
    shell(*words, "--pretrain-steps", 10, "--plays", 2)
    without = load_model(policy.parent / "pretrained" / policy.name)[1]
    assert without["data"] != notes["data"]  # failures had counted


def test_two_processes_train_together_and_one_speaks(project: Path, shell: Shell) -> None:
    task = ("--task", "pick block_1", "--seed", "9")
    shown = shell("demonstrate", project, *task, "--cameras", "none", "--vary", *VARY, "--count", 2, "--jobs", 1)
    assert shown.code == 0, shown.stdout + shown.stderr
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "app.cli", "train", project, *task, *QUICK, "--blunders", 1, "--checks", 1, "--json"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def together(*more: object) -> subprocess.CompletedProcess[str]:
        command = list(map(str, [*run, *words, *more]))
        return subprocess.run(command, cwd=ROOT, env=environment, timeout=250, capture_output=True, text=True)

    made = together()
    assert made.returncode == 0, made.stdout + made.stderr
    events = [json.loads(line) for line in made.stdout.splitlines()]
    (result,) = [event for event in events if event["event"] == "result"]
    assert 0.0 <= result["success"] <= 1.0
    policy = Path(result["policy"])
    assert load_model(policy)[1]["check"]["success"] == result["success"]
    steps = [
        json.loads(line)["step"] for line in (policy.parent / "round_0" / "metrics.jsonl").read_text().splitlines()
    ]
    assert steps == [10, 20, 20]
    odd = together("--batch", 15)
    assert odd.returncode != 0
    assert "--batch 15 cannot be shared by 2 processes evenly" in odd.stdout + odd.stderr
