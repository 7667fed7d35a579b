"""Where an arm may be plugged in here, and which ones LeRobot has calibrated: what else would have to be typed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

TYPES = ("so101_follower", "so100_follower", "koch_follower")
"""What LeRobot calls the arms of which Pocketworld has a description."""
PORTS = {
    # Names by the adapter's serial number stay what they are when something else is plugged in first.
    "linux": ("serial/by-id/*", "ttyACM*", "ttyUSB*"),
    "darwin": ("cu.usb*",),
}
WINDOWS_PORTS = r"HARDWARE\DEVICEMAP\SERIALCOMM"


def serial_ports(devices: Path = Path("/dev"), system: str = sys.platform) -> tuple[str, ...]:
    """Names of this computer's serial ports that an arm may be at.

    Args:
        devices: the folder that they are in, but for Windows.
        system: as in `sys.platform`.
    """
    if system == "win32":
        return _windows_ports()
    found = [path for pattern in PORTS.get(system, PORTS["linux"]) for path in sorted(devices.glob(pattern))]
    return tuple(str(path) for path in found)


def _windows_ports() -> tuple[str, ...]:
    if sys.platform != "win32":
        return ()
    import winreg

    found = list[str]()
    try:
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, WINDOWS_PORTS) as key:
            for number in range(winreg.QueryInfoKey(key)[1]):
                found.append(str(winreg.EnumValue(key, number)[1]))
    except OSError:  # nothing was ever plugged in
        return ()
    return tuple(sorted(found))


def calibrated(kind: str) -> tuple[str, ...]:
    """Names of the arms of a type that LeRobot has calibrated here.

    It keeps them in ``calibration/robots/TYPE/ID.json`` below ``$HF_LEROBOT_HOME``, which is ``lerobot`` in
    ``$HF_HOME``, unless ``$HF_LEROBOT_CALIBRATION`` says another place.
    """
    if not kind or Path(kind).name != kind:
        return ()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    lerobot = Path(os.environ.get("HF_LEROBOT_HOME") or home / "lerobot")
    place = Path(os.environ.get("HF_LEROBOT_CALIBRATION") or lerobot / "calibration").expanduser()
    try:
        return tuple(sorted(path.stem for path in (place / "robots" / kind).glob("*.json")))
    except OSError:
        return ()
