"""Work that is done while this process does something else."""

from __future__ import annotations

import threading

import pytest

from reconstruction.progress import Progress
from simulation.beside import beside


def test_both_are_done_and_the_rest_of_the_work_is_told_of() -> None:
    told, begun, goes_on = list[float](), threading.Event(), threading.Event()

    def work(progress: Progress) -> None:
        progress(0.1, "hidden by what the block tells")
        begun.set()
        assert goes_on.wait(20)
        progress(0.9, "alone")

    with beside(work, lambda share, text: told.append(share)):
        assert begun.wait(20)
        threading.Timer(0.2, goes_on.set).start()
    assert told == [0.9]


def test_work_stops_when_nobody_waits_for_it() -> None:
    ended = threading.Event()

    def work(progress: Progress) -> None:
        try:
            while True:
                progress(0.0, "on and on")
        finally:
            ended.set()

    with pytest.raises(KeyError), beside(work, lambda share, text: None):
        raise KeyError
    assert ended.is_set()


def test_an_error_of_the_work_is_raised() -> None:
    def work(progress: Progress) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"), beside(work, lambda share, text: None):
        pass
