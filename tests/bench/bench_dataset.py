"""What episodes cost as datasets: encoding, error and size of films by codec, writing, reading.

Figures of a machine depend on what else it does: the best of several is printed.
"""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt

from policies.dataset import DatasetWriter, open_dataset
from policies.encoded import encode
from policies.films import FilmSettings, encode_film
from simulation.episode import Episode

ROOT = Path(__file__).resolve().parent.parent.parent
FRAMES, SIDE, EPISODES = 80, 96, 200
NAMES = tuple(f"joint_{number}" for number in range(6))


def best(work: Callable[[], object], rounds: int = 7) -> float:
    """Milliseconds of the quickest of some rounds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def pictures() -> npt.NDArray[np.uint8]:
    """``(80, 96, 96, 3)`` of the sample scan: a table with things on it, seen by a moving phone."""
    found = []
    with zipfile.ZipFile(ROOT / "resources" / "sample_scan.zip") as archive:
        film = next(name for name in archive.namelist() if name.endswith("rgb.mp4"))
        with av.open(io.BytesIO(archive.read(film))) as container:
            for frame in container.decode(video=0):
                whole = frame.to_ndarray(format="rgb24")
                side = min(whole.shape[:2])
                found.append(cv2.resize(whole[:side, :side], (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return np.stack([found[number % len(found)] for number in range(FRAMES)]).astype(np.uint8)


def lerobots_own(film: npt.NDArray[np.uint8]) -> bytes:
    """AV1 as LeRobot's recorder encodes by default: quality 30, a key frame every 2 frames, preset 12."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream("libsvtav1", rate=10, options={"crf": "30", "g": "2", "preset": "12"})
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 10)
        for picture in film:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def decoded(film: bytes) -> npt.NDArray[np.uint8]:
    with av.open(io.BytesIO(film)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def main() -> None:
    """Print the tables."""
    film = pictures()
    ways: dict[str, Callable[[], bytes]] = {
        "H.264 4:4:4, quality 18 (ours)": lambda: encode_film(film, 10, FilmSettings()),
        "H.264 4:4:4, quality 23": lambda: encode_film(film, 10, FilmSettings(quality=23)),
        "H.264 4:2:0, quality 18": lambda: encode_film(film, 10, FilmSettings(pixels="yuv420p")),
        "AV1, LeRobot's settings": lambda: lerobots_own(film),
    }
    print(f"{FRAMES} pictures of {SIDE} x {SIDE}         encode ms    KiB  mean error of 255")
    for name, way in ways.items():
        data = way()
        error = np.abs(decoded(data).astype(int) - film).mean()
        print(f"{name:32} {best(way):12.1f} {len(data) >> 10:6} {error:18.2f}")
    rng = np.random.default_rng(0)
    state, action = (rng.normal(size=(FRAMES, 6)).astype(np.float32) for _ in range(2))
    episode = Episode("Lift the mug.", "lift", 10, state, NAMES, action, NAMES, {"front": film, "wrist": film})
    print(f"\nencode an episode of two cameras {best(lambda: encode(episode)):8.1f} ms")
    encoded = encode(episode)
    with tempfile.TemporaryDirectory() as made:
        written(Path(made) / "set", [replace(encoded, index=number) for number in range(EPISODES)])


def written(folder: Path, episodes: Iterable[Any]) -> None:
    """Write a dataset and read it in no order, with times."""
    with DatasetWriter(folder) as writer:
        start = time.perf_counter()
        for episode in episodes:
            writer.add(episode)
        print(f"take an episode into the journal {(time.perf_counter() - start) / EPISODES * 1e3:8.1f} ms")
        start = time.perf_counter()
        writer.finish()
        print(f"put it into the dataset          {(time.perf_counter() - start) / EPISODES * 1e3:8.1f} ms")
    dataset, rng = open_dataset(folder), np.random.default_rng(0)
    reads: dict[str, Callable[[int], object]] = {
        "read an episode": dataset.read,
        "read it without pictures": lambda number: dataset.read(number, ()),
        "read one frame": lambda number: dataset.frames(number, "front", [number % FRAMES]),
    }
    for name, read in reads.items():
        times = [best(lambda: read(int(number)), 1) for number in rng.integers(0, EPISODES, 40)]  # noqa: B023 - called at once
        print(f"{name:32} {np.median(times):8.1f} ms")


if __name__ == "__main__":
    main()
