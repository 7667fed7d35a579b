"""Many scans, each in a child process of its own: as many at a time as cores and memory allow."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from app.console import log_traceback, program
from app.project import NO_NAME, Project, content_hash, folder_name, is_folder, mode_of, real_path
from reconstruction.errors import PocketworldError, UsageError

MEMORY_A_SCAN = 3.0e9
WORKER = (sys.executable, "-m", "app.worker")
SCAN_SUFFIXES = {".r3d", ".zip"}
TELLING = 0.05
"""Share of a scan that must be done before its pace says how long it takes."""
GRACE_S = 5.0
PACKAGES = Path(__file__).resolve().parent.parent

ReportWarning = Callable[..., None]


@dataclass(frozen=True)
class Job:
    """One scan to reconstruct into one project folder."""

    scan: Path
    folder: Path


@dataclass(frozen=True)
class Failure:
    """A scan that gave no scene."""

    scan: str
    error: PocketworldError

    def as_json(self) -> dict[str, Any]:
        """The failure as a JSON-able dict."""
        return {
            "scan": self.scan,
            "code": self.error.code,
            "message": self.error.message,
            "remedy": self.error.remedy,
            "exit_code": self.error.exit_code,
        }


def expand_scans(named: Sequence[Path]) -> dict[Path, Path]:
    """The scans meant by the words of the command line: files, folders, patterns, folders of scans. None twice.

    Returns:
        For each scan, absolute, the file or folder that its project is named after.
    """
    found: dict[Path, Path] = {}
    for path in named:
        matches = [path]
        if not mode_of(path) and re.search(r"[*?\[]", str(path)):
            matches = _matching(path) or [path]
        for match in matches:
            scans = _scans_in(match)
            for scan in scans:
                found.setdefault(scan.absolute(), _named_after(scan, match, scans).absolute())
    first = {real_path(scan): scan for scan in reversed(found)}
    return {scan: place for scan, place in found.items() if first[real_path(scan)] == scan}


def _named_after(scan: Path, named: Path, scans: Sequence[Path]) -> Path:
    """The scan itself or, where its name says nothing, the folder round it, up to what the user named.

    Never one that holds others of `scans` too.
    """
    place = scan
    while place != named and NO_NAME.fullmatch(place.name):
        if sum(other.is_relative_to(place.parent) for other in scans) > 1:
            return scan
        place = place.parent
    return place


def _matching(path: Path) -> list[Path]:
    """What lies on the disk under a pattern, in order of name.

    Raises:
        UsageError: it is no pattern.
    """
    anchor = Path(path.anchor) if path.is_absolute() else Path()
    try:
        return sorted(anchor.glob(str(path.relative_to(anchor)) if path.is_absolute() else str(path)))
    except (ValueError, OSError, RecursionError) as error:
        raise UsageError(
            f"{path} is neither a scan nor a pattern: {error}.",
            remedy="Name the scans themselves, or a pattern such as scans/*.r3d.",
            code="bad_pattern",
        ) from None


def _scans_in(path: Path, depth: int = 0) -> list[Path]:
    """The scan itself, or the scans that lie in a folder which is none; a folder without any stands for itself."""
    if not is_folder(path) or _is_scan(path):
        return [path]
    try:
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith("."))
    except OSError:
        return [path]  # reading it says what is wrong with it
    found: list[Path] = []
    for entry in entries:
        if entry.is_dir() and not Project(entry).is_project and not _is_scan(entry) and depth == 0:
            inner = _scans_in(entry, depth + 1)
            found += [] if inner == [entry] and not _holds_scan(entry) else inner
        elif entry.suffix.lower() in SCAN_SUFFIXES or (entry.is_dir() and _is_scan(entry)):
            # A damaged export is recognised by no importer; it is kept, so that it fails where the user sees it.
            found.append(entry)
    return found or [path]


def _is_scan(folder: Path) -> bool:
    """Whether a folder itself, not something deeper in it, is what some importer reads."""
    from reconstruction.archive import open_tree
    from reconstruction.importers import IMPORTERS

    try:
        tree = open_tree(folder)
        return any(importer.matches(tree) for importer in IMPORTERS.values())
    except (PocketworldError, OSError):
        return False


def _holds_scan(folder: Path) -> bool:
    from reconstruction.archive import open_tree
    from reconstruction.importers import find_scan

    try:
        find_scan(open_tree(folder))
    except (PocketworldError, OSError):
        return False
    return True


def plan(scans: Mapping[Path, Path], out: Path, name: str | None = None) -> list[Job]:
    """A project folder for each scan of `expand_scans`: the same one each time, and never one for two scans.

    Args:
        scans: of `expand_scans`.
        out: the folder for the projects.
        name: of the folder of a single scan; left out: each is named like its scan.

    Raises:
        UsageError: the name is none, is that of another scan's project, or is for several scans.
    """
    if name is not None:
        return [_named_job(scans, out, name)]
    there = {entry.name.casefold(): entry for entry in out.iterdir()} if is_folder(out) else {}
    owned = {scan: entry for entry in there.values() if (scan := Project(entry).scan()) is not None}
    folders = {scan: owned[real_path(scan)] for scan in scans if real_path(scan) in owned}
    taken = {folder.name.casefold() for folder in folders.values()}
    for scan, place in scans.items():
        stem = project_name(place)
        name, number = stem, 1
        while scan not in folders:
            folder = there.get(name.casefold(), out / name)
            if folder.name.casefold() not in taken and _free_for(folder, scan):
                folders[scan] = folder
                taken.add(folder.name.casefold())
            number += 1
            name = f"{stem}_{number}"
    return [Job(scan, folders[scan]) for scan in scans]


def _named_job(scans: Mapping[Path, Path], out: Path, name: str) -> Job:
    if len(scans) != 1 or name != folder_name(name):
        what = "it is for one scan" if len(scans) != 1 else f"{name!r} is no name for a folder on every system"
        raise UsageError(f"--name cannot be used: {what}.", remedy="Leave it out, or name one.", code="bad_value")
    scan, folder = next(iter(scans)), out / name
    if Project(folder).scan() != real_path(scan) and not _free_for(folder, scan):
        raise UsageError(
            f"{folder} is the project of another scan.", remedy="Give another --name.", code="path_in_the_way"
        )
    return Job(scan, folder)


def project_name(place: Path) -> str:
    """The name of a scan's file or folder as the name of a folder on any system."""
    place = real_path(place)
    return folder_name(place.name if is_folder(place) else place.stem)


def _free_for(folder: Path, scan: Path) -> bool:
    """Whether a folder is no other scan's project; a scan that was moved keeps its own."""
    project = Project(folder)
    if not project.is_project:
        return True
    try:
        return project.record("capture").get("inputs") == {"scan": content_hash(scan)}
    except PocketworldError:
        return False


def parallel_scans(wanted: int | None, scans: int, available_bytes: float | None = None) -> int:
    """How many scans to work on at a time: as many as wanted, as cores, and as fit into memory; at least one.

    Raises:
        UsageError: fewer than one is wanted.
    """
    if wanted is not None and wanted < 1:
        raise UsageError(f"--jobs is {wanted}.", remedy="Give 1 or more, or leave it out.", code="bad_value")
    if available_bytes is None:
        available_bytes = available_memory()
    cores = wanted or max(1, (os.cpu_count() or 1) // 2)
    return max(1, min(cores, scans, int(available_bytes // MEMORY_A_SCAN)))


def available_memory() -> float:
    """Bytes of memory that can be had without swapping, also inside a container with a limit."""
    import psutil

    free = float(psutil.virtual_memory().available)
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii").strip()
    except OSError:
        return free
    return free if limit == "max" else min(free, float(limit) - float(used))


def worker_environment() -> dict[str, str]:
    """The environment of a worker: threads do not depend on how many workers there are, so neither do the results."""
    cores = str(os.cpu_count() or 1)
    fixed = {"OMP_NUM_THREADS": cores, "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
    paths = [str(PACKAGES), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **fixed, "PYTHONPATH": os.pathsep.join(path for path in paths if path), "PYTHONUTF8": "1"}


@dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    chatter: IO[bytes]
    started: float = field(default_factory=time.monotonic)
    fraction: float = 0.0
    result: dict[str, Any] | None = None
    error: PocketworldError | None = None


@dataclass
class Batch:
    """Runs jobs; `projects` and `failures` fill up meanwhile.

    Attributes:
        settings: JSON-able dict of `app.stages.SceneSettings`.
        parallel: workers at a time.
        jobs_inside: processes that a worker may use for its own steps.
        progress: of the whole batch: fraction, message, seconds left or None.
        warn: told each scan's warnings.
        fail: told each failure as it happens.
        again: make scenes anew though nothing has changed.
    """

    settings: dict[str, Any]
    parallel: int
    jobs_inside: int
    progress: Callable[[float, str, float | None], None]
    warn: ReportWarning
    fail: Callable[[Failure], None]
    worker: Sequence[str] = WORKER
    again: bool = False
    projects: list[dict[str, Any]] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    _events: queue.Queue[tuple[_Running, bytes | None]] = field(default_factory=queue.Queue)
    _message: str = "starting"
    _took: list[float] = field(default_factory=list)

    def run(self, jobs: Sequence[Job]) -> None:
        """Work on all jobs; what fails is noted and does not stop the rest. Ctrl-C stops the workers too."""
        waiting, running = list(jobs), list[_Running]()
        try:
            while waiting or running:
                while waiting and len(running) < self.parallel and (not running or _enough_memory(running)):
                    running.append(self._start(waiting.pop(0)))
                self._hear(running)
                self._tell(jobs, running)
        finally:
            _stop(running)
        order = {str(job.scan): number for number, job in enumerate(jobs)}
        self.projects.sort(key=lambda project: order[project["scan"]])
        self.failures.sort(key=lambda failure: order[failure.scan])

    def _start(self, job: Job) -> _Running:
        chatter = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        process = subprocess.Popen(
            self.worker,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=chatter,
            env=worker_environment(),
            start_new_session=True,
        )
        started = _Running(job, process, chatter)
        order = {
            "scan": str(job.scan),
            "folder": str(job.folder),
            "settings": self.settings,
            "jobs": self.jobs_inside,
            "again": self.again,
        }
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once; `_finish` tells why
            process.stdin.write(json.dumps(order).encode("ascii") + b"\n")
            process.stdin.flush()
        threading.Thread(target=self._listen, args=(started,), daemon=True).start()
        return started

    def _listen(self, worker: _Running) -> None:
        assert worker.process.stdout is not None
        with worker.process.stdout as lines:
            for line in lines:
                self._events.put((worker, line))
        worker.process.wait()
        self._events.put((worker, None))

    def _hear(self, running: list[_Running]) -> None:
        try:
            worker, line = self._events.get(timeout=1.0)
        except queue.Empty:
            return
        if line is None:
            running.remove(worker)
            self._finish(worker)
            return
        try:
            event = json.loads(line)
        except ValueError:
            return
        kind = event.pop("event", None)
        if kind == "progress":
            worker.fraction = event["fraction"]
            self._message = f"{worker.job.folder.name}: {event['message']}"
        elif kind == "warning":
            self.warn(event["message"], scan=str(worker.job.scan))
        elif kind == "result":
            worker.result = event
        elif kind == "error":
            worker.error = error_from_json(event)

    def _finish(self, worker: _Running) -> None:
        assert worker.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.close()
        if worker.result is not None and worker.process.returncode == 0:
            self.projects.append(worker.result)
            if worker.result["status"] == "done":
                self._took.append(time.monotonic() - worker.started)
            for warning in worker.result.get("warnings", ()):
                self.warn(warning, scan=str(worker.job.scan))
            return
        error = worker.error or _died(worker.process.returncode, worker.chatter)
        clear_unfinished(worker.job.folder)
        self.failures.append(Failure(str(worker.job.scan), error))
        self.fail(self.failures[-1])

    def _tell(self, jobs: Sequence[Job], running: Sequence[_Running]) -> None:
        done = len(self.projects) + len(self.failures)
        fraction = (done + sum(worker.fraction for worker in running)) / len(jobs)
        count = f"{min(done + 1, len(jobs))} of {len(jobs)}: " if len(jobs) > 1 else ""
        self.progress(fraction, count + self._message, self._seconds_left(len(jobs) - done, running))

    def _seconds_left(self, unfinished: int, running: Sequence[_Running]) -> float | None:
        """From the scans that really ran: one that failed or was unchanged was quick and says nothing of the others."""
        if not unfinished:
            return 0.0
        paces = [(time.monotonic() - worker.started, worker.fraction) for worker in running]
        whole = [elapsed / fraction if fraction >= TELLING else None for elapsed, fraction in paces]
        known = [*self._took, *(seconds for seconds in whole if seconds is not None)]
        if not known:
            return None
        typical = sum(known) / len(known)
        left = [(seconds or typical) * (1 - worker.fraction) for seconds, worker in zip(whole, running, strict=True)]
        waiting = (unfinished - len(running)) * typical
        return max([*left, (sum(left) + waiting) / min(self.parallel, unfinished)])


def error_from_json(event: dict[str, Any]) -> PocketworldError:
    """The error that a worker reported, of a class with the same exit status."""
    known: list[type[PocketworldError]] = [PocketworldError, *_subclasses(PocketworldError)]
    kinds = {kind.exit_code: kind for kind in known}
    kind = kinds.get(event.get("exit_code", 1), PocketworldError)
    return kind(event["message"], remedy=event.get("remedy", ""), code=event.get("code", "error"))


def _subclasses(kind: type[PocketworldError]) -> list[type[PocketworldError]]:
    return [deep for direct in kind.__subclasses__() for deep in (direct, *_subclasses(direct))]


def _died(returncode: int, chatter: IO[bytes]) -> PocketworldError:
    if returncode == -signal.SIGKILL:
        return PocketworldError(
            "Its process was killed from outside, most likely because memory ran out.",
            remedy="Close other programs or lower --jobs, then run the same command again.",
            code="killed",
        )
    how = signal.Signals(-returncode).name if returncode < 0 else f"exit status {returncode}"
    chatter.seek(0)
    log = log_traceback(None, f"worker ended: {how}\n" + chatter.read()[-20_000:].decode("utf-8", "replace"))
    return PocketworldError(
        f"Its process ended unexpectedly ({how}).",
        remedy=f"Run `{program()} doctor`; what the process last said is in {log}.",
        code="crashed",
    )


def clear_unfinished(folder: Path) -> None:
    """Take away what a killed worker left half written, and its project folder if nothing is finished in it."""
    project = Project(folder)
    try:
        if project.is_project:
            with project.locked():
                project.recover()
    except (OSError, PocketworldError):
        return  # another process works on it, or the disk refuses: the next run clears it


def _enough_memory(running: Sequence[_Running]) -> bool:
    # Young workers have not taken their memory yet.
    promised = sum(MEMORY_A_SCAN for worker in running if worker.fraction < 0.3)
    return available_memory() - promised >= MEMORY_A_SCAN


def _stop(running: Sequence[_Running]) -> None:
    for worker in running:
        _signal_group(worker.process, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_S
    for worker in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, deadline - time.monotonic()))
        _signal_group(worker.process, getattr(signal, "SIGKILL", signal.SIGTERM))
        worker.process.wait()
        clear_unfinished(worker.job.folder)


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, number)
        else:
            process.terminate()
    except (ProcessLookupError, PermissionError):
        return


def missing_scans(named: Sequence[Path]) -> None:
    """Refuse a command without scans.

    Raises:
        UsageError: none is named.
    """
    if not named:
        raise UsageError("No scan is named.", remedy=f"{program()} reconstruct SCAN... --out DIR", code="no_scan")


def overall_exit_code(failures: Sequence[Failure]) -> int:
    """0 without failures; the class of error that all share; 1 where they differ."""
    codes = {failure.error.exit_code for failure in failures}
    if not codes:
        return 0
    return codes.pop() if len(codes) == 1 else PocketworldError.exit_code
