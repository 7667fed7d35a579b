"""The pictures of episodes as films (H.264 in MP4): encoded one episode at a time, joined without encoding them again.

Measured on 80 pictures of 96 × 96, moving camera, one core (``tests/bench/bench_dataset.py``), mean error of 255:
ultrafast, quality 18 and colour at full resolution take 18 ms for 2.6; AV1 with LeRobot's settings 46 ms for 5.6.
Colour at half the resolution (yuv420p), as films mostly have it, costs 3.1 before anything is encoded: in pictures that
small, what tells two things apart may be two pixels wide. LeRobot's readers take both.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from policies.features import bad_dataset
from reconstruction.errors import InputError, MissingToolError
from simulation.episode import Pictures

if TYPE_CHECKING:
    import av

PRESET = "ultrafast"
MAX_DECODED_BYTES = 4 << 30
"""Of pictures had at once."""


@dataclass(frozen=True)
class FilmSettings:
    """How pictures are encoded."""

    quality: int = 18
    """x264's constant rate factor: 0 loses nothing but colour resolution, 51 is worst."""
    key_every: int = 5
    """Frames from one that stands alone to the next: fewer make single frames quicker to read and files larger."""
    pixels: str = "yuv444p"
    """yuv444p keeps colours at full resolution; yuv420p halves it, and every browser and graphics card plays it."""


def encode_film(pictures: Pictures, rate_hz: int, settings: FilmSettings) -> bytes:
    """An MP4 of an episode's pictures, the same bytes for the same pictures.

    Args:
        pictures: ``(T, H, W, 3) uint8`` RGB.
        rate_hz: frames a second; frame t gets the time t / rate_hz exactly.
        settings: how.

    Raises:
        InputError: the pictures' sides are odd where colour is halved.
        MissingToolError: this PyAV has no x264.
    """
    import av
    from av.video.reformatter import VideoReformatter

    height, width = pictures.shape[1:3]
    if settings.pixels != "yuv444p" and (height % 2 or width % 2):
        raise InputError(
            f"Pictures of {width} × {height} cannot be encoded as {settings.pixels}.",
            remedy="Give them even sides, or take yuv444p.",
            code="odd_size",
        )
    reformatter, file = VideoReformatter(), io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = _x264(container, rate_hz, settings)
        stream.width, stream.height = width, height
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = reformatter.reformat(frame, format=settings.pixels, interpolation="AREA")
            frame.pts, frame.time_base = number, Fraction(1, rate_hz)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return file.getvalue()


def _x264(container: Any, rate_hz: int, settings: FilmSettings) -> Any:
    # One thread: the same bytes everywhere, and workers that do not get in each other's way. No frame waits for a later
    # one (zerolatency, bf 0), so that frames lie in the file in the order of their times.
    options = {"preset": PRESET, "tune": "zerolatency", "crf": str(settings.quality), "bf": "0"}
    try:
        stream = container.add_stream("libx264", rate=rate_hz, options=options)
    except Exception as error:
        if type(error).__name__ not in ("UnknownCodecError", "ValueError"):
            raise
        raise MissingToolError(
            "The installed PyAV cannot encode H.264.", remedy="pip install --force-reinstall av", code="no_x264"
        ) from error
    stream.pix_fmt = settings.pixels
    stream.codec_context.time_base = Fraction(1, rate_hz)
    stream.codec_context.gop_size = settings.key_every
    stream.codec_context.thread_count = 1
    return stream


def film_info(size: tuple[int, int], rate_hz: int, settings: FilmSettings) -> dict[str, Any]:
    """LeRobot's ``info`` block of a film's feature."""
    return {
        "video.height": size[0],
        "video.width": size[1],
        "video.codec": "h264",
        "video.pix_fmt": settings.pixels,
        "video.fps": rate_hz,
        "video.channels": 3,
        "video.g": settings.key_every,
        "video.crf": settings.quality,
        "video.preset": PRESET,
        "video.is_depth_map": False,
        "has_audio": False,
    }


class JoinedFilm:
    """A film being put together from episodes' films, packet by packet. Close it, or the file cannot be read."""

    def __init__(self, path: Path, rate_hz: int) -> None:
        import av

        self._rate = rate_hz
        self._file = path.open("wb")
        self._container = av.open(self._file, "w", format="mp4")
        self._stream: Any = None
        self._kind: tuple[Any, ...] = ()
        self.frames = 0
        self.bytes = 0

    def takes(self, film: bytes) -> bool:
        """Whether a film can follow: encoded alike (other versions of x264 may not)."""
        with _opened(io.BytesIO(film), "a film of the journal") as source:
            return _kind(source.streams.video[0]) == self._kind

    def add(self, film: bytes) -> int:
        """Put a film behind those before; returns the number of its first frame."""
        first = self.frames
        with _opened(io.BytesIO(film), "a film of the journal") as source:
            stream = source.streams.video[0]
            if self._stream is None:
                self._stream = self._container.add_stream_from_template(stream)
                self._stream.time_base = Fraction(1, self._rate)
                self._kind = _kind(stream)
            for packet in source.demux(stream):
                if packet.size == 0:  # the end, not a frame
                    continue
                packet.stream, packet.time_base = self._stream, Fraction(1, self._rate)
                packet.pts = packet.dts = self.frames
                packet.duration = 1
                self._container.mux(packet)
                self.frames += 1
        self.bytes += len(film)
        return first

    def close(self) -> None:
        """Write the film's table of contents."""
        with self._file:
            self._container.close()


def _kind(stream: Any) -> tuple[Any, ...]:
    context = stream.codec_context
    return context.name, context.extradata, context.width, context.height, context.pix_fmt


def read_frames(path: Path, numbers: Iterable[int], rate_hz: float, size: tuple[int, int], where: str) -> Pictures:
    """Frames of a film by their numbers, where frame k is shown at time k / rate_hz.

    Args:
        path: an MP4.
        numbers: of the frames, in any order.
        rate_hz: frames a second.
        size: height and width that they must have.
        where: what errors call the film.

    Returns:
        ``(len(numbers), H, W, 3) uint8`` RGB.

    Raises:
        InputError: the film is damaged, lacks a frame, or has pictures of another size.
    """
    wanted = list(numbers)
    if len(wanted) * size[0] * size[1] * 3 > MAX_DECODED_BYTES:
        raise bad_dataset(where, f"{len(wanted)} pictures of {size[1]} × {size[0]} do not fit into memory at once")
    pictures = np.empty((len(wanted), *size, 3), dtype=np.uint8)
    missing: dict[int, list[int]] = {}
    for place, number in enumerate(wanted):
        missing.setdefault(number, []).append(place)
    if missing:
        for number, picture in _decoded(path, min(missing), max(missing), rate_hz, size, where):
            pictures[missing.pop(number, [])] = picture
    if missing:
        raise bad_dataset(where, f"it has no frame {min(missing)}")
    return pictures


def _decoded(
    path: Path, first: int, last: int, rate_hz: float, size: tuple[int, int], where: str
) -> Iterator[tuple[int, Pictures]]:
    from av.video.reformatter import VideoReformatter

    reformatter = VideoReformatter()
    with _opened(path, where) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        time_base = stream.time_base
        container.seek(int(first / Fraction(rate_hz) / time_base), stream=stream)
        for frame in container.decode(stream):
            if frame.pts is None:
                continue
            number = round(frame.pts * time_base * Fraction(rate_hz))
            if first <= number <= last:
                if (frame.height, frame.width) != size:
                    raise bad_dataset(where, f"a picture is {frame.width} × {frame.height}, not {size[1]} × {size[0]}")
                yield number, reformatter.reformat(frame, format="rgb24").to_ndarray()
            if number >= last:
                return


@contextlib.contextmanager
def _opened(file: io.BytesIO | Path, where: str) -> Iterator[av.container.InputContainer]:
    """A film opened for reading; whatever FFmpeg says against it becomes an `InputError`."""
    import av

    try:
        # The format is named: FFmpeg would else take a list of other files, or a web address, for a film.
        name = file if isinstance(file, io.BytesIO) else str(file)
        with av.open(name, format="mp4", metadata_errors="ignore") as container:
            if not container.streams.video or container.streams.video[0].codec_context is None:
                raise bad_dataset(where, "there is no film in it")
            yield container
    except (av.FFmpegError, ValueError, TypeError, ArithmeticError) as error:  # some of PyAV's own words, too
        raise bad_dataset(where, f"FFmpeg says: {getattr(error, 'strerror', None) or error}") from error
