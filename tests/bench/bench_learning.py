"""How near mass and friction come that are learnt from ten probes, on five benches that stand in for the real one.

Things stand as on the small bench of the tests; mass and friction (each by a factor of 0.6 to 1.6) are drawn for each
bench, and so is all else that is otherwise there.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from app.learn_stage import LearnSettings, learn_from
from app.probe_stage import ProbeSettings, probe
from simulation.reality import FACTORS
from tests import bundles
from tests.robot_bench import bench, project_at

BENCHES, RUNS, THING = 5, 10, "block_1"


def main(benches: int = BENCHES, runs: int = RUNS) -> None:
    """Probe, learn, compare."""
    item = next(item for item in bench().objects if item.name == THING)
    with tempfile.TemporaryDirectory() as place:
        project, bundle = project_at(Path(place) / "p"), bundles.make_bundle(Path(place) / "b")
        for number in range(benches):
            settings = ProbeSettings(thing=THING, count=runs, bench=number, fast=True)
            made = probe(bundle, settings, project=project, out=Path(place) / f"runs_{number}")
            found = learn_from(project, [Path(made.dataset)], LearnSettings(dry=True))
            told = {one.quantity: one for one in found.learnt}
            for quantity, factor, key, before in (
                ("mass_kg", "mass", "mass", item.mass_kg),
                ("friction", "friction", "thing", item.friction),
            ):
                true = before * FACTORS[factor].values(1.0, "bench", number, "reality", factor, THING)[key]
                one = told.get(quantity)
                words = "not learnt" if one is None else f"{one.value:.4f} ({100 * (one.value / true - 1):+.1f} %)"
                inside = one is not None and one.interval[0] <= true <= one.interval[1]
                sys.stdout.write(
                    f"bench {number}, {made.done} runs: {quantity} {words}, true {true:.4f}, before {before:.4f}"
                    f"{', in its interval' if inside else ''}\n"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
