"""``pocketworld serve``, and ``run`` that asks it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.remote_stage import ServeSettings, acting_bundle, serve_bundle
from policies.deploy.remote import RemoteBundle
from reconstruction.errors import ClusterError, InputError, PocketworldError, UsageError
from tests import bundles
from tests.conftest import Run, command, environment

Shell = Callable[..., Run]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_bundle(tmp_path_factory.mktemp("made") / "ein Bündel")


@pytest.fixture
def served(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A process that serves the bundle, and what it said of how to connect."""
    words = command("serve", bundle, "--port", 0, "--json")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=environment(False), **pipes) as process:  # type: ignore[call-overload]
        try:
            said: dict[str, Any] = {}
            while said.get("event") != "serving":
                said = json.loads(process.stdout.readline())
            yield process, said
        finally:
            process.kill()


def test_a_run_asks_the_policy_that_is_served(
    bundle: Path, served: tuple[subprocess.Popen[str], dict[str, Any]], shell: Shell, tmp_path: Path
) -> None:
    process, said = served
    where = f"{said['host']}:{said['port']}"
    (tmp_path / "token").write_text(said["token"] + "\n")
    words = (
        "run",
        bundle,
        "--robot",
        "dry-run",
        "--seconds",
        1,
        "--fast",
        "--out",
        tmp_path / "runs",
        "--policy",
        where,
    )
    run = shell(*words, "--token-file", tmp_path / "token", "--json")
    assert run.code == 0, run.stderr
    assert (run.result["ticks"], run.result["stopped"]) == (10, "the time is over")
    assert run.result["remote"]["answers"] == 3
    assert said["token"] not in run.stdout + run.stderr
    refused = shell(*words, env={"POCKETWORLD_TOKEN": "b" * 32})
    assert refused.code == 8
    assert "does not know this token" in refused.stderr
    assert "what to do:" in refused.stderr
    process.send_signal(signal.SIGTERM)
    rest, wrong = process.communicate(timeout=60)
    assert process.returncode == 0, wrong
    result = json.loads(rest.splitlines()[-1])
    assert (result["event"], result["robots"], result["refused"], result["decisions"]) == ("result", 1, 1, 3)


@pytest.mark.skipif(sys.platform == "win32", reason="there it is Ctrl-Break")
def test_the_runner_serves_alone_and_ctrl_c_ends_it(bundle: Path, tmp_path: Path) -> None:
    words = [sys.executable, str(bundle / "runner"), "--serve", "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, cwd=tmp_path, **pipes) as process:  # type: ignore[call-overload]
        first = process.stdout.readline()
        token = process.stdout.readline().split()[1]
        (tmp_path / "token").write_text(token)
        where = first.split(" at ")[1].removesuffix(". Ctrl-C ends it.\n")
        with acting_bundle(bundle, where, tmp_path / "token", None, compensate=False) as remote:
            assert isinstance(remote, RemoteBundle)
            remote.decide({name: values[0] for name, values in remote.sample.items()})
        process.send_signal(signal.SIGINT)
        _, wrong = process.communicate(timeout=60)
    assert (process.returncode, wrong) == (0, "")


def asked(bundle: Path, policy: str, token: Path | None = None, ca: Path | None = None) -> None:
    with acting_bundle(bundle, policy, token, ca):
        raise AssertionError("it was connected")


def test_what_makes_no_sense_is_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POCKETWORLD_TOKEN", raising=False)
    token, nothing = tmp_path / "token", tmp_path / "nothing"
    token.write_text("b" * 32)
    nothing.write_text("tea")

    def serve(**more: Any) -> Callable[[], object]:
        return lambda: serve_bundle(bundle, ServeSettings(port=0, **more), lambda *said, **more: None)

    cases: list[tuple[Callable[[], object], type[PocketworldError], str]] = [
        (lambda: asked(bundle, "nowhere"), UsageError, "no HOST:PORT"),
        (lambda: asked(bundle, "127.0.0.1:1"), UsageError, "wants a token: none is given"),
        (lambda: asked(bundle, "127.0.0.1:1", nothing), UsageError, "has no token: a token is one word"),
        (lambda: asked(bundle, "127.0.0.1:1", tmp_path / "gone"), UsageError, "has no token: No such file"),
        (lambda: asked(bundle, "127.0.0.1:1", token), ClusterError, "cannot be reached"),
        (lambda: asked(bundle, "192.0.2.1:1", token), UsageError, "takes TLS"),
        (lambda: asked(bundle, "192.0.2.1:1", token, nothing), UsageError, "cannot be used for TLS"),
        (lambda: asked(tmp_path, "127.0.0.1:1", token), InputError, "cannot be read"),
        (serve(host="0.0.0.0"), UsageError, "takes TLS"),
        (serve(host="192.0.2.1.x"), UsageError, "Nobody can listen"),
        (serve(cert=nothing), UsageError, "go together"),
        (serve(cert=nothing, key=nothing), UsageError, "cannot be used for TLS"),
        (serve(token_file=nothing), UsageError, "has no token"),
    ]
    for work, kind, why in cases:
        with pytest.raises(kind, match=why) as caught:
            work()
        assert caught.value.remedy
