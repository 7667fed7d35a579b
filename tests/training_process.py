"""One of the processes that torchrun starts for `test_training`: trains a toy network, and says what its rank did."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from policies.policy import Policy
from policies.ranks import ranks_together
from policies.train import LoopSettings, train
from tests.toy_training import certain_model, small_model, toy_windows


def main(folder: Path, loop: LoopSettings, kind: str) -> None:
    windows = toy_windows()
    model = {"certain": certain_model, "small": small_model}[kind](windows)
    asked, said = [], []

    def check(network: Policy) -> float:
        asked.append(1)
        return 0.5

    with ranks_together("cpu") as ranks:
        best = train(model, windows, loop, folder, lambda share, words: said.append(words), check, ranks=ranks)
        weights = b"".join(value.numpy().tobytes() for value in model.state_dict().values())
        about = {"rank": ranks.rank, "checks": len(asked), "best": best.step, "success": best.success}
        about["weights"] = hashlib.sha256(weights).hexdigest()
        (folder / f"rank_{ranks.rank}.json").write_text(json.dumps(about))


if __name__ == "__main__":
    main(Path(sys.argv[1]), LoopSettings(**json.loads(sys.argv[2])), sys.argv[3])
