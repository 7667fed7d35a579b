"""Ports and arms that are offered in place of being typed."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.gui.arm_places import calibrated, serial_ports


def test_ports_are_found_by_their_lasting_names_first(tmp_path: Path) -> None:
    (tmp_path / "serial/by-id").mkdir(parents=True)
    for name in (
        "ttyUSB0",
        "ttyACM1",
        "ttyACM0",
        "ttyS0",
        "null",
        "serial/by-id/usb-1a86_5B14",
        "cu.usbmodem7",
        "cu.wifi",
    ):
        (tmp_path / name).touch()
    here = [str(tmp_path / name) for name in ("serial/by-id/usb-1a86_5B14", "ttyACM0", "ttyACM1", "ttyUSB0")]
    assert list(serial_ports(tmp_path, "linux")) == here
    assert serial_ports(tmp_path, "darwin") == (str(tmp_path / "cu.usbmodem7"),)
    assert serial_ports(tmp_path / "nowhere", "linux") == ()


@pytest.mark.parametrize("by", ["HF_LEROBOT_CALIBRATION", "HF_LEROBOT_HOME", "HF_HOME", "XDG_CACHE_HOME"])
def test_arms_are_found_where_lerobot_keeps_their_calibration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    below = {"HF_LEROBOT_CALIBRATION": "", "HF_LEROBOT_HOME": "calibration", "HF_HOME": "lerobot/calibration"}
    for name in (*below, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(by, str(tmp_path))
    place = tmp_path / below.get(by, "huggingface/lerobot/calibration") / "robots"
    (place / "so101_follower").mkdir(parents=True)
    for name in ("right.json", "left.json", "notes.txt"):
        (place / "so101_follower" / name).touch()
    assert calibrated("so101_follower") == ("left", "right")
    for kind in ("koch_follower", "", "../robots/so101_follower", ".."):
        assert calibrated(kind) == ()
