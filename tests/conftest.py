"""Shared by all tests: the command line as a real process, and quick stand-ins for the pipeline's steps."""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.prefork import Prefork

ROOT = Path(__file__).resolve().parent.parent
FAKES = ROOT / "tests" / "app" / "fakes"


@dataclass(frozen=True)
class Run:
    """What a finished command said."""

    code: int
    stdout: str
    stderr: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """Every line of stdout as JSON; anything else there is an error."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        """The last event, which must be the result."""
        assert self.events, self.stderr
        assert self.events[-1]["event"] == "result", self.events[-1]
        return self.events[-1]

    @property
    def errors(self) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == "error"]


def environment(fake: bool) -> dict[str, str]:
    """For a child process: the project on the path and, with `fake`, the stand-ins in the place of the steps."""
    paths = [str(FAKES)] * fake + [str(ROOT)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"}


def command(*arguments: object) -> list[str]:
    """The command line's words for a child process."""
    return [sys.executable, "-m", "app.cli", *map(str, arguments)]


@pytest.fixture
def pocketworld() -> Callable[..., Run]:
    """Runs the real command line in a process of its own, with the real steps."""
    return lambda *arguments, **more: _run(arguments, fake=False, **more)


@pytest.fixture
def shell() -> Callable[..., Run]:
    """Runs the real command line in a process of its own, with stand-ins for the steps."""
    return lambda *arguments, **more: _run(arguments, fake=True, **more)


@functools.cache
def _prefork() -> Prefork:
    server = Prefork()
    atexit.register(server.close)
    return server


def run_module(
    words: list[str], environment: dict[str, str], timeout: float, cwd: str | Path | None = None
) -> tuple[int, bytes, bytes]:
    """`python -m` with these words: exit status, stdout, stderr; quickly where it can be forked (`tests.prefork`)."""
    if sys.platform == "linux" and "COVERAGE_PROCESS_CONFIG" not in os.environ:
        return _prefork().run(words, environment, cwd, timeout)
    return _from_the_beginning(words, environment, timeout, cwd=cwd)


def _from_the_beginning(
    words: list[str], environment: dict[str, str], timeout: float, **more: Any
) -> tuple[int, bytes, bytes]:
    command = [sys.executable, "-m", *words]
    done = subprocess.run(
        command, capture_output=True, env=environment, timeout=timeout, stdin=subprocess.DEVNULL, check=False, **more
    )
    return done.returncode, done.stdout, done.stderr


def _run(arguments: tuple[object, ...], fake: bool, timeout: float = 240, **more: Any) -> Run:
    words = ["app.cli", *map(str, arguments)]
    whole = {**environment(fake), **more.pop("env", {})}
    # What is imported may depend on an environment that a test changes, and on what `more` may do.
    start = _from_the_beginning if whole != environment(fake) or more.keys() - {"cwd"} else run_module
    code, stdout, stderr = start(words, whole, timeout, **more)
    return Run(code, stdout.decode("utf-8"), stderr.decode("utf-8"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system (``size=64k``, ``ro``); skips the test where that is not allowed."""
    mounted: list[Path] = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk_{len(mounted)}"
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True, check=False
        )
        if done.returncode != 0:
            pytest.skip("mounting needs root")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], capture_output=True, check=False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that two workers end at the same time."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
