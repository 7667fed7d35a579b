"""The doctor must work where everything else fails, and say exactly what to type."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app import doctor
from tests.conftest import ROOT, Run


def broken_package(folder: Path, name: str, complaint: str) -> dict[str, str]:
    """An environment in which importing `name` fails with `complaint`."""
    (folder / name).mkdir()
    (folder / name / "__init__.py").write_text(f"raise ImportError({complaint!r})\n", encoding="utf-8")
    return {"PYTHONPATH": f"{folder}:{ROOT}"}


def test_a_healthy_computer(pocketworld: Callable[..., Run]) -> None:
    run = pocketworld("doctor", "--json")
    assert run.code == 0
    checks = {check["name"]: check for check in run.result["checks"]}
    assert checks["Python"]["ok"]
    assert checks["package open3d"]["ok"]
    assert {"CPU cores", "memory", "GPU", "display", "OpenGL"} <= set(checks)
    assert any(name.startswith("disk") for name in checks)
    assert all(check["fix"] for check in checks.values() if not check["ok"])


def test_a_broken_package_is_named_with_its_fix(pocketworld: Callable[..., Run], tmp_path: Path) -> None:
    complaint = "libusb-1.0.so.0: cannot open shared object file: No such file or directory"
    environment = broken_package(tmp_path, "open3d", complaint)
    run = pocketworld("doctor", "--json", env=environment)
    assert run.code == 6
    assert run.result["ok"] is False
    (found,) = [check for check in run.result["checks"] if check["stops"]]
    assert found["name"] == "package open3d"
    assert found["fix"].endswith("apt-get install -y libusb-1.0-0")
    spoken = pocketworld("doctor", env=environment)
    assert f"fix: {found['fix']}" in spoken.stdout
    assert spoken.code == 6


@pytest.mark.parametrize("name", ["numpy", "cv2", "rich"])
def test_it_needs_none_of_the_packages_it_looks_for(pocketworld: Callable[..., Run], tmp_path: Path, name: str) -> None:
    run = pocketworld("doctor", "--json", env=broken_package(tmp_path, name, "it is broken"))
    assert run.code == 6
    assert any(check["stops"] and "it is broken" in check["found"] for check in run.result["checks"])


def test_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", {"no_such_module": "no-such-package"})
    (finding,) = doctor._packages()
    assert finding.stops
    assert shlex.split(finding.fix) == [sys.executable, "-m", "pip", "install", "no-such-package"]


def test_a_fix_names_the_versions_that_will_do() -> None:
    assert doctor.wanted("torch") == "torch<2.14,>=2.6"  # the newest one would be gigabytes that do not work
    assert doctor.wanted("no-such-package") == "no-such-package"


def test_a_fix_can_be_pasted_where_the_path_has_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.sys, "executable", "/my venv/bin/python")
    monkeypatch.setattr(doctor, "_import_complaint", lambda module: "it is broken")
    for package in ("no-such-package", "numpy"):
        fix = doctor._import_finding("no_such_module", package, needed=True).fix
        assert shlex.split(fix)[:4] == ["/my venv/bin/python", "-m", "pip", "install"]


def test_a_library_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("Linux only")
    monkeypatch.setattr(doctor, "LIBRARIES", {"libnothing.so.9": "libnothing9"})
    (finding,) = doctor._libraries()
    assert finding.stops
    assert finding.fix.endswith("apt-get install -y libnothing9")


def test_what_is_optional_says_so_and_what_one_loses(monkeypatch: pytest.MonkeyPatch) -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("Linux only")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    monkeypatch.setattr(doctor, "OPTIONAL", {"no_such_module": ("no-such-package", "no tea.")})
    findings = [*doctor._display(), *doctor._gpu(), *doctor._optional_packages()]
    missing = [finding.lines() for finding in findings if not finding.ok]
    assert [lines[0].split(":")[0].split() for lines in missing if "OpenGL" not in lines[0]] == [
        ["optional", "display"], ["optional", "GPU"], ["optional", "package", "no-such-package"],
    ]  # fmt: skip
    assert all("without it: " in lines[1] for lines in missing)
    assert all("issing" not in " ".join(lines) for lines in missing)


def test_a_check_that_fails_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    def _disk() -> None:
        raise OSError("no such mount")

    monkeypatch.setattr(doctor, "_disk", _disk)
    monkeypatch.setattr(doctor, "PACKAGES", {})
    monkeypatch.setattr(doctor, "OPTIONAL", {})
    findings = doctor.examine()
    assert any("no such mount" in finding.found and not finding.stops for finding in findings)


def test_a_full_disk_stops_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = doctor.shutil.disk_usage(".")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=10_000_000))
    assert next(iter(doctor._disk())).stops
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=1_000_000_000))
    finding = next(iter(doctor._disk()))
    assert not finding.ok
    assert not finding.stops


def test_every_needed_package_is_a_dependency_and_every_library_is_installed() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"{package}>=' in project for package in doctor.PACKAGES.values())
    listed = (ROOT / "resources" / "apt-packages.txt").read_text(encoding="utf-8").split()
    assert set(doctor.LIBRARIES.values()) <= set(listed)


def test_nvidia_smi_that_hangs_or_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*args: object, **kwargs: object) -> None:
        raise subprocess.TimeoutExpired("nvidia-smi", 20)

    monkeypatch.setattr(doctor.subprocess, "run", hang)
    (finding,) = doctor._gpu()
    assert not finding.stops
