"""Installs this package as ROS 2 wants it; all that is its own is read from package.xml."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

ABOUT = ElementTree.parse("package.xml").getroot()
NAME = ABOUT.findtext("name")


def shared() -> list[tuple[str, list[str]]]:
    """What goes to share, folder by folder, as data_files wants it."""
    found = {f"share/{NAME}": ["package.xml"], "share/ament_index/resource_index/packages": [f"resource/{NAME}"]}
    for top in ("launch", "config", "bundle"):
        for path in sorted(Path(top).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found.setdefault(f"share/{NAME}/{path.parent.as_posix()}", []).append(path.as_posix())
    return list(found.items())


setup(
    name=NAME,
    version=ABOUT.findtext("version"),
    description=ABOUT.findtext("description"),
    license=ABOUT.findtext("license"),
    maintainer=ABOUT.findtext("maintainer"),
    maintainer_email=ABOUT.find("maintainer").get("email"),
    packages=[NAME],
    data_files=shared(),
    install_requires=["setuptools"],
    zip_safe=True,
    entry_points={"console_scripts": [f"node = {NAME}.node:main"]},
)
