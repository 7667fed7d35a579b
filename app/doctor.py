"""Is everything there that Pocketworld needs? Each check says what it found and, if it is missing, the exact fix.

Nothing here needs a package beyond the standard library: it must run where everything else fails to.
"""

from __future__ import annotations

import ctypes.util
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from app.console import quoted
from reconstruction.progress import Progress, silent

OLDEST_PYTHON = (3, 10)
PROVEN_PYTHON = (3, 13)
NEEDED_DISK_GB = 2.0
NEEDED_MEMORY_GB = 4.0

PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "open3d": "open3d",
    "trimesh": "trimesh",
    "manifold3d": "manifold3d",
    "cv2": "opencv-python",
    "pybullet": "pybullet",
    "coacd": "coacd",
    "tyro": "tyro",
    "rich": "rich",
    "liblzfse": "pyliblzfse",
    "OpenEXR": "OpenEXR",
    "xatlas": "xatlas",
    "fast_simplification": "fast-simplification",
    "av": "av",
    "PIL": "pillow",
    "psutil": "psutil",
}
"""Import name → package, of what a reconstruction needs."""

OPTIONAL = {
    "mujoco": ("mujoco", "exports for MuJoCo cannot be tried out here."),
    "pxr": ("usd-core", "no export to USD."),
    "pyarrow": ("pyarrow", "no datasets of episodes can be written or read."),
    "jsonschema": ("jsonschema", "scene files cannot be checked against their schema."),
    "torch": ("torch", "no policy can be trained or tried."),
    "safetensors": ("safetensors", "no policy can be kept."),
    "onnx": ("onnx", "no policy can be exported."),
    "onnxruntime": ("onnxruntime", "no policy can be exported, and no bundle run."),
    "PySide6": ("pyside6-essentials", "no window to show a task in (`pocketworld teleoperate`)."),
    "pygame": ("pygame-ce", "no gamepad in that window."),
    "ray": ("ray", "no work on a cluster (`--cluster`)."),
}
"""Import name → package and what one loses without it."""

LIBRARIES = {
    "libgomp.so.1": "libgomp1",
    "libGL.so.1": "libgl1",
    "libEGL.so.1": "libegl1",
    "libX11.so.6": "libx11-6",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libusb-1.0.so.0": "libusb-1.0-0",
}
"""Shared library → Debian package, of what Open3D loads when it is imported."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: what.
        ok: it is there and good enough.
        found: what was found.
        fix: the exact remedy where it is not ok.
        needed: no scan can be reconstructed without it.
        without: what one loses without it, of what is optional.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    needed: bool = True
    without: str = ""

    @property
    def stops(self) -> bool:
        """Whether it must be put right before anything works."""
        return self.needed and not self.ok

    def as_json(self) -> dict[str, Any]:
        """The finding as a JSON-able dict."""
        return {**asdict(self), "stops": self.stops}

    def lines(self) -> list[str]:
        """The finding as text: one line, and where it is not ok what one loses and the fix."""
        weight = "MISSING" if self.needed else "optional" if self.without else "note"
        head = f"{'ok' if self.ok else weight:<8}  {self.name}: {self.found}"
        more = [("without it", self.without), ("fix", self.fix)]
        return [head] if self.ok else [head, *(f"          {name}: {text}" for name, text in more if text)]


def examine(progress: Progress = silent) -> list[Finding]:
    """Run every check. A check that itself fails is a finding, not an error."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python, _libraries, _packages, _optional_packages, _display, _cores, _memory, _gpu, _disk,
    )  # fmt: skip
    findings: list[Finding] = []
    for number, check in enumerate(checks):
        progress(number / len(checks), f"checking {check.__name__.strip('_').replace('_', ' ')}")
        try:
            findings += check()
        except Exception as error:  # noqa: BLE001 - see the docstring
            findings.append(Finding(check.__name__.strip("_"), False, f"cannot be checked: {error}", needed=False))
    progress(1.0, "checked")
    return findings


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    here = sys.version_info[:2]
    fix = "Install Python 3.11 (Debian: sudo apt-get install python3.11 python3.11-venv), then `make install`."
    yield Finding("Python", here >= OLDEST_PYTHON, found, fix)
    if here > PROVEN_PYTHON:
        newest = ".".join(map(str, PROVEN_PYTHON))
        yield Finding("Python's age", False, f"newer than {newest}; not every package may be there", fix, needed=False)


def _libraries() -> Iterator[Finding]:
    if not sys.platform.startswith("linux"):
        return
    for library, package in LIBRARIES.items():
        found = _loads(library)
        yield Finding(f"library {library}", found, "found" if found else "not found", apt_command([package]))


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def apt_command(packages: list[str]) -> str:
    """How Debian and its kin install `packages`."""
    sudo = "" if hasattr(os, "geteuid") and os.geteuid() == 0 else "sudo "
    return f"{sudo}apt-get install -y {' '.join(packages)}"


def _packages() -> Iterator[Finding]:
    for module, package in PACKAGES.items():
        yield _import_finding(module, package, needed=True)


def _optional_packages() -> Iterator[Finding]:
    for module, (package, without) in OPTIONAL.items():
        yield replace(_import_finding(module, package, needed=False), without=without)


def _import_finding(module: str, package: str, *, needed: bool) -> Finding:
    """Whether a package can be imported, tried in a process of its own: a broken one may take its process with it."""
    name, fix = f"package {package}", quoted(sys.executable, "-m", "pip", "install", wanted(package))
    try:
        installed = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, False, "not installed", fix, needed)
    complaint = _import_complaint(module)
    if complaint is None:
        return Finding(name, True, installed, needed=needed)
    library = re.search(r"(lib[\w.+-]+\.so[\w.]*)", complaint)
    if library and library.group(1) in LIBRARIES:
        fix = apt_command([LIBRARIES[library.group(1)]])
    elif library and "cannot open shared object" in complaint:
        fix = f"Install the system package that holds {library.group(1)} (Debian: apt-file search {library.group(1)})."
    else:
        fix = quoted(sys.executable, "-m", "pip", "install", "--force-reinstall", wanted(package))
    return Finding(name, False, f"{installed} is installed but fails: {complaint}", fix, needed)


def wanted(package: str) -> str:
    """A package with the versions that this program asks for, as pip takes it: another one may not do."""
    try:
        lines = importlib.metadata.requires("pocketworld") or []
    except importlib.metadata.PackageNotFoundError:
        lines = []
    rules = (re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?\s*([^;]*?)\s*(?:;.*)?", line) for line in lines)
    return next((f"{rule[1]}{rule[2]}" for rule in rules if rule and rule[1].lower() == package.lower()), package)


def _import_complaint(module: str) -> str | None:
    """None if `module` can be imported, else the last thing that Python said."""
    try:
        tried = subprocess.run(
            [sys.executable, "-c", f"import {module}"], capture_output=True, text=True, timeout=120, check=False
        )
    except subprocess.TimeoutExpired:
        return "importing it takes more than two minutes"
    if tried.returncode == 0:
        return None
    said = tried.stderr.strip().splitlines()
    return said[-1] if said else f"importing it ends the process (status {tried.returncode})"


def _display() -> Iterator[Finding]:
    if not sys.platform.startswith("linux"):
        yield Finding("display", True, f"{platform.system()}'s own", needed=False)
        return
    display = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    yield Finding(
        "display",
        bool(display),
        display or "none",
        "Work on a desktop, or log in with ssh -X.",
        needed=False,
        without="`pocketworld simulate` opens no window; its --check and --video need none.",
    )
    drivers = ctypes.util.find_library("GL") is not None and any(
        Path(place).is_dir()
        for place in ("/usr/lib/x86_64-linux-gnu/dri", "/usr/lib/aarch64-linux-gnu/dri", "/dev/dri")
    )
    yield Finding(
        "OpenGL",
        drivers,
        "driver found" if drivers else "no driver found",
        apt_command(["libgl1-mesa-dri"]),
        needed=False,
        without="the window of `pocketworld simulate` may not open.",
    )


def _cores() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    fix = "It works, but slowly: two cores or more are better."
    yield Finding("CPU cores", usable >= 2, str(usable), fix, needed=False)


def _memory() -> Iterator[Finding]:
    path = Path("/proc/meminfo")
    if not path.is_file():
        return
    kilobytes = dict(re.findall(r"(\w+):\s+(\d+) kB", path.read_text(encoding="ascii")))
    total, available = (int(kilobytes[key]) / 1e6 for key in ("MemTotal", "MemAvailable"))
    fix = "Close other programs; a scan needs about 3 GB."
    found = f"{available:.1f} of {total:.1f} GB free"
    yield Finding("memory", available >= NEEDED_MEMORY_GB, found, fix, needed=False)


def _gpu() -> Iterator[Finding]:
    """Never needed: it makes some steps faster."""
    if sys.platform == "darwin":
        yield Finding("GPU", True, "Apple's own (not used by the reconstruction)", needed=False)
        return
    tool = shutil.which("nvidia-smi")
    query = [tool or "", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        said = ""
    yield Finding(
        "GPU",
        bool(said),
        said.replace("\n", "; ") or "none found",
        "If the computer has an NVIDIA GPU, install its driver.",
        needed=False,
        without="the CPU does all the work, which takes longer where depth images are fused.",
    )


def _disk() -> Iterator[Finding]:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    fix = "Free some space, or work in a folder on another disk."
    yield Finding("disk", free >= NEEDED_DISK_GB, f"{free:.1f} GB free here", fix, needed=free < 0.2)
