"""What `ros2 run` starts: the bundle that was installed with this package, served by its own runner."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> int:
    """Serve the bundle until Ctrl-C."""
    from ament_index_python.packages import get_package_share_directory

    share = Path(get_package_share_directory(__name__.partition(".")[0]))
    # Built with --symlink-install all of it is links, which a bundle does not take for its own files.
    bundle = (share / "bundle" / "manifest.json").resolve().parent
    sys.path.insert(0, str(bundle / "runner"))
    from policies.deploy.ros2.node import main as serve

    return serve(bundle)
