"""A finished bundle as a package of ROS 2 (ament_python) that `colcon build` takes: docs/ros2.md."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import textwrap
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from policies.deploy.bundle import MANIFEST, Bundle
from policies.deploy.ros2.settings import Parameter, parameters_of

if TYPE_CHECKING:
    from policies.deploy.bundle import Manifest

TEMPLATES = Path(__file__).resolve().parent.parent / "resources" / "ros2"
ROS2 = "ros2"
"""Folder of the package, in the bundle's."""
LONGEST = 60
"""Characters of a package's name."""
NEEDS = (
    "ament_index_python",
    "builtin_interfaces",
    "control_msgs",
    "launch",
    "launch_ros",
    "python3-numpy",
    "rcl_interfaces",
    "rclpy",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "trajectory_msgs",
)
"""What the package needs at run time, as rosdep names it; ONNX Runtime comes by pip."""


def write_package(bundle: Path, place: Path) -> Path:
    """Write the package of a bundle.

    Args:
        bundle: folder of a whole bundle; only what its manifest names is taken along.
        place: the package's folder is made in here.

    Returns:
        That folder.
    """
    manifest = Bundle(bundle).manifest
    name = package_name(manifest)
    folder = place / name
    for part in ("launch", "config", "resource", name):
        (folder / part).mkdir(parents=True)
    for file in (MANIFEST, *manifest.document["files"]):
        copy = folder / "bundle" / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle / file, copy)
    shutil.copyfile(TEMPLATES / "setup.py", folder / "setup.py")
    shutil.copyfile(TEMPLATES / "node.py", folder / name / "node.py")
    shutil.copyfile(TEMPLATES / "policy.launch.py", folder / "launch" / f"{name}.launch.py")
    for file, text in {
        f"{name}/__init__.py": '"""A policy that was made by Pocketworld."""\n',
        f"resource/{name}": "",
        "package.xml": package_xml(name, manifest),
        # Scripts begin with the interpreter of whoever starts them: ONNX Runtime may be in a virtual environment.
        "setup.cfg": f"[develop]\nscript_dir=$base/lib/{name}\n[install]\ninstall_scripts=$base/lib/{name}\n"
        "[build_scripts]\nexecutable=/usr/bin/env python3\n",
        f"config/{name}.yaml": config_yaml(manifest),
        "README.md": _readme(name, manifest),
    }.items():
        (folder / file).write_text(text, encoding="utf-8")
    return folder


def package_name(manifest: Manifest) -> str:
    """A name that ROS, colcon and Python take, whatever the task's words are: of a-z, 0-9 and single underscores.

    Letters with marks lose those. Where something else is lost, or too long, a few digits tell the words from others.
    """
    words = f"{manifest.task} {Path(manifest.robot).stem}"
    plain = unicodedata.normalize("NFKD", words.replace("ß", "ss"))
    lost = re.search(r"[^\W_]", re.sub(r"[\x00-\x7f]", "", "".join(c for c in plain if not unicodedata.combining(c))))
    name = "_".join(["pocketworld", *re.findall("[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower())])
    if lost or len(name) > LONGEST:
        digits = hashlib.sha256(words.encode()).hexdigest()[:8]
        name = f"{name[: LONGEST - 9].rstrip('_')}_{digits}"
    return name


def package_xml(name: str, manifest: Manifest) -> str:
    """What ROS is told of the package (REP 149)."""
    root = ElementTree.Element("package", format="3")

    def tell(tag: str, text: str, **attributes: str) -> None:
        ElementTree.SubElement(root, tag, attributes).text = text

    tell("name", name)
    tell("version", "0.1.0")
    tell("description", f"A policy for the robot {_line(manifest.robot)}: {_line(manifest.sentence)}")
    tell("maintainer", "whoever has the robot", email="robot@example.com")
    tell("license", "Apache-2.0")
    for need in NEEDS:
        tell("exec_depend", need)
    ElementTree.SubElement(ElementTree.SubElement(root, "export"), "build_type").text = "ament_python"
    ElementTree.indent(root)
    return '<?xml version="1.0"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def config_yaml(manifest: Manifest) -> str:
    """All parameters of the node with what they mean, as they are where nobody changes them."""
    tree: dict[str, list[Parameter]] = {}
    for entry in parameters_of(manifest):
        tree.setdefault(entry.name.rpartition(".")[0], []).append(entry)
    lines = [
        f'# How the robot is reached on which a policy is to do this: "{_line(manifest.task)}".',
        "# Look at every line before the first run: names, signs and zeros of joints are to be this robot's.",
        "/**:",
        "  ros__parameters:",
    ]
    above: list[str] = []
    for group, entries in tree.items():
        parts = group.split(".") if group else []
        for depth, part in enumerate(parts):
            if above[: depth + 1] != parts[: depth + 1]:
                lines.append("  " * (depth + 2) + f"{_word(part)}:")
        above = parts
        lines += _entries(entries, "  " * (len(parts) + 2))
    return "\n".join(lines) + "\n"


def _entries(entries: Iterable[Parameter], indent: str) -> list[str]:
    lines = []
    for entry in entries:
        for line in textwrap.wrap(_line(entry.meaning), 100):
            lines.append(f"{indent}# {line}")
        # JSON is YAML, and says of every number whether it is a whole one, which ROS wants to know.
        lines.append(f"{indent}{_word(entry.name.rpartition('.')[2])}: {json.dumps(entry.usual)}")
    return lines


def _word(text: str) -> str:
    return text if re.fullmatch("[A-Za-z][A-Za-z0-9_]*", text) else json.dumps(text)


def _line(text: str) -> str:
    """A text on one line, of characters that XML and YAML take."""
    return " ".join("".join(c if c.isprintable() and c <= "\uffff" else " " for c in text).split())


def _readme(name: str, manifest: Manifest) -> str:
    looks = "\n".join(
        f"- `{entry.usual}`: {entry.meaning}"
        for entry in parameters_of(manifest)
        if isinstance(entry.usual, str) and entry.usual.startswith("/")
    )
    return f"""# {name}

A policy for the robot {_line(manifest.robot)}: "{_line(manifest.task)}", for ROS 2 Humble and Jazzy.

With this folder in `~/ros2_ws/src`:

    cd ~/ros2_ws
    python3 -m venv --system-site-packages venv && touch venv/COLCON_IGNORE && . venv/bin/activate
    pip install onnxruntime "numpy<2"
    rosdep install --from-paths src --ignore-src -y
    colcon build --packages-select {name}
    . install/setup.bash

Say in `config/{name}.yaml` what this robot's topics and joints are called, which way its joints turn and where their
zeros are; build again. Then, the emergency stop of the robot itself at hand:

    ros2 launch {name} {name}.launch.py speed:=0.1
    ros2 service call /policy/start std_srvs/srv/Trigger

`/policy/stop` stops it at once, and `/policy/start` is refused until `/policy/reset`. Ctrl-C brings it to rest first.
How every run ended is told on `/policy/report`. Every parameter is explained in the config.

## Topics, where nobody changes them

{looks}
"""
