"""Temporary folders go with their process, however it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from reconstruction import disk
from reconstruction.temporary import LOCK, TemporaryFolder, sweep

MAKES_ONE = """
import sys, time
from reconstruction import disk
from reconstruction.temporary import TemporaryFolder
made = TemporaryFolder("scan")
(made.path / "mesh.bin").write_bytes(bytes(1000))
print(made.path, flush=True)
time.sleep(60)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_goes_when_it_is_done_with(place: Path) -> None:
    with TemporaryFolder("shape") as folder:
        (folder / "inside").mkdir()
        assert folder.parent == place
    made = TemporaryFolder("shape")
    del made
    assert list(place.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="nothing can be locked")
def test_what_a_killed_process_left_is_swept_and_nobody_elses(place: Path) -> None:
    mine = TemporaryFolder("scan")
    other = place / "pocketworld-of-somebody"  # without a lock: not ours to take away
    other.mkdir()
    running = [
        subprocess.Popen(
            [sys.executable, "-c", MAKES_ONE], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": str(place)}
        )
        for _ in range(2)
    ]
    try:
        left, alive = (Path(process.stdout.readline().decode().strip()) for process in running if process.stdout)
        assert (left / "mesh.bin").is_file()
        running[0].send_signal(signal.SIGKILL)
        running[0].wait()
        sweep()
        assert not left.exists()
        assert (alive / "mesh.bin").is_file()
        assert mine.path.is_dir()
        assert other.is_dir()
        locks = {path.name.removesuffix(LOCK) for path in place.glob(f"*{LOCK}")}
        assert locks == {alive.name, mine.path.name}
    finally:
        for process in running:
            process.kill()
            process.communicate()
    mine.cleanup()
    mine.cleanup()
    assert not mine.path.exists()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
def test_a_forked_process_leaves_its_parents_folder(place: Path) -> None:
    made = TemporaryFolder("family")
    child = os.fork()
    if not child:
        made.cleanup()
        os._exit(0)
    os.waitpid(child, 0)
    assert made.path.is_dir()
    sweep()
    assert made.path.is_dir()
    made.cleanup()


def test_where_nothing_can_be_locked_there_is_one_folder_all_the_same(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "fcntl", None)
    with TemporaryFolder("scan") as folder:
        assert list(place.iterdir()) == [folder]
        sweep()
        assert folder.is_dir()
    assert list(place.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(OSError, match="nowhere"):
        TemporaryFolder("scan")
