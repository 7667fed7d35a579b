"""Where a project keeps its policies, and what is known of them."""

from __future__ import annotations

from pathlib import Path

from app.project import Project
from policies.files import BEST

FILMS, REALITY_FILMS = "films", "reality_films"


def policy_file(project: Project, dataset: Path) -> Path:
    """Where the policy that was learnt from a dataset lies."""
    return project.folder / "policy" / dataset.name / BEST


def policies_of(project: Project) -> list[Path]:
    """The files of a project's policies that were evaluated."""
    return sorted(path for path in (project.folder / "policy").glob(f"*/{BEST}") if evaluation_file(path).is_file())


def evaluation_file(policy: Path) -> Path:
    """Where the last score of a policy is kept, beside it."""
    return policy.with_name("evaluation.json")


def reality_file(policy: Path) -> Path:
    """Where it is kept how its bundle did in a stand-in for reality (`app.reality_stage`), beside it."""
    return policy.with_name("reality.json")


def films_of(policy: Path, folder: str = FILMS) -> dict[str, Path]:
    """The films of a policy's last evaluation (or of `REALITY_FILMS`), by what one sees in them."""
    found = {}
    for path in sorted((policy.parent / folder).glob("*.mp4")):
        outcome, _, index = path.stem.rpartition("_")
        found[f"{outcome} in {'cousin' if folder == FILMS else 'try'} {index.lstrip('0') or '0'}"] = path
    return found
