"""Datasets read by LeRobot's own class, in an environment of its own: it does not go with current torch and av.

    python3.11 -m venv /tmp/lerobot && /tmp/lerobot/bin/pip install lerobot==0.4.4
    POCKETWORLD_LEROBOT_PYTHON=/tmp/lerobot/bin/python python -m pytest tests/policies/test_lerobot.py

``lerobot-dataset`` (which imports as ``ledataset``) does as well, with torch and torchvision beside it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from policies.dataset import DatasetWriter, open_dataset
from policies.numbered_files import Limits
from simulation.episode import Episode
from tests.episodes import made_episode

PYTHON = os.environ.get("POCKETWORLD_LEROBOT_PYTHON", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="POCKETWORLD_LEROBOT_PYTHON names no Python with LeRobot")
BACKEND = os.environ.get("POCKETWORLD_LEROBOT_VIDEO", "pyav")
"""``torchcodec`` is LeRobot's first choice; it needs FFmpeg's libraries in the system (``apt-get install ffmpeg``).
With today's torchvision there is no other: ``pyav`` calls a class that is gone."""
READ = """
import sys
import numpy as np
try:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
except ImportError:
    from ledataset.datasets.lerobot_dataset import LeRobotDataset
root, out, backend = sys.argv[1:]
chunk = {"action": [0.0, 0.1, 0.2], "observation.images.front": [-0.1, 0.0]}
dataset = LeRobotDataset("pocketworld/test", root=root, video_backend=backend, delta_timestamps=chunk)
items = [dataset[number] for number in range(len(dataset))]
found = {key: np.stack([np.asarray(item[key]) for item in items]) for key in items[0] if key != "task"}
found["task"] = np.array([item["task"] for item in items])
found["episodes"] = np.array([dataset.num_episodes])
found["action_mean"] = np.asarray(dataset.meta.stats["action"]["mean"])
found["run_index"] = np.array(dataset.meta.episodes["run_index"])
np.savez(out, **found)
"""
WRITE = """
import sys
import numpy as np
try:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset
except ImportError:
    from ledataset.datasets.lerobot_dataset import LeRobotDataset
root, out = sys.argv[1:]
features = {
    "observation.state": {"dtype": "float32", "shape": (3,), "names": ["a", "b", "c"]},
    "action": {"dtype": "float32", "shape": (2,), "names": ["a", "b"]},
    "observation.images.front": {"dtype": "video", "shape": (64, 96, 3), "names": ["height", "width", "channels"]},
    "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
}
dataset = LeRobotDataset.create("pocketworld/made", fps=30, features=features, root=root, use_videos=True)
rng, made = np.random.default_rng(0), {}
for number in range(3):
    frames = 20 + number
    state, action = (rng.normal(size=(frames, size)).astype(np.float32) for size in (3, 2))
    slope = np.linspace(40, 200, 96)[None, :, None] * np.linspace(0.5, 1, 64)[:, None, None] * rng.random(3)
    front = np.stack([np.roll(slope, frame, axis=1) for frame in range(frames)]).astype(np.uint8)
    for frame in range(frames):
        dataset.add_frame({
            "observation.state": state[frame], "action": action[frame], "observation.images.front": front[frame],
            "next.reward": np.array([frame], np.float32), "task": "Lift the mug.",
        })
    dataset.save_episode()
    made.update({f"state_{number}": state, f"action_{number}": action, f"front_{number}": front})
dataset.finalize()
np.savez(out, **made)
"""


def test_lerobot_reads_every_frame(tmp_path: Path) -> None:
    episodes = [made_episode(index, frames=9 + index, success=index != 2) for index in range(6)]
    root = tmp_path / "set"
    for batch in (episodes[:4], episodes[4:]):  # added to, and in many files
        with DatasetWriter(
            root, robot="so101_follower", limits=Limits(data_mb=0, film_mb=0, files_a_chunk=2)
        ) as writer:
            for episode in batch:
                writer.add(episode)
            writer.finish()
    whole = tmp_path / "one_file"
    with DatasetWriter(whole) as writer:
        for episode in episodes:
            writer.add(episode)
        writer.finish()
    good = [episode for episode in episodes if episode.success]
    for folder in (root, whole):
        _compare(_read(folder, tmp_path / f"{folder.name}.npz"), good)


def test_what_lerobot_writes_is_read(tmp_path: Path) -> None:
    _run(WRITE, tmp_path / "set", tmp_path / "made.npz")
    dataset = open_dataset(tmp_path / "set")
    assert (len(dataset), dataset.left_out) == (3, ())
    with np.load(tmp_path / "made.npz", allow_pickle=False) as made:
        for number, episode in enumerate(dataset):
            np.testing.assert_array_equal(episode.state, made[f"state_{number}"])
            np.testing.assert_array_equal(episode.action, made[f"action_{number}"])
            np.testing.assert_array_equal(episode.extra["next.reward"], np.arange(len(episode)))
            assert (episode.task, episode.rate_hz, episode.success) == ("Lift the mug.", 30, True)
            errors = np.abs(episode.images["front"].astype(int) - made[f"front_{number}"]).mean(axis=(1, 2, 3))
            assert errors.max() < 6, errors  # AV1 of quality 30


def _read(root: Path, out: Path) -> dict[str, np.ndarray]:
    _run(READ, root, out, BACKEND)
    with np.load(out, allow_pickle=False) as found:
        return dict(found)


def _run(program: str, *words: object) -> None:
    home = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(Path(str(words[0])).parent / "hf")}
    command = [PYTHON, "-c", program, *map(str, words)]
    done = subprocess.run(command, env={**os.environ, **home}, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def _compare(found: dict[str, np.ndarray], good: list[Episode]) -> None:
    lengths = [len(episode) for episode in good]
    assert found["episodes"] == [len(good)]
    assert found["run_index"].tolist() == [episode.index for episode in good]
    np.testing.assert_array_equal(found["observation.state"], np.concatenate([e.state for e in good]))
    for name in good[0].extra:
        values = np.concatenate([episode.extra[name] for episode in good])
        np.testing.assert_array_equal(found[name].reshape(values.shape), values.astype(found[name].dtype))
    assert found["task"].tolist() == [episode.task for episode in good for _ in range(len(episode))]
    np.testing.assert_array_equal(
        found["timestamp"], np.concatenate([np.arange(k) / 10 for k in lengths]).astype(np.float32)
    )
    np.testing.assert_array_equal(found["index"], np.arange(sum(lengths)))
    chunks = [np.minimum(np.arange(k)[:, None] + np.arange(3), k - 1) for k in lengths]
    actions = np.concatenate([e.action[chunk] for e, chunk in zip(good, chunks, strict=True)])
    np.testing.assert_array_equal(found["action"], actions)
    np.testing.assert_allclose(found["action_mean"], np.concatenate([e.action for e in good]).mean(axis=0), atol=1e-6)
    before = [np.maximum(np.arange(k)[:, None] + np.arange(-1, 1), 0) for k in lengths]
    front = np.concatenate([e.images["front"][pair] for e, pair in zip(good, before, strict=True)])
    wrist = np.concatenate([e.images["wrist"] for e in good])
    for name, expected in (("front", front), ("wrist", wrist)):
        pictures = np.moveaxis(found[f"observation.images.{name}"], -3, -1) * 255
        errors = np.abs(pictures - expected).mean(axis=(-1, -2, -3))
        assert errors.max() < 3, errors
