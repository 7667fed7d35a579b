"""Batches of windows on the device: from a dataset that lies there, or from the computer's memory."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from policies.windows import Windows

SHARE = 0.6
"""Of a GPU's free memory that a dataset may take; the rest is for the network and what it computes."""


class Batches(Protocol):
    """Where batches come from."""

    def some(self, rows: Tensor) -> Windows:
        """The windows of some rows ``(B,)`` (on the CPU), on the device."""

    def soon(self, rows: Tensor) -> None:
        """Say which rows will be wanted next."""


def batches_of(windows: Windows, device: torch.device) -> Batches:
    """Batches from windows: those that fit lie on the device, others are brought there as they are wanted."""
    room = room_bytes(device)
    if room is None or windows.nbytes <= room:
        return Resident(windows, device)
    return Brought(windows, device)


def room_bytes(device: torch.device) -> int | None:
    """What a dataset may take of a device's memory; None: that is the computer's own, in which it lies anyway."""
    return int(SHARE * torch.cuda.mem_get_info(device)[0]) if device.type == "cuda" else None


class Resident:
    """Batches from windows that lie on the device, all of them."""

    def __init__(self, windows: Windows, device: torch.device) -> None:
        """Bring them there."""
        self._windows, self._device = windows.to(device), device

    def some(self, rows: Tensor) -> Windows:
        """See `Batches`."""
        return self._windows.some(rows.to(self._device))

    def soon(self, rows: Tensor) -> None:
        """Nothing is to be done: all are there."""


class Brought:
    """Batches that a thread gathers in page-locked memory and sends to the device while it is still at the last one.

    From there, and only from there, a GPU fetches them by itself. The whole dataset is not locked: the computer may
    need to put some of it aside.
    """

    def __init__(self, windows: Windows, device: torch.device) -> None:
        """From windows in the computer's memory."""
        self._windows, self._device = windows, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._coming: tuple[Tensor, Future[Windows]] | None = None

    def some(self, rows: Tensor) -> Windows:
        """See `Batches`."""
        coming, self._coming = self._coming, None
        found = coming[1].result() if coming and torch.equal(coming[0], rows) else self._bring(rows)
        if self._stream is not None:
            now = torch.cuda.current_stream(self._device)
            now.wait_stream(self._stream)
            for values in found.tensors():  # or their memory would be given away while they are still in use
                values.record_stream(now)
        return found

    def soon(self, rows: Tensor) -> None:
        """See `Batches`."""
        self._coming = rows, self._thread.submit(self._bring, rows)

    def _bring(self, rows: Tensor) -> Windows:
        if self._stream is None:
            return self._windows.some(rows).to(self._device)
        with torch.cuda.stream(self._stream):
            return self._windows.some(rows, pinned=True).to(self._device)
