"""The report: a project on one page, ``report.html``, that needs no other file and no network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import numpy.typing as npt

from app.pictures import encoded
from app.project import Project, code_hash, read_json
from app.render import Picture, Shape, view_of
from app.skill_report import skills
from reconstruction.disk import write_whole
from reconstruction.mesh import Mesh, read_obj
from reconstruction.progress import Progress, silent
from reconstruction.quality import best_azimuth_deg
from reconstruction.scene import Scene, SceneObject

FloatArray = npt.NDArray[np.float64]
ByteImage = npt.NDArray[np.uint8]

HERE = Path(__file__).resolve().parent
SOURCES = ("report.py", "skill_report.py", "report_page.html", "render.py", "pictures.py")
REPORT = "report.html"
SCENE_SIZE = (770, 550)
CONTACT_SHEET_BYTES = 900_000
SKILLS = ("<!-- policies -->", "<!-- end of policies -->")
"""What lies between these is written anew without the rest."""


@dataclass(frozen=True)
class Turning:
    """How the objects' strips are drawn, so that a page with many objects stays small.

    Attributes:
        views: pictures round the object.
        pixels: edge of each.
    """

    views: int
    pixels: int

    @staticmethod
    def for_count(objects: int) -> Turning:
        """Fewer and smaller pictures for more objects."""
        if objects <= 12:
            return Turning(12, 160)
        return Turning(12, 132) if objects <= 40 else Turning(8, 108)


def write_report(project: Project, progress: Progress = silent, *, again: bool = False) -> Path:
    """Write ``report.html``; where one is there of the same scene by the same program, only its policies' part anew.

    Args:
        project: with a finished scene.
        progress: is told after every picture.
        again: write it in any case.

    Raises:
        UsageError: the project has no scene yet.
        InputError: its scene is damaged.
        OutputError: the page cannot be written.
    """
    folder = project.require("scene")
    path = project.folder / REPORT
    made_of = _made_of(project)
    if not again and path.is_file() and made_of.encode() in (before := path.read_bytes())[:1000]:
        page = _with_skills(before.decode("utf-8"), project)
        if page.encode() != before:
            write_whole(path, page)
        return path
    scene = Scene.load(folder)
    document = read_json(folder / "scene.json") or {}
    turning = Turning.for_count(len(scene.objects))
    azimuth = _azimuth_deg(project, scene)
    sizes = {item.name: upright_size_m(item) for item in scene.objects}
    progress(0.0, "drawing the scene")
    pictures = "".join(_scene_pictures(scene, folder, azimuth))
    page = Template((HERE / "report_page.html").read_text(encoding="utf-8")).substitute(
        made_of=made_of,
        title=escape(project.name),
        views=turning.views,
        last_position=f"{100 * turning.views / (turning.views - 1):.4f}",
        facts=_facts(project, scene),
        notes=_notes(scene),
        pictures=pictures,
        objects=_objects(scene, sizes, turning, progress),
        table=_table(document, sizes),
        contact_sheet=_contact_sheet(project),
        timings=_timings(project.record("scene")),
        footer=_footer(project),
    )
    write_whole(path, _with_skills(page, project))
    progress(1.0, "report written")
    return path


def _with_skills(page: str, project: Project) -> str:
    """A page with what is known now of the project's policies in place of what was known then."""
    before, begin, rest = page.partition(SKILLS[0])
    _, end, after = rest.partition(SKILLS[1])
    return before + begin + skills(project) + end + after


def _made_of(project: Project) -> str:
    digest = hashlib.blake2b(code_hash(*(HERE / name for name in SOURCES)).encode(), digest_size=16)
    for name in ("scene/scene.json", "scene/stage.json", "capture/stage.json"):
        path = project.folder / name
        digest.update(path.read_bytes() if path.is_file() else b"-")
    return digest.hexdigest()


def _facts(project: Project, scene: Scene) -> str:
    inspection = read_json(project.stage_folder("capture") / "inspection.json") or {}
    seconds = project.record("scene").get("seconds")
    facts = [("objects", str(len(scene.objects))), ("supports", ", ".join(s.name for s in scene.supports) or "none")]
    facts += [(name, str(inspection[name])) for name in ("format", "device", "frames") if inspection.get(name)]
    if isinstance(inspection.get("duration_s"), int | float):
        facts.append(("scanned for", f"{inspection['duration_s']:.0f} s"))
    if isinstance(seconds, int | float):
        facts.append(("made in", f"{seconds:.0f} s"))
    return "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in facts)


def _notes(scene: Scene) -> str:
    """The scene's own warnings, as the command line and ``scene.json`` give them, and no others."""
    if not scene.warnings:
        return ""
    unique = dict.fromkeys(scene.warnings)
    return '<ul class="notes">' + "".join(f"<li>{escape(sentence)}</li>" for sentence in unique) + "</ul>"


def _azimuth_deg(project: Project, scene: Scene) -> float:
    """From where the pictures look: as the warnings' "far side" has it."""
    recorded = project.record("scene").get("figures", {}).get("picture_azimuth_deg")
    return float(recorded) if isinstance(recorded, int | float) else best_azimuth_deg(scene.objects)


def _scene_pictures(scene: Scene, folder: Path, azimuth_deg: float) -> Iterator[str]:
    """Figures: everything that was fused, the scene in its own colours, the scene by what was seen."""
    view = view_of(_in_the_middle(scene), azimuth_deg, 38.0, SCENE_SIZE[0] / SCENE_SIZE[1])
    before = _fused(folder)
    if before is not None:
        image = Picture([Shape(before, one_sided=True)]).draw(view, SCENE_SIZE)
        yield _figure(image, "<b>Before:</b> all depth images fused into one surface")
    still = [Shape(scene.background, one_sided=True)] if scene.background is not None else []
    things = [Shape(item.visual, item.scene_from_object) for item in scene.objects]
    after, count = Picture([*still, *things]), len(scene.objects)
    yield _figure(
        after.draw(view, SCENE_SIZE),
        f"<b>After:</b> {count} separate object{'' if count == 1 else 's'} that can be picked up",
    )
    if scene.objects:
        key = '<span class="legend"><i style="background:var(--seen)"></i>measured'
        key += '<i style="background:var(--guessed)"></i>completed</span>'
        behind = view_of(_in_the_middle(scene), azimuth_deg + 180.0, 38.0, SCENE_SIZE[0] / SCENE_SIZE[1])
        yield _figure(
            after.draw(behind, SCENE_SIZE, by_seen=True), f"<b>From the other side</b>, by what the phone saw:{key}"
        )


def _fused(folder: Path) -> Mesh | None:
    path = folder / "fused.obj"
    return read_obj(path) if path.is_file() else None


def _in_the_middle(scene: Scene) -> FloatArray:
    """``(N, 3)`` points that the pictures must show: the objects, else the main support, else everything."""
    if scene.objects:
        return np.concatenate([item.visual.moved(item.scene_from_object).vertices for item in scene.objects])
    if scene.supports:
        return scene.supports[0].polygon
    if scene.background is not None and len(scene.background.vertices):
        low, high = np.percentile(scene.background.vertices, (5, 95), axis=0)
        return np.array([low, high])
    return np.array([[-0.5, -0.5, 0.0], [0.5, 0.5, 0.3]])


def _figure(image: ByteImage, caption: str) -> str:
    source = _data_url(encoded(image, ".webp", 82), "webp")
    height, width = image.shape[:2]
    picture = f'<img src="{source}" width="{width}" height="{height}" alt="">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _data_url(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _objects(scene: Scene, sizes: Mapping[str, FloatArray], turning: Turning, progress: Progress) -> str:
    if not scene.objects:
        return ""
    cards = []
    for number, item in enumerate(scene.objects):
        progress((number + 1) / (len(scene.objects) + 1), f"drawing the {spoken(item.name)}")
        cards.append(_card(item, sizes[item.name], turning))
    choice = (
        '<div class="switch"><label><input type="radio" name="colours" checked>as it looks</label>'
        '<label><input type="radio" name="colours" id="as-seen">measured and completed</label></div>'
    )
    return f'<h2>Objects</h2>{choice}<div class="things">{"".join(cards)}</div>'


def _card(item: SceneObject, size_m: FloatArray, turning: Turning) -> str:
    own, seen = turning_strips(item, turning)
    layers = "".join(
        f'<i class="{name}" style="background-image:url({_data_url(encoded(strip, ".webp", 76), "webp")})"></i>'
        for name, strip in (("own", own), ("guess", seen))
    )
    share = round(100 * item.seen_fraction)
    words = (
        f"<b>{escape(spoken(item.name))}</b>"
        f'<span class="soft">{_size(size_m)}<br>{_mass(item.mass_kg)} · {escape(spoken(item.material))}<br>'
        f'{share} % measured</span><div class="meter"><i style="width:{share}%"></i></div>'
    )
    return f'<div class="thing"><div class="turn">{layers}</div><div class="words">{words}</div></div>'


def turning_strips(item: SceneObject, turning: Turning) -> tuple[ByteImage, ByteImage]:
    """An object from all round, side by side ``(pixels, views * pixels, 4)``: its own colours, and what was seen."""
    upright = item.scene_from_object.copy()
    upright[:3, 3] = 0.0
    shape = Shape(item.visual, upright)
    points = item.visual.moved(upright).vertices
    # One distance for all views, or the object would swell and shrink as it turns.
    radius = np.linalg.norm(points[:, :2] - (points[:, :2].min(0) + points[:, :2].max(0)) / 2, axis=1).max()
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    ring = np.linspace(0.0, 2 * np.pi, 16, endpoint=False)
    circle = middle[:2] + radius * np.stack([np.cos(ring), np.sin(ring)], axis=1)
    hull = np.concatenate([np.column_stack([circle, np.full(16, z)]) for z in (points[:, 2].min(), points[:, 2].max())])
    picture = Picture([shape], shadows=False)
    size = (turning.pixels, turning.pixels)
    views = [view_of(hull, 360.0 * number / turning.views - 60.0, 22.0, 1.0) for number in range(turning.views)]
    drawn = [picture.draw_as(view, size, (False, True)) for view in views]
    return np.hstack([pair[0] for pair in drawn]), np.hstack([pair[1] for pair in drawn])


def upright_size_m(item: SceneObject) -> FloatArray:
    """Width, depth (never above the width) and height of the smallest upright box round `item`, as a ruler gives them.

    ``size_m`` in scene.json is along the axes instead, and so larger for what stands askew to them.
    """
    import cv2

    points = item.visual.moved(item.scene_from_object).vertices
    if not len(points):
        return np.zeros(3)
    # Round the middle: OpenCV computes in single precision.
    plan = (points[:, :2] - points[:, :2].mean(axis=0)).astype(np.float32)
    _, sides, _ = cv2.minAreaRect(plan)
    return np.array([max(sides), min(sides), np.ptp(points[:, 2])])


def _size(size_m: FloatArray) -> str:
    return " × ".join(f"{100 * value:.1f}" for value in size_m) + " cm"


def _mass(kilograms: float) -> str:
    return f"{kilograms:.2f} kg" if kilograms >= 1 else f"{1000 * kilograms:.0f} g"


def _table(document: dict[str, Any], sizes: Mapping[str, FloatArray]) -> str:
    if not document.get("objects"):
        return ""
    heads = ("object", "width × depth × height", "mass", "80 % interval", "material", "friction", "volume", "parts",
             "measured")  # fmt: skip
    rows = "".join(_row(entry, sizes[entry["name"]]) for entry in document["objects"])
    head = "".join(f"<th>{name}</th>" for name in heads)
    return f'<h2>Sizes, masses and parts</h2><div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _row(entry: dict[str, Any], size_m: FloatArray) -> str:
    low, high = entry.get("mass_interval_kg", (0.0, 0.0))
    cells = (
        escape(spoken(entry["name"])),
        _size(size_m),
        _mass(entry["mass_kg"]),
        f"{_mass(low)} – {_mass(high)}" if high > 0 else "–",
        escape(spoken(entry["material"])),
        f"{entry['friction']:.2f}",
        f"{1e6 * entry['volume_m3']:.0f} cm³",
        str(len(entry["collision"])),
        f"{100 * entry['seen_fraction']:.0f} %",
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _contact_sheet(project: Project) -> str:
    path = project.stage_folder("capture") / "contact_sheet.jpg"
    if not path.is_file():
        return ""
    data = path.read_bytes()
    if len(data) > CONTACT_SHEET_BYTES:
        data = _smaller(data)
    source = _data_url(data, "jpeg")
    return f'<h2>The scan</h2><figure><img src="{source}" alt="frames of the scan"></figure>'


def _smaller(jpeg: bytes) -> bytes:
    import cv2

    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        return jpeg
    scale = min(1.0, 1400 / image.shape[1])
    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return encoded(image[..., ::-1], ".jpg", 72)


def _timings(record: dict[str, Any]) -> str:
    timings = {name: float(value) for name, value in record.get("timings", {}).items()}
    if not timings:
        return ""
    longest = max(*timings.values(), 1e-9)
    rows = "".join(
        f'<tr><td>{escape(spoken(name))}</td><td><i style="width:{100 * value / longest:.1f}%"></i></td>'
        f"<td>{value:.1f} s</td></tr>"
        for name, value in timings.items()
    )
    return f'<h2>Where the time went</h2><div class="scroll"><table class="bars">{rows}</table></div>'


def _footer(project: Project) -> str:
    record = project.record("scene")
    versions = record.get("versions", {})
    made = f"Made by Pocketworld {versions.get('pocketworld', '')} on {record.get('finished', '')[:10]}."
    # The page may be read anywhere: a path that holds wherever it lies.
    return f"{escape(made)} Play with it, from the folder of this page: <code>pocketworld simulate .</code>"


def spoken(name: str) -> str:
    """``object_01`` as people say it: "object 01"."""
    return name.replace("_", " ")
