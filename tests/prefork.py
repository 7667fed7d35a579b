"""Starts modules, the command line above all, from a process that has already imported the large packages, and forks.

Importing torch, Open3D and SciPy takes longer than most of what the tests then ask of them. What is forked is a process
of its own all the same: it has its own memory, working directory and exit status, and imports the project itself.
Packages alone are imported before, and only those that start no thread of their own: none would be there after the fork
(ONNX Runtime's and PyArrow's would be waited for). Where a test changes the environment, or counts on
what is imported, it starts a process from the beginning.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

PACKAGES = (
    "numpy", "scipy.optimize", "scipy.spatial.transform", "scipy.ndimage", "cv2", "open3d", "pybullet", "torch",
    "torch._dynamo", "av", "mujoco", "PIL.Image", "trimesh", "manifold3d",
)  # fmt: skip


class Prefork:
    """The process that forks, as those see it who want a command run."""

    def __init__(self) -> None:
        """Start it; the first command waits until it has imported all."""
        self._folder = tempfile.TemporaryDirectory(prefix="pocketworld-prefork-")
        address = str(Path(self._folder.name) / "socket")
        self._address = address
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(address)
            listener.listen()
            self._server = subprocess.Popen(
                [sys.executable, str(Path(__file__).resolve()), str(listener.fileno())],
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )

    def run(
        self, words: list[str], environment: dict[str, str], cwd: str | Path | None, timeout: float
    ) -> tuple[int, bytes, bytes]:
        """`python -m` with these words: exit status (negative: by that signal), what went to stdout and to stderr.

        Raises:
            subprocess.TimeoutExpired: it was killed.
        """
        with (
            tempfile.TemporaryFile() as stdout,
            tempfile.TemporaryFile() as stderr,
            Path(os.devnull).open("rb") as stdin,
            socket.socket(socket.AF_UNIX) as connection,
            connection.makefile("r", encoding="ascii") as told,
        ):
            connection.connect(self._address)
            asked = json.dumps({"words": words, "environment": environment, "cwd": str(cwd or Path.cwd())}).encode()
            files = [stdin.fileno(), stdout.fileno(), stderr.fileno()]
            socket.send_fds(connection, [len(asked).to_bytes(4, "big")], files)
            connection.sendall(asked)
            process = int(told.readline())
            connection.settimeout(timeout)
            try:
                status = os.waitstatus_to_exitcode(int(told.readline()))
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                raise subprocess.TimeoutExpired(words, timeout) from None
            stdout.seek(0)
            stderr.seek(0)
            return status, stdout.read(), stderr.read()

    def close(self) -> None:
        """End it."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()
        self._folder.cleanup()


def main() -> dict[str, Any]:
    """Fork for whoever asks, until stdin ends; returns in the processes that are to become the command."""
    for name in PACKAGES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208
    listener = socket.socket(fileno=int(sys.argv[1]))
    while True:
        ready, _, _ = select.select([listener, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)
        connection, _ = listener.accept()
        if os.fork():
            connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            continue
        listener.close()
        head, files, _, _ = socket.recv_fds(connection, 4, 3)
        asked = b""
        while len(asked) < int.from_bytes(head, "big"):
            asked += connection.recv(1 << 16)
        child = os.fork()
        if child:
            connection.sendall(f"{child}\n".encode())
            _, status = os.waitpid(child, 0)
            with contextlib.suppress(OSError):  # nobody waits any longer
                connection.sendall(f"{status}\n".encode())
            os._exit(0)
        connection.close()
        for number, file in enumerate(files):
            os.dup2(file, number)
            os.close(file)
        found: dict[str, Any] = json.loads(asked)
        return found


def become(words: list[str], environment: dict[str, str], cwd: str) -> None:
    """Go on as `python -m` would with these words, environment and folder."""
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    sys.path[:1] = [cwd, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.modules.pop("sitecustomize", None)
    with contextlib.suppress(ModuleNotFoundError):  # read at the start, like PYTHONPATH
        importlib.import_module("sitecustomize")
    sys.argv = words
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    become(**main())
