"""Single frames out of a video file, by number, without keeping more than one decoder open.

Phones write QuickTime or MP4, so no other of FFmpeg's hundreds of readers gets to see the file (a playlist may name
other files). Frames are decoded forward; going back, or far ahead, seeks to the key frame before. A packet list read
once at the start (demuxing only) gives each frame's number, time and the key frames.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from typing import Any

from reconstruction.archive import FileTree, TemporaryFile
from reconstruction.capture import ByteImage
from reconstruction.importers.images import MAX_PIXELS, damaged


class VideoFrames:
    """Random access to a video's frames, fastest in ascending order; thread-safe.

    Attributes:
        times_s: presentation time of each frame in seconds, ascending, as written in the file.
        key_frames: numbers of the frames that can be decoded without others.
        size: ``(width, height)`` in pixels as stored, rotation tags ignored.

    Raises:
        InputError: the file is no video or is cut off before its index.
    """

    def __init__(self, tree: FileTree, name: str) -> None:
        self._where = tree.where(name)
        self._file = TemporaryFile(tree, name)
        self._path = self._file.path
        self._lock = threading.Lock()
        self._container: Any = None
        self._decoded: Any = None
        self._next = 0
        self.key_frames: list[int] = []
        self._index()

    def __len__(self) -> int:
        return len(self._ticks)

    def read(self, number: int) -> ByteImage:
        """Frame `number` (from 0) as ``(H, W, 3)`` uint8 RGB.

        Raises:
            InputError: its part of the file is damaged.
        """
        import av

        with self._lock:
            try:
                return self._frame(number)
            except (av.error.FFmpegError, StopIteration, ValueError) as error:
                self._close()
                raise damaged(self._where, f"video frame {number} cannot be decoded") from error

    def rotation_deg(self) -> int:
        """Degrees counter-clockwise, a multiple of 90, by which pictures are to be turned to stand upright.

        Raises:
            InputError: the first frame is damaged.
        """
        import av

        try:
            with av.open(str(self._path), format="mov") as container:
                first = next(container.decode(container.streams.video[0]))
                return round(getattr(first, "rotation", 0) / 90) * 90 % 360
        except (av.error.FFmpegError, StopIteration, ValueError) as error:
            raise damaged(self._where, "its first frame cannot be decoded") from error

    def _index(self) -> None:
        import av

        try:
            with av.open(str(self._path), format="mov") as container:
                stream = container.streams.video[0]
                self.size: tuple[int, int] = (stream.codec_context.width, stream.codec_context.height)
                packets = [(p.pts, p.is_keyframe) for p in container.demux(stream) if p.pts is not None]
                base = float(stream.time_base)
        except (av.error.FFmpegError, IndexError, OSError) as error:
            raise damaged(self._where, "it is no readable video") from error
        if not packets or not 0 < self.size[0] * self.size[1] <= MAX_PIXELS:
            raise damaged(self._where, "it holds no video frames")
        packets.sort()
        self._ticks = [pts for pts, _ in packets]
        self.key_frames = [number for number, (_, key) in enumerate(packets) if key] or [0]
        self.times_s = [pts * base for pts in self._ticks]

    def _frame(self, number: int) -> ByteImage:
        key = self.key_frames[max(bisect_right(self.key_frames, number) - 1, 0)]
        if self._container is None or number < self._next or key > self._next:
            self._seek(key)
        wanted = self._ticks[number]
        while True:
            frame = next(self._decoded)
            self._next += 1
            if frame.pts is not None and frame.pts >= wanted:
                break
        if frame.pts != wanted:
            raise ValueError(frame.pts)
        self._next = number + 1
        image: ByteImage = frame.to_ndarray(format="rgb24")
        return image

    def _seek(self, key: int) -> None:
        import av

        if self._container is None:
            self._container = av.open(str(self._path), format="mov")
            self._container.streams.video[0].thread_type = "AUTO"
        stream = self._container.streams.video[0]
        self._container.seek(self._ticks[key], stream=stream, backward=True)
        self._decoded = self._container.decode(stream)
        self._next = key

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = self._decoded = None
