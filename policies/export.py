"""A policy as ONNX: one graph from what is seen, and noise, to where the tool is to be and what it dreams of."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from policies.belief import sizes
from policies.deploy.bundle import DREAM, MEMORY, NOISE, PLACES, POSES, REMEMBERED
from policies.model import dreamer
from policies.policy import Policy
from policies.windows import POSE
from reconstruction.errors import OutputError
from simulation.pointcloud import CLOUD, OF_A_POINT

OPSET = 17
CLOSE = 1e-4
"""ONNX Runtime's numbers differ from torch's by this at most (metres; axes and openings are about one in size), those
larger than one by this share, and entries of a covariance's inverse by `belief.ROUGHLY` this share of the largest."""
Arrays = Mapping[str, npt.NDArray[Any]]


class Acting(nn.Module):
    """`WorldActionModel.foresee` as a function of plain tensors, in the order of `names`; the noise comes last.

    A policy that only acts has poses alone to tell.
    """

    def __init__(self, model: Policy, names: Sequence[str], steps: int) -> None:
        """Of a network that is ready to act, in `steps` steps along the flow."""
        super().__init__()
        self.model, self.names, self.steps = model, tuple(names), steps

    @property
    def outputs(self) -> list[str]:
        """Names of what comes out."""
        dreams = [] if dreamer(self.model) is None else [PLACES, DREAM]
        return [POSES, *dreams, *([REMEMBERED] if self.model.encoder.remembers() else [])]

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Poses ``(1, K, POSE)``, places ``(1, P, 3)`` and dream ``(1, H, P, 3)``, and what to remember ``(1, n)``."""
        told, noise = dict(zip(self.names, values[:-1], strict=True)), values[-1]
        seen, memory = self.model.encoder.made_out(told)
        remembered = (memory,) if memory.shape[1] else ()
        world = dreamer(self.model)
        if world is None:
            return self.model.act(seen, noise, self.steps), *remembered
        middle = noise.new_zeros(1, len(world.settings.horizons), world.foretold)
        poses, dream = world.foresee(seen, noise, middle, self.steps)
        return poses, world.whereabouts(seen), dream, *remembered


def to_onnx(model: Policy, seen: Arrays, steps: int) -> bytes:
    """A policy as an ONNX file, for one observation at a time.

    Args:
        model: ready to act, on the CPU.
        seen: one observation ``(1, …)`` by name: the graph takes such shapes and types.
        steps: along the flow.
    """
    acting = Acting(model, list(seen), steps)
    noise = torch.zeros(1, model.settings.chunk, POSE)
    example = (*(torch.from_numpy(values) for values in seen.values()), noise)
    # Torch's own exporter has no rule for `mT`; its newer one wants further packages.
    torch.onnx.register_custom_op_symbolic("aten::mT", _transposed, OPSET)  # type: ignore[attr-defined]
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        # Deprecated in favour of that one; and it warns of every size that it takes for fixed, which sizes here are.
        warnings.simplefilter("ignore")
        file = Path(folder) / "policy.onnx"
        torch.onnx.export(
            acting,
            example,
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=[*seen, NOISE],
            output_names=acting.outputs,
        )
        return file.read_bytes()


def _transposed(graph: Any, value: Any) -> Any:
    sides = value.type().dim()
    return graph.op("Transpose", value, perm_i=[*range(sides - 2), sides - 1, sides - 2])


def trials_of(rows: Arrays, chunk: int, seed: int = 0, count: int = 64) -> Iterator[Arrays]:
    """Observations ``(1, …)`` with noise on which a network is compared: real ones, some changed, and made-up ones.

    Args:
        rows: real ones ``(N, …)`` by name.
        chunk: actions of one.
        seed: of what is drawn.
        count: of each kind.
    """
    rng = np.random.default_rng(seed)
    total = len(next(iter(rows.values())))
    for number in range(3 * count):
        kind, row = number % 3, int(rng.integers(total))
        noise = rng.standard_normal((1, chunk, POSE)).astype(np.float32) * (number % 2)
        # Not every row of numbers is a memory, or a cloud.
        kinds = {name: 0 if name == MEMORY else kind for name in rows}
        made = {
            name: _mixed(values, row, kind, rng) if name == CLOUD else _changed(values, row, kinds[name], rng)
            for name, values in rows.items()
        }
        yield {**made, NOISE: noise}


def _mixed(clouds: npt.NDArray[Any], row: int, kind: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    """``(1, n)`` one of ``(N, n)`` clouds with the more of its points from others, the higher `kind` is; 0: none."""
    points = clouds.reshape(len(clouds), -1, OF_A_POINT)
    count = points.shape[1]
    rows = np.where(rng.random(count) < kind / 2, rng.integers(len(clouds), size=count), row)
    return np.asarray(points[rows, np.arange(count)].reshape(1, -1))


def _changed(values: npt.NDArray[Any], row: int, kind: int, rng: np.random.Generator) -> npt.NDArray[Any]:
    real = values[row : row + 1]
    if kind == 0:
        return real
    if values.dtype == np.uint8:
        return rng.integers(0, 256, real.shape, dtype=np.uint8)
    spread = values.std(axis=0) + 1e-3
    middle = real if kind == 1 else values.mean(axis=0)[None]
    return np.asarray(middle + kind * spread * rng.standard_normal(real.shape), dtype=values.dtype)


def check_parity(network: Any, model: Policy, trials: Iterable[Arrays], steps: int) -> float:
    """The largest difference between what ONNX Runtime and torch make of the same.

    Args:
        network: an ``onnxruntime.InferenceSession`` of what `to_onnx` made.
        model: that it was made of.
        trials: observations with noise.
        steps: along the flow.

    Raises:
        OutputError: it is more than `CLOSE`, or no number.
    """
    worst, acting = 0.0, Acting(model, [entry.name for entry in network.get_inputs() if entry.name != NOISE], steps)
    for trial in trials:
        with torch.inference_mode():
            wanted = acting(*(torch.from_numpy(trial[name]) for name in (*acting.names, NOISE)))
        found = network.run(acting.outputs, dict(trial))
        offs = []
        for name, one, other in zip(acting.outputs, found, wanted, strict=True):
            # What is remembered has large numbers too.
            size = torch.maximum(other.abs(), sizes(other) if name == REMEMBERED else torch.ones_like(other))
            offs.append(float(((torch.from_numpy(one) - other).abs() / size).max()))
        off = max(offs)
        if not all(each <= CLOSE for each in offs):  # nor where it is no number
            raise OutputError(
                f"The exported network differs from the policy by {off:.1e}, more than {CLOSE:.0e}.",
                remedy="Train the policy again; if it stays so, report it with the policy's file.",
                code="no_parity",
            )
        worst = max(worst, off)
    return worst
