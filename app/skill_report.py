"""What a project's policies are worth, as a part of its report."""

from __future__ import annotations

import base64
import itertools
import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from app.policy_folder import FILMS, REALITY_FILMS, evaluation_file, films_of, policies_of, reality_file
from app.project import Project, read_json
from policies.files import EYES, METRICS, PRETRAINED, ROUND

FILM_BYTES = 700_000
"""Films that are larger are named, not shown: the page is one file."""
CHART = (520, 150)
SEES = {"state": "where things are", "rgb": "two cameras", "pointcloud": "two depth cameras"}


def skills(project: Project) -> str:
    """A section for each policy: how often it succeeds, where it breaks, how it was learnt, and films of it."""
    return "".join(_skill(policy) for policy in policies_of(project))


def _skill(policy: Path) -> str:
    found = read_json(evaluation_file(policy)) or {}
    about = found.get("learnt")
    about = about if isinstance(about, dict) else {}
    try:
        return (
            f"<h2>{escape(str(about.get('task', policy.parent.name)))}</h2>"
            f'<ul class="facts">{_facts(found, about)}</ul>{_bar(found)}{_films(policy)}'
            f"{_breaks(found.get('by_variation', {}))}{_reality(policy, found)}{_curves(policy.parent)}"
        )
    except (KeyError, TypeError, ValueError, AttributeError):  # another program's, or damaged: the rest is still good
        return ""


def _facts(found: Mapping[str, Any], about: Mapping[str, Any]) -> str:
    facts = [
        ("robot", about.get("robot")),
        ("sees", SEES.get(str(about.get("observe")))),
        ("demonstrations", about.get("episodes")),
        ("done in", f"{float(found['seconds_to_finish']):.1f} s" if found["successes"] else None),
    ]
    return "".join(f"<li>{escape(name)} <b>{escape(str(value))}</b></li>" for name, value in facts if value is not None)


def _reality(policy: Path, evaluated: Mapping[str, Any]) -> str:
    """How its bundle did in a stand-in for reality, where that was tried with this very policy."""
    found = read_json(reality_file(policy))
    if found is None or found.get("policy") != evaluated.get("policy"):
        return ""
    world = "with the true things" if found["world"] == "true" else "with errors of shape"
    otherwise = ", ".join(map(escape, found["otherwise"]))
    rows = "".join(_factor(name, row) for name, row in found["factors"].items())
    head = "<tr><th>one alone otherwise</th><th>done</th><th></th></tr>"
    table = f'<div class="scroll breaks"><table>{head}{rows}</table></div>' if rows else ""
    said = (
        f'<h3>In a stand-in for reality, {world}</h3><p class="soft">Otherwise than in the simulation: {otherwise}.</p>'
    )
    return f"{said}{_bar(found, 'tries')}{table}{_films(policy, REALITY_FILMS)}"


def _factor(name: str, row: Mapping[str, Any]) -> str:
    cost = "" if row["cost"] is None else f"{-100 * float(row['cost']):+.0f} points"
    done = f"{int(row['successes'])} of {int(row['count'])}"
    return f'<tr><td>{escape(name)}</td><td>{done}</td><td class="soft">{cost}</td></tr>'


def _bar(found: Mapping[str, Any], of: str = "unseen cousins") -> str:
    count, done = int(found["count"]), int(found["successes"])
    low, high = (100 * float(value) for value in found["interval"])
    failures = ", ".join(f"{reason} ({int(number)})" for reason, number in found["failures"].items())
    return (
        f'<div class="score"><b>{done} of {count}</b> {of}'
        f'<div class="meter wide"><i style="width:{100 * done / max(count, 1):.1f}%"></i>'
        f'<u style="left:{low:.1f}%;width:{high - low:.1f}%"></u></div>'
        f'<span class="soft">with 95 % certainty {low:.0f} … {high:.0f} %'
        f"{'. Failures: ' + escape(failures) if failures else ''}</span></div>"
    )


def _films(policy: Path, folder: str = FILMS) -> str:
    figures = []
    for words, path in films_of(policy, folder).items():
        data = path.read_bytes()
        if len(data) <= FILM_BYTES:
            source = f"data:video/mp4;base64,{base64.b64encode(data).decode('ascii')}"
            film = f'<video src="{source}" controls muted loop playsinline preload="metadata"></video>'
        else:
            film = f"<code>{escape(path.name)}</code>"
        figures.append(f"<figure>{film}<figcaption>{escape(words)}</figcaption></figure>")
    return f'<div class="pair films">{"".join(figures)}</div>' if figures else ""


def _breaks(by_variation: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    if not by_variation:
        return ""
    most = max(map(len, by_variation.values()))
    rows = []
    for name, portions in by_variation.items():
        cells = [
            f"<td>{int(p['successes'])} of {int(p['count'])}"
            f'<span class="soft"> at {float(p["low"]):.2g} … {float(p["high"]):.2g}</span></td>'
            for p in portions
        ]
        rows.append(f"<tr><td>{escape(name)}</td>{''.join(cells)}{'<td></td>' * (most - len(cells))}</tr>")
    head = "<th>variation</th>" + "".join(f"<th>{words}</th>" for words in ("least", "more", "most")[:most])
    return f'<div class="scroll breaks"><table><tr>{head}</tr>{"".join(rows)}</table></div>'


def _curves(folder: Path) -> str:
    """How wrong the network was as it learnt: to see, to act in each round, to foretell."""
    lines: dict[str, list[tuple[float, float]]] = {
        "seeing": _points(folder / EYES / METRICS, "acting"),
        "foretelling at first": _points(folder / PRETRAINED / METRICS, "dreaming"),
    }
    before = 0.0
    for number in itertools.count():
        path = folder / f"{ROUND}{number}" / METRICS
        if not path.is_file():
            break
        for name, key in (("acting", "acting"), ("foretelling", "dreaming")):
            lines.setdefault(name, []).extend((before + step, value) for step, value in _points(path, key))
        before = max((step for step, _ in lines["acting"]), default=0.0)
    charts = "".join(
        _chart(name, points) for name, points in lines.items() if len(points) > 1 and any(p[1] for p in points)
    )
    return f'<div class="pair">{charts}</div>' if charts else ""


def _points(path: Path, key: str) -> list[tuple[float, float]]:
    if not path.is_file():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(float(row["step"]), float(row[key])) for row in rows if key in row]


def _chart(name: str, points: Sequence[tuple[float, float]]) -> str:
    wide, high = CHART
    most = max(step for step, _ in points)
    top, bottom = max(value for _, value in points), min(0.0, *(value for _, value in points))
    span = max(top - bottom, 1e-9)
    path = " ".join(f"{wide * step / most:.1f},{high - high * (value - bottom) / span:.1f}" for step, value in points)
    return (
        f'<figure><svg viewBox="-4 -4 {wide + 8} {high + 8}" role="img" aria-label="loss of {name}">'
        f'<polyline points="{path}" fill="none" stroke="var(--accent)" stroke-width="2"/></svg>'
        f"<figcaption><b>{name}</b>: loss over {most:.0f} steps, at last {points[-1][1]:.3g}</figcaption></figure>"
    )
