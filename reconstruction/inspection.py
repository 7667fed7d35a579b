"""What is in a scan and what it lacks, before anything is made of it: figures, and a contact sheet.

Images are read for a sample of the frames, spread evenly over the scan, so that a long scan takes no longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from reconstruction.capture import ByteImage, Capture, DepthImage, FloatArray, Frame
from reconstruction.conventions import convention_test
from reconstruction.errors import InputError
from reconstruction.importers.damage import DamagedImages
from reconstruction.progress import Progress, silent

SAMPLES = 24
_AZIMUTH_BIN_DEG = 10
_CELL_M = 0.05
_GAP_CELLS = 4
_MAX_CELLS = 4000
_MAX_DEPTH_M = 5.0
_SHARPNESS_WIDTH = 480
_BLURRED_BELOW = 0.35
"""Share of the scan's own typical sharpness below which a frame counts as blurred."""


@dataclass(frozen=True)
class Coverage:
    """From where the scanned place was seen.

    Attributes:
        azimuth_deg: degrees of 360 round the scanned centre from which it was seen, in steps of 10.
        elevation_deg: lowest and highest view, degrees above the centre's horizon.
        area_m2: footprint of what was measured within 5 m, seen along gravity.
        gravity_guessed: the direction of gravity was taken from how the camera was held.
    """

    azimuth_deg: int
    elevation_deg: tuple[float, float]
    area_m2: float
    gravity_guessed: bool


@dataclass(frozen=True)
class Inspection:
    """Figures of a scan.

    Attributes:
        name: display name.
        format: key in `reconstruction.importers.IMPORTERS`.
        device: kind of device.
        frames: usable frames.
        colour_frames: of them with colour.
        depth_frames: of them with depth.
        posed_frames: of them with a camera pose.
        first_index: number of the first frame in the phone's own counting.
        last_index: number of the last.
        missing_indices: numbers left out between them, where the phone counts in even steps (up to 50 of them).
        missing_count: how many are left out.
        duration_s: from the first to the last frame, seconds.
        colour_size: ``(width, height)`` in pixels.
        depth_size: ``(width, height)`` in pixels.
        path_length_m: way of the camera, jitter left out, metres.
        coverage: from where it was seen; None without depth and poses.
        blurred_share: share of sampled frames much less sharp than the scan's usual; None without colour.
        depth_range_m: 1st, 50th and 99th percentile of sampled depth, metres.
        depth_share: share of depth pixels that hold a measurement.
        confidence_shares: share of depth pixels of low, medium, high confidence.
        convention_error_m: median depth reprojection error between frames, metres; None if not testable.
        metric: whether distances are metres for certain.
        gravity_known: whether the app says where up is.
        region_known: whether the user drew a crop box.
        missing: plain sentences on what is missing.
    """

    name: str
    format: str
    device: str
    frames: int
    colour_frames: int
    depth_frames: int
    posed_frames: int
    first_index: int
    last_index: int
    missing_indices: tuple[int, ...]
    missing_count: int
    duration_s: float
    colour_size: tuple[int, int] | None
    depth_size: tuple[int, int] | None
    path_length_m: float
    coverage: Coverage | None
    blurred_share: float | None
    depth_range_m: tuple[float, float, float] | None
    depth_share: float | None
    confidence_shares: tuple[float, float, float] | None
    convention_error_m: float | None
    metric: bool
    gravity_known: bool
    region_known: bool
    missing: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Plain values for ``json.dumps``; lengths in metres, shares 0 … 1."""
        return asdict(self)

    def text(self) -> str:
        """A few lines for a person."""
        lines = [
            f"{self.name}: {self.format}, {self.device}",
            f"{self.frames} frames ({self.colour_frames} colour, {self.depth_frames} depth, {self.posed_frames} posed) "
            f"in {self.duration_s:.1f} s; number {self.first_index} to {self.last_index}, {self.missing_count} missing",
            f"colour {_size(self.colour_size)}, depth {_size(self.depth_size)}; camera path {self.path_length_m:.2f} m",
        ]
        if self.coverage is not None:
            low, high = self.coverage.elevation_deg
            guessed = " (gravity guessed)" if self.coverage.gravity_guessed else ""
            lines.append(
                f"seen from {self.coverage.azimuth_deg} of 360 degrees, {low:.0f} to {high:.0f} degrees high{guessed}; "
                f"{self.coverage.area_m2:.2f} m2 measured"
            )
        if self.blurred_share is not None:
            lines.append(f"{self.blurred_share:.0%} of frames blurred")
        if self.depth_range_m is not None and self.depth_share is not None:
            near, middle, far = self.depth_range_m
            lines.append(f"depth {near:.2f} to {far:.2f} m (median {middle:.2f}), {self.depth_share:.0%} of pixels")
        if self.confidence_shares is not None:
            low, medium, high = self.confidence_shares
            lines.append(f"confidence low {low:.0%}, medium {medium:.0%}, high {high:.0%}")
        lines.append(
            "poses and depth cannot be compared"
            if self.convention_error_m is None
            else f"poses fit depth to {self.convention_error_m * 1e3:.1f} mm (below about 15 mm is normal)"
        )
        if not self.metric:
            lines.append("scale uncertain: lengths may not be metres")
        if not self.gravity_known:
            lines.append("direction of gravity unknown: it is estimated from the support surface")
        return "\n".join(lines + [f"- {sentence}" for sentence in self.missing])


def _size(size: tuple[int, int] | None) -> str:
    return "none" if size is None else f"{size[0]}x{size[1]}"


def inspect_capture(capture: Capture, progress: Progress = silent, samples: int = SAMPLES) -> Inspection:
    """Look through a scan.

    Args:
        capture: as an importer returned it; `convention_error_m` is measured here where it is None.
        progress: see `reconstruction.progress`.
        samples: how many frames' images are read.

    Raises:
        InputError: an image of a sampled frame is damaged in a way that its ends do not show, in most frames.
    """
    frames = capture.frames
    error = capture.convention_error_m
    if error is None:
        progress(0.0, "Comparing poses with depth")
        test = convention_test(capture)
        error = None if test is None else test.error_m
    colour, depth, damaged = _read_samples(frames, samples, progress)
    left_out = _left_out([frame.index for frame in frames])
    progress(1.0, "Inspected")
    return Inspection(
        name=capture.name,
        format=capture.format,
        device=capture.device,
        frames=len(frames),
        colour_frames=sum(frame.read_rgb is not None for frame in frames),
        depth_frames=sum(frame.read_depth is not None for frame in frames),
        posed_frames=sum(frame.capture_from_camera is not None for frame in frames),
        first_index=frames[0].index,
        last_index=frames[-1].index,
        missing_indices=tuple(left_out[:50]),
        missing_count=len(left_out),
        duration_s=round(capture.duration_s, 4),
        colour_size=next((frame.size for frame in frames if frame.read_rgb is not None), None),
        depth_size=next((frame.depth_size for frame in frames if frame.depth_size is not None), None),
        path_length_m=round(path_length_m(frames), 4),
        coverage=_coverage(capture, depth),
        blurred_share=_blurred_share(colour),
        depth_range_m=_depth_range(depth),
        depth_share=_rounded(np.mean([np.mean(image > 0) for _, image, _ in depth])) if depth else None,
        confidence_shares=_confidence_shares(depth),
        convention_error_m=None if error is None else round(error, 6),
        metric=capture.metric,
        gravity_known=capture.up is not None,
        region_known=capture.region is not None,
        missing=capture.missing + damaged.sentences(),
    )


DepthSample = tuple[Frame, DepthImage, ByteImage | None]


def _read_samples(
    frames: Sequence[Frame], samples: int, progress: Progress
) -> tuple[list[float], list[DepthSample], DamagedImages]:
    """Sharpness of sampled colour images, sampled depth images with their confidence, and what cannot be read."""
    colour = spread([frame for frame in frames if frame.read_rgb is not None], samples)
    deep = spread([frame for frame in frames if frame.read_depth is not None], samples)
    sharp: list[float] = []
    depth: list[DepthSample] = []
    errors: list[InputError] = []
    damaged = DamagedImages()
    for done, frame in enumerate(colour + deep):
        progress(0.1 + 0.9 * done / (len(colour) + len(deep)), "Looking through the frames")
        try:
            if done < len(colour):
                image = frame.rgb()
                assert image is not None
                sharp.append(sharpness(image))
            else:
                measured = frame.depth_m()
                assert measured is not None
                depth.append((frame, measured, frame.confidence()))
        except InputError as error:
            errors.append(error)
            damaged.note(frame.index, error)
    if errors and len(errors) > (len(colour) + len(deep)) / 2:
        raise errors[0]
    return sharp, depth, damaged


def spread(frames: Sequence[Frame], count: int) -> list[Frame]:
    """Up to `count` frames, evenly spaced from the first to the last."""
    if len(frames) <= count:
        return list(frames)
    return [frames[i] for i in np.linspace(0, len(frames) - 1, count).round().astype(int)]


def sharpness(rgb: ByteImage) -> float:
    """Variance of the Laplacian of the grey image scaled to 480 pixels' width: low where motion blurred it."""
    import cv2

    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    scale = _SHARPNESS_WIDTH / max(grey.shape)
    if scale < 1:
        grey = cv2.resize(grey, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


def path_length_m(frames: Sequence[Frame], step_m: float = 0.02) -> float:
    """Way of the camera in metres, counted in steps of at least `step_m` so that trembling adds nothing."""
    places = [frame.capture_from_camera[:3, 3] for frame in frames if frame.capture_from_camera is not None]
    if not places:
        return 0.0
    length, last = 0.0, places[0]
    for place in places[1:]:
        step = float(np.linalg.norm(place - last))
        if step >= step_m:
            length, last = length + step, place
    return length


def _left_out(indices: Sequence[int]) -> list[int]:
    """Numbers missing from an even count; none where the phone numbers frames otherwise (by time, say)."""
    steps = np.diff(indices)
    if not len(steps):
        return []
    step = int(np.median(steps))
    if step < 1 or np.mean(np.abs(steps - step) <= step / 2) < 0.5 or steps.sum() // step > 20 * len(indices):
        return []
    left_out: list[int] = []
    for before, gap in zip(indices[:-1], steps.tolist(), strict=True):
        left_out.extend(before + step * k for k in range(1, round(gap / step)))
    return left_out


def _blurred_share(sharp: list[float]) -> float | None:
    if not sharp:
        return None
    usual = float(np.percentile(sharp, 75))
    return _rounded(np.mean(np.array(sharp) < _BLURRED_BELOW * usual)) if usual > 0 else 1.0


def _depth_range(depth: list[DepthSample]) -> tuple[float, float, float] | None:
    values = [image[image > 0][::7] for _, image, _ in depth]
    measured = np.concatenate(values) if values else np.empty(0)
    if not measured.size:
        return None
    near, middle, far = np.percentile(measured, [1, 50, 99])
    return _rounded(near), _rounded(middle), _rounded(far)


def _confidence_shares(depth: list[DepthSample]) -> tuple[float, float, float] | None:
    counts = [np.bincount(image.ravel(), minlength=3)[:3] for _, _, image in depth if image is not None]
    if not counts:
        return None
    low, medium, high = np.sum(counts, axis=0) / np.sum(counts)
    return _rounded(low), _rounded(medium), _rounded(high)


def _coverage(capture: Capture, depth: list[DepthSample]) -> Coverage | None:
    """Directions from the scanned centre to the cameras, and the footprint of the measured points."""
    posed = [sample for sample in depth if sample[0].capture_from_camera is not None and (sample[1] > 0).any()]
    points = np.concatenate([np.zeros((0, 3)), *(_world_points(frame, image) for frame, image, _ in posed)])
    if not len(points):  # no depth, or none within reach: a wrong unit
        return None
    poses = np.array([f.capture_from_camera for f in capture.frames if f.capture_from_camera is not None])
    up = capture.up if capture.up is not None else _held_up(poses)
    centre = np.median([_middle(frame, image) for frame, image, _ in posed], axis=0)
    across, along = _horizontal_axes(up)
    view = poses[:, :3, 3] - centre
    flat = np.stack([view @ across, view @ along], axis=1)
    azimuth = np.degrees(np.arctan2(flat[:, 1], flat[:, 0])) % 360.0
    elevation = np.degrees(np.arctan2(view @ up, np.linalg.norm(flat, axis=1)))
    return Coverage(
        azimuth_deg=_AZIMUTH_BIN_DEG * len(np.unique(azimuth // _AZIMUTH_BIN_DEG)),
        elevation_deg=(round(float(elevation.min()), 1), round(float(elevation.max()), 1)),
        area_m2=_rounded(_footprint_m2(points @ np.stack([across, along], axis=1))),
        gravity_guessed=capture.up is None,
    )


def _footprint_m2(places: FloatArray) -> float:
    """Area that points ``(N, 2)`` cover, in 5 cm cells; gaps of up to 20 cm between sampled points are filled."""
    import cv2

    cells = np.unique(np.floor(places / _CELL_M).astype(np.int64), axis=0)
    low = cells.min(axis=0) - _GAP_CELLS
    width, height = cells.max(axis=0) - low + _GAP_CELLS + 1
    if max(width, height) > _MAX_CELLS:  # poses that run away: no picture of kilometres
        return len(cells) * _CELL_M**2
    covered = np.zeros((height, width), np.uint8)
    covered[cells[:, 1] - low[1], cells[:, 0] - low[0]] = 1
    kernel = np.ones((_GAP_CELLS + 1, _GAP_CELLS + 1), np.uint8)
    return int(cv2.morphologyEx(covered, cv2.MORPH_CLOSE, kernel).sum()) * _CELL_M**2


def _held_up(poses: FloatArray) -> FloatArray:
    """The mean of the cameras' upward axes: people hold a phone roughly level."""
    mean: FloatArray = -poses[:, :3, 1].mean(axis=0)
    length = float(np.linalg.norm(mean))
    return mean / length if length > 1e-6 else np.array([0.0, 1.0, 0.0])


def _horizontal_axes(up: FloatArray) -> tuple[FloatArray, FloatArray]:
    seed = np.eye(3)[int(np.argmin(np.abs(up)))]
    across = np.cross(seed, up)
    across /= np.linalg.norm(across)
    return across, np.cross(up, across)


def _world_points(frame: Frame, depth: DepthImage, points: int = 1500) -> FloatArray:
    """Measured points ``(N, 3)`` of one frame in the capture frame, on a regular grid, up to 5 m away."""
    assert frame.capture_from_camera is not None
    step = max(int(np.sqrt(depth.size / points)), 1)
    v, u = np.mgrid[0 : depth.shape[0] : step, 0 : depth.shape[1] : step]
    z = depth[::step, ::step]
    good = (z > 0) & (z < _MAX_DEPTH_M)
    k = frame.depth_intrinsics
    rays = np.stack([(u[good] - k[0, 2]) / k[0, 0], (v[good] - k[1, 2]) / k[1, 1], np.ones(np.count_nonzero(good))])
    placed: FloatArray = (rays * z[good]).T @ frame.capture_from_camera[:3, :3].T + frame.capture_from_camera[:3, 3]
    return placed


def _middle(frame: Frame, depth: DepthImage) -> FloatArray:
    """What the camera pointed at ``(3,)``: the median distance along its axis, capture frame."""
    assert frame.capture_from_camera is not None
    h, w = depth.shape
    centre = depth[h // 3 : h - h // 3, w // 3 : w - w // 3]
    measured = centre[centre > 0] if (centre > 0).any() else depth[depth > 0]
    middle: FloatArray = frame.capture_from_camera[:3, 3] + frame.capture_from_camera[:3, 2] * np.median(measured)
    return middle


def _rounded(value: npt.ArrayLike) -> float:
    return round(float(np.asarray(value)), 4)


def contact_sheet(capture: Capture, columns: int = 6, count: int = SAMPLES, width: int = 200) -> ByteImage:
    """Frames of the whole scan: colour above depth (near red, far blue, none grey), with number and time.

    Args:
        capture: the scan.
        columns: pictures in a row.
        count: pictures at most.
        width: of one picture, pixels.

    Returns:
        ``(H, W, 3)`` uint8 RGB.
    """
    chosen = spread([frame for frame in capture.frames if frame.read_rgb is not None] or capture.frames, count)
    tiles = [_tile(frame, width) for frame in chosen]
    height = max(tile.shape[0] for tile in tiles)
    blank = np.full((height, width, 3), 24, np.uint8)
    padded = [np.concatenate([tile, blank[tile.shape[0] :]]) for tile in tiles]
    columns = min(columns, len(padded))
    padded += [blank] * (-len(padded) % columns)
    rows = [np.concatenate(padded[at : at + columns], axis=1) for at in range(0, len(padded), columns)]
    return np.concatenate(rows)


def _tile(frame: Frame, width: int) -> ByteImage:
    """One frame: caption, colour, depth; what cannot be read stays grey."""
    import cv2

    caption = np.full((18, width, 3), 24, np.uint8)
    text = f"#{frame.index}  {frame.time_s:.2f} s"
    cv2.putText(caption, text, (4, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (235, 235, 235), 1, cv2.LINE_AA)
    height = max(round(width * frame.size[1] / frame.size[0]), 1)
    empty = np.full((height, width, 3), 60, np.uint8)
    shown = [caption]
    for read in (frame.rgb, lambda: _false_colour(frame.depth_m())):
        try:
            image = read()
        except InputError:
            image = None
        shown.append(empty if image is None else cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))
    return np.concatenate(shown)


def _false_colour(depth: DepthImage | None) -> ByteImage | None:
    """Depth in the Turbo colour map, red at its own 2nd percentile, blue at its 98th; grey without measurement."""
    import cv2

    if depth is None:
        return None
    measured = depth > 0
    if not measured.any():
        return np.full((*depth.shape, 3), 60, np.uint8)
    near, far = np.percentile(depth[measured], [2, 98])
    level = np.clip((far - depth) / max(far - near, 1e-6), 0.0, 1.0)
    coloured = cv2.cvtColor(cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_TURBO), cv2.COLOR_BGR2RGB)
    coloured[~measured] = 60
    return np.asarray(coloured, dtype=np.uint8)
