"""A policy as ONNX: one graph from what is seen, and noise, to where the tool is to be."""

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

from policies.deploy.bundle import NOISE, POSES
from policies.policy import Policy
from policies.windows import POSE
from reconstruction.errors import OutputError

OPSET = 17
CLOSE = 1e-4
"""ONNX Runtime's poses differ from torch's by this at most (metres; axes and openings are about one in size)."""
Arrays = Mapping[str, npt.NDArray[Any]]


class Acting(nn.Module):
    """`Policy.act` as a function of plain tensors, in the order of `names`; the noise comes last."""

    def __init__(self, model: Policy, names: Sequence[str], steps: int) -> None:
        """Of a network that is ready to act, in `steps` steps along the flow."""
        super().__init__()
        self.model, self.names, self.steps = model, tuple(names), steps

    def forward(self, *values: Tensor) -> Tensor:
        """Poses ``(1, K, POSE)``."""
        return self.model.act(dict(zip(self.names, values[:-1], strict=True)), values[-1], self.steps)


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
            output_names=[POSES],
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
        yield {**{name: _changed(values, row, kind, rng) for name, values in rows.items()}, NOISE: noise}


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
    worst = 0.0
    for trial in trials:
        told = {name: torch.from_numpy(values) for name, values in trial.items() if name != NOISE}
        with torch.inference_mode():
            wanted = model.act(told, torch.from_numpy(trial[NOISE]), steps).numpy()
        off = float(np.abs(network.run([POSES], dict(trial))[0] - wanted).max())
        if not off <= CLOSE:
            raise OutputError(
                f"The exported network differs from the policy by {off:.1e}, more than {CLOSE:.0e}.",
                remedy="Train the policy again; if it stays so, report it with the policy's file.",
                code="no_parity",
            )
        worst = max(worst, off)
    return worst
