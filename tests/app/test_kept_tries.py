"""Tries that earlier runs have kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.kept_tries import KeptTries

ROWS = [{"index": 0, "seconds": 0.1 + 0.2}, {"index": 1, "seconds": 2.0}]


def kept(path: Path) -> KeptTries:
    one = KeptTries(path, {"policy": "a", "patience": 2.0})
    for row in ROWS:
        one.add("mass", row)
    one.add("", {"index": 7})
    return one


def test_they_are_there_again_exactly(tmp_path: Path) -> None:
    path = tmp_path / "neu hier" / "tries.jsonl"
    kept(path)
    again = KeptTries(path, {"patience": 2.0, "policy": "a"})
    assert list(again.of("mass")) == ROWS
    assert list(again.of("")) == [{"index": 7}]
    assert list(again.of("light")) == []
    again.add("mass", {"index": 2})
    assert len(KeptTries(path, {"policy": "a", "patience": 2.0}).of("mass")) == 3


def test_those_for_something_else_are_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "tries.jsonl"
    kept(path)
    assert list(KeptTries(path, {"policy": "b", "patience": 2.0}).of("mass")) == []
    assert path.read_bytes() == b""


def test_those_of_a_changed_program_are_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tries.jsonl"
    kept(path)
    monkeypatch.setattr("app.kept_tries.code_hash", lambda *places: "another")
    assert list(KeptTries(path, {"policy": "a", "patience": 2.0}).of("mass")) == []


@pytest.mark.parametrize(
    "damage",
    [
        b'["half',
        b"\xff\xfe\n",
        b"null\n",
        b"[1, 2]\n",
        b'[[], {}, "x", 3]\n',
        b'{"a": 1, "b": 2, "c": 3, "d": 4}\n',
        b"[" * 100_000 + b"\n",
    ],
)
def test_damage_costs_no_more_than_what_comes_after_it(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "tries.jsonl"
    kept(path)
    whole = path.read_bytes()
    path.write_bytes(whole + damage + whole)
    again = KeptTries(path, {"policy": "a", "patience": 2.0})
    assert list(again.of("mass")) == ROWS
    assert path.read_bytes() == whole
