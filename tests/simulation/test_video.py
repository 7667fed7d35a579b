from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reconstruction.errors import OutputError
from simulation.video import VideoSettings, render_video
from tests.small_scenes import ball, box, lifted, scene_of, textured, thing

SMALL = VideoSettings(width=128, height=96, frames_per_s=12, rest_s=0.5, lift_s=0.5, flight_s=0.5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    cube = lifted(thing("box", box(0.06, 0.04, 0.1)), (0, 0, 0.001))
    marble = lifted(thing("ball", ball(0.03), (0.15, 0, 0)), (0, 0, 0.001))
    scene_of(replace(cube, visual=textured(cube.visual)), marble).save(tmp_path / "scene")
    return tmp_path / "scene"


def test_the_film_is_h264_and_shows_rest_first_and_then_motion(folder: Path, tmp_path: Path) -> None:
    import av

    told: list[float] = []
    render_video(folder, tmp_path / "out.mp4", SMALL, lambda fraction, message: told.append(fraction))
    with av.open(str(tmp_path / "out.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = [frame.to_ndarray(format="rgb24").astype(np.float64) for frame in film.decode(video=0)]
    assert len(frames) == 6 + 2 * (6 + 6)
    assert frames[0].shape == (96, 128, 3)
    changes = [float(np.abs(after - before).mean()) for before, after in zip(frames[:-1], frames[1:], strict=True)]
    assert max(changes[:4]) < 0.3
    assert max(changes[8:]) > 1.0
    assert frames[0].std() > 10
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4", "scene"]


@pytest.mark.parametrize(("rest_s", "count"), [(0.5, 6), (0.0, 1)])
def test_a_scene_without_objects_can_be_filmed(tmp_path: Path, rest_s: float, count: int) -> None:
    import av

    scene_of().save(tmp_path / "scene")
    render_video(tmp_path / "scene", tmp_path / "out.mp4", replace(SMALL, rest_s=rest_s))
    with av.open(str(tmp_path / "out.mp4")) as film:
        assert len(list(film.decode(video=0))) == count


def test_what_cannot_be_written_is_an_output_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.mp4"):
        render_video(folder, tmp_path / "nowhere" / "out.mp4", SMALL)
