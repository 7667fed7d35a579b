"""Every command in the README is run as it stands there, in order, in a folder like the one it speaks of."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli import COMMANDS
from tests.conftest import ROOT, Run, run_module
from tests.policies.test_foreign import umi_without_packages

README = (ROOT / "README.md").read_text(encoding="utf-8")
NEEDS_A_DISPLAY = {
    "pocketworld simulate worlds/desk",
    "pocketworld window worlds/desk",
    'pocketworld teleoperate worlds/desk --task "pick stick_1"',
}
MAKERS = {
    "python -m simulation.virtual_phone --sample resources/sample_scan.zip": 8_000_000,
    "python -m simulation.relatives resources/relatives.zip": 3_000_000,
}
"""Commands that make a bundled file again, and how many bytes it may have."""
TARGETS = ("demo", "test", "test-cluster", "coverage", "lint", "bench", "bench-lerobot")
CLUSTER = [
    "ray start --head --port=6379",
    "ray start --address=HEAD:6379",
    "pocketworld cousins worlds/desk --count 100000 --cluster HEAD:6379",
]
"""Commands that `tests/app/test_cousins_on_a_cluster.py` runs, where there is Ray."""


ELSEWHERE = {"serve": "remote.md", "align": "robots.md", "probe": "robots.md", "learn-from": "robots.md"}
"""Commands that are not part of the walk, and the page in `docs` that shows them."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    return [line for block in blocks("bash") for line in block.splitlines() if line]


def walk() -> list[str]:
    """The commands of the walk; `make` and `source` have tests of their own, the sample's too."""
    return [line for line in commands() if line.startswith("pocketworld ") and line not in CLUSTER]


def test_first_commands_and_every_command_is_covered_here() -> None:
    assert commands()[:2] == ["make demo", "make test"]
    known = {*(f"make {target}" for target in TARGETS), *walk(), *MAKERS, *CLUSTER, "source .venv/bin/activate"}
    assert set(commands()) == known


def test_every_command_of_the_program_is_in_the_readme() -> None:
    assert {shlex.split(line)[1] for line in walk()} == set(COMMANDS) - set(ELSEWHERE)
    for name, page in ELSEWHERE.items():
        assert f"\npocketworld {name} " in (ROOT / "docs" / page).read_text(encoding="utf-8")
        assert f"](docs/{page})" in README


def test_what_the_commands_write_is_ignored_by_git() -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").split()
    made = {
        word.split("/")[0] for line in walk() for word in shlex.split(line)[2:] if word.startswith(("worlds", "desk"))
    }
    assert {"worlds", "desk.r3d", "desk.mp4", "desk.glb"} <= made
    assert {name for name in made | {"desk_truth"} if not {f"/{name}", f"/{name}/"} & set(ignored)} == set()


def test_every_key_of_a_scene_is_in_the_docs() -> None:
    schema = json.loads((ROOT / "resources" / "scene.schema.json").read_text(encoding="utf-8"))
    told = (ROOT / "docs" / "on-disk.md").read_text(encoding="utf-8")
    assert [key for key in schema["properties"] if f"`{key}" not in told] == []


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


def make(*words: str, timeout: float = 60) -> str:
    # -o: what `install` made counts as made, or a test would install packages.
    made = [] if "-B" in words else ["-o", ".venv/.installed"]
    command = ["make", "--no-print-directory", *made, *words]
    if sys.platform == "win32" or shutil.which("make") is None:
        pytest.skip("no make here")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_make_targets_do_their_own_set_up(target: str) -> None:
    assert "pip install" in make("-B", "-n", target)


def test_make_test_and_lint_run_what_they_promise() -> None:
    assert "pytest" in make("-n", "test")
    assert "--cov-fail-under=85" in make("-n", "coverage")
    for tool in ("ruff format --check", "ruff check", "mypy", "lint-imports"):
        assert tool in make("-n", "lint")


def test_benchmarks_are_there() -> None:
    assert list((ROOT / "tests" / "bench").glob("*.py"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_make_demo(tmp_path: Path) -> None:
    if not (ROOT / ".venv" / "bin" / "pocketworld").exists():
        pytest.skip("the demo runs from .venv")
    little = "PRACTICE=--demonstrations 1 --blunders 1 --glances 1 --eye-steps 2 --steps 2 --cousins 1"
    said = make("demo", f"OUT={tmp_path}", little, "REALITY=--count 1 --films 0", timeout=550)
    assert "at rest" in said
    assert "of 1 unseen cousins" in said
    assert f"{tmp_path}/sample_scan/report.html" in said
    report = (tmp_path / "sample_scan" / "report.html").read_text(encoding="utf-8")
    assert len(report) < 5_000_000
    assert "of 1</b> unseen cousins" in report
    assert "In a stand-in for reality, with the true things" in report
    assert (tmp_path / "bundle_runs" / "sim").exists() or (tmp_path / "bundle_runs" / "sim_failures").exists()


def run(line: str, folder: Path) -> Run:
    name, *words = shlex.split(line)
    assert name == "pocketworld" or words.pop(0) == "-m"
    module = ["app.cli"] * (name == "pocketworld")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DISPLAY": "", "WAYLAND_DISPLAY": "", "QT_QPA_PLATFORM": ""}
    code, stdout, stderr = run_module([*module, *words], environment, 500, folder)
    return Run(code, stdout.decode("utf-8"), stderr.decode("utf-8"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the README's reader stands: `scans` is a folder of her scans, `cup.zarr.zip` what somebody recorded."""
    place = tmp_path_factory.mktemp("reader")
    made = run("pocketworld virtual-scan scans/mug.r3d --frames 24 --objects 2 --no-truth", place)
    assert made.code == 0, made.stderr
    umi_without_packages(place / "cup.zarr.zip")
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_walk_and_the_python_example(folder: Path) -> None:
    for line in walk():
        started = time.perf_counter()
        done = run(line, folder)
        print(f"{time.perf_counter() - started:5.1f} s  {line}")
        expected = 6 if line in NEEDS_A_DISPLAY and sys.platform.startswith("linux") else 0
        assert done.code == expected, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert (folder / "worlds" / "desk" / "report.html").is_file()
    assert (folder / "worlds" / "mug" / "scene" / "scene.json").is_file()
    assert (folder / "desk.mp4").stat().st_size > 10_000
    for example in blocks("python"):
        shown = subprocess.run(
            [sys.executable, "-c", example], cwd=folder, capture_output=True, text=True, timeout=120, check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert shown.returncode == 0, shown.stderr
        assert "convex parts" in shown.stdout


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("line", MAKERS)
def test_a_bundled_file_can_be_made_again(line: str, tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    done = run(line, tmp_path)
    assert done.code == 0, done.stderr
    made = (tmp_path / line.split()[-1]).stat().st_size
    assert made == pytest.approx((ROOT / line.split()[-1]).stat().st_size, rel=0.02)
    assert made < MAKERS[line]


def test_every_script_of_the_benchmarks_does_something() -> None:
    scripts = sorted((ROOT / "tests" / "bench").glob("**/*.py"))
    assert scripts
    for script in scripts:
        assert 'if __name__ == "__main__":' in script.read_text(encoding="utf-8"), script.name
