"""Made-up projects with policies, and a command line that says what a test wants: for the pages that show them."""

from __future__ import annotations

import json
import os
import struct
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from app.project import content_hash
from tests.conftest import ROOT

NAME = "place_stick_1_in_container_2_panda_0"
SOURCE = "blake2b:00"


def write(path: Path, document: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document) + "\n", encoding="utf-8")
    return path


def made_project(folder: Path, scene: bool = True) -> Path:
    """A project with three objects."""
    write(folder / "project.json", {"format": "pocketworld.project", "version": 1, "name": "desk", "scan": "desk.r3d"})
    if scene:
        objects = [
            {"name": "container_1", "mass_kg": 0.1, "size_m": [0.1, 0.1, 0.1]},
            {"name": "stick_1", "mass_kg": 0.05, "size_m": [0.2, 0.02, 0.02]},
            {"name": "block_1", "mass_kg": 0.2, "size_m": [0.3, 0.3, 0.3]},
            {"name": "container_2", "mass_kg": 0.3, "size_m": [0.2, 0.2, 0.1]},
        ]
        write(folder / "scene" / "scene.json", {"objects": objects})
        write(folder / "scene" / "stage.json", {"stage": "scene"})
    return folder


def film(path: Path, frames: int = 8, rate: int = 5) -> Path:
    """A film that becomes lighter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        for index in range(frames):
            picture = np.full((32, 64, 3), 20 + 200 * index // frames, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def share(done: int, count: int, low: float, high: float) -> dict[str, Any]:
    return {"count": count, "successes": done, "interval": [low, high]}


def made_policy(project: Path, name: str = NAME, done: int = 66, evaluated: bool = True) -> Path:
    """A policy with its evaluation, what training has measured, and two films."""
    folder = project / "policy" / name
    folder.mkdir(parents=True, exist_ok=True)
    notes = {"task": "put stick_1 in container_2", "robot": "panda", "observe": "state", "episodes": 12}
    head = json.dumps({"__metadata__": {"pocketworld": json.dumps({"notes": notes})}}).encode()
    (folder / "policy.safetensors").write_bytes(struct.pack("<Q", len(head)) + head)
    os.utime(folder / "policy.safetensors", (1_700_000_000, 1_700_000_000))
    write(
        project / "episodes" / f"{name}.json",
        {
            "settings": {"task": "place stick_1 in container_2", "robot": "panda", "seed": 3},
            "inputs": {"scene": content_hash(project / "scene" / "scene.json")},
        },
    )
    if evaluated:
        portions = [
            {"low": 0.1, "high": 0.2, **share(25, 33, 0.59, 0.87)},
            {"low": 0.2, "high": 0.4, **share(19, 33, 0.41, 0.73)},
        ]
        write(
            folder / "evaluation.json",
            {
                "format": "pocketworld.evaluation",
                "policy": SOURCE,
                "learnt": {"task": "put stick_1 in container_2", "robot": "panda", "observe": "rgb", "episodes": 85},
                **share(done, 100, 0.56, 0.75),
                "seconds_to_finish": 6.282,
                "failures": {"took too long": 32, "speed limit broken": 2},
                "skipped": {"stick_1 is out of reach": 7},
                "by_variation": {"pose": portions, "light": portions},
                "dream_auroc": 0.57,
                "dream_at_s": 2.8,
                "trials": [],
            },
        )
        film(folder / "films" / "failed_000000.mp4")
        film(folder / "films" / "succeeded_000003.mp4")
    metrics(
        folder / "eyes", [{"step": 50, "acting": 18.0, "dreaming": 0.0}, {"step": 100, "acting": 9.0, "dreaming": 0.0}]
    )
    metrics(
        folder / "round_0",
        [{"step": 50, "acting": 0.4, "dreaming": 0.3}, {"step": 100, "acting": 0.2, "dreaming": 0.1}],
    )
    return folder


def metrics(folder: Path, rows: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def made_reality(policy: Path, source: str = SOURCE) -> None:
    """How the policy's bundle did in its stand-in for reality."""
    factors = {"none": {**share(9, 10, 0.6, 0.98), "cost": None}, "mass": {**share(8, 10, 0.5, 0.9), "cost": 0.1}}
    factors["camera"] = {**share(4, 10, 0.2, 0.7), "cost": 0.5}
    write(
        policy / "reality.json",
        {
            "format": "pocketworld.reality",
            "policy": source,
            **share(26, 40, 0.4951, 0.7787),
            "simulated": share(66, 100, 0.5628, 0.7454),
            "gap": 0.01,
            "gap_interval": [-0.1513, 0.1869],
            "failures": {"the time is over": 13, "speed limit broken": 1},
            "factors": factors,
            "would_be_stopped": {"failures": 10, "successes": 7},
            "otherwise": ["friction", "mass"],
            "world": "true",
        },
    )
    film(policy / "reality_films" / "failed_000002.mp4")


class FakeCommand:
    """In the place of the command line, a script that does a list of things and notes the words that it was given.

    Each thing is ``{"say": event}``, ``{"append": [path, line]}``, ``{"await": path}`` or ``{"exit": code}``.
    """

    SCRIPT = textwrap.dedent(
        """
        import json, os, signal, sys, time
        if "app.cli" in sys.orig_argv:
            place = os.path.dirname(__file__)
            words = sys.orig_argv[sys.orig_argv.index("app.cli") + 1:]
            with open(os.path.join(place, "words.jsonl"), "a") as file:
                file.write(json.dumps(words) + chr(10))
            plan = json.load(open(os.path.join(place, "plan.json")))
            def stopped(*_):
                error = {"event": "error", "code": "terminated", "message": "Stopped."}
                print(json.dumps(plan["stopped"] or error), flush=True)
                os._exit(0 if plan["stopped"] else 143)
            signal.signal(signal.SIGTERM, stopped)
            for what in plan["steps"]:
                if "say" in what:
                    print(json.dumps(what["say"]), flush=True)
                if "append" in what:
                    os.makedirs(os.path.dirname(what["append"][0]), exist_ok=True)
                    with open(what["append"][0], "a") as file:
                        file.write(what["append"][1] + chr(10))
                while "await" in what and not os.path.exists(what["await"]):
                    time.sleep(0.02)
                if "exit" in what:
                    os._exit(what["exit"])
            os._exit(0)
        """
    )

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "sitecustomize.py").write_text(self.SCRIPT)
        self.will()
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(folder), str(ROOT))))

    def will(self, *steps: Mapping[str, Any], stopped: Mapping[str, Any] | None = None) -> None:
        """Do this from now on; `stopped` is its result when it is asked to stop."""
        write(self.folder / "plan.json", {"steps": steps, "stopped": stopped})

    @property
    def words(self) -> list[list[str]]:
        """Of every call so far, without ``--json``."""
        path = self.folder / "words.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        return [[word for word in json.loads(line) if word != "--json"] for line in lines]

    @property
    def gate(self) -> Path:
        """A file that a step may wait for."""
        return self.folder / "gate"


def progress(fraction: float, message: str) -> dict[str, Any]:
    return {"say": {"event": "progress", "fraction": fraction, "message": message, "seconds_left": None}}


def result(**figures: Any) -> dict[str, Any]:
    return {"say": {"event": "result", **figures}}


def understood(words: list[str] | tuple[str, ...]) -> None:
    """See that the real command line takes these words; nothing is run."""
    from app.cli import _parse
    from app.console import JsonConsole

    _parse(JsonConsole(lambda line: None), list(words))
