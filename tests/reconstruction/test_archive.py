"""File trees over folders and zips: the same content either way, and nothing unsafe gets through."""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from reconstruction import archive as archive_module
from reconstruction.archive import ZipTree, natural_key, nested_zip, open_tree
from reconstruction.errors import InputError, OutputError, UnsupportedFormatError
from tests.phone_files import put, zipped

CONTENT = {
    "metadata": b"{}",
    "rgbd/2.jpg": b"two",
    "rgbd/10.jpg": b"ten" * 1000,
    "Tür/größe 1.txt": "Übergröße".encode(),
    "empty": b"",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in CONTENT.items():
        put(tmp_path / "in", name, data)
    put(tmp_path / "in", "__MACOSX/._metadata", b"junk")
    put(tmp_path / "in", "rgbd/.DS_Store", b"junk")
    put(tmp_path / "in", "rgbd/._2.jpg", b"junk")
    return tmp_path / "in"


@pytest.mark.parametrize("kind", ["folder", "stored", "deflated"])
def test_same_content_from_folder_and_zip(kind: str, folder: Path, tmp_path: Path) -> None:
    method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
    tree = open_tree(folder if kind == "folder" else zipped(folder, tmp_path / "a.zip", method=method))
    assert {name: tree.read(name) for name in tree.names} == CONTENT
    assert {name: tree.size(name) for name in tree.names} == {name: len(data) for name, data in CONTENT.items()}
    assert tree.numbered("rgbd", r"(\d+)\.jpg") == {2: "rgbd/2.jpg", 10: "rgbd/10.jpg"}
    assert list(tree.numbered("rgbd", r"(\d+)\.jpg")) == [2, 10]
    assert tree.folders == ("Tür", "rgbd")
    assert tree.head("rgbd/10.jpg", 5) == b"tente"
    assert tree.tail("rgbd/10.jpg", 4) in (b"nten", None if kind == "deflated" else b"nten")
    assert tree.tail("rgbd/2.jpg", 100) in (b"two", None if kind == "deflated" else b"two")
    below = tree.below("rgbd")
    assert below.names == ("2.jpg", "10.jpg")
    assert below.read("2.jpg") == b"two"
    assert "rgbd/2.jpg" in below.where("2.jpg")
    with tree.local_path("Tür/größe 1.txt") as path:
        assert path.read_text(encoding="utf-8") == "Übergröße"
    assert kind == "folder" or not path.exists()
    with pytest.raises(InputError, match="nothing is missing"):
        tree.read("nothing")
    with pytest.raises(InputError, match="too large"):
        tree.read("rgbd/10.jpg", limit=10)


def test_natural_order() -> None:
    assert sorted(["a10b2", "a2b10", "a2b9", "b", "2", "10"], key=natural_key) == [
        "2",
        "10",
        "a2b9",
        "a2b10",
        "a10b2",
        "b",
    ]


def test_reading_from_many_threads(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    blobs = {f"{i}.bin": rng.bytes(50_000) for i in range(12)}
    for name, data in blobs.items():
        put(tmp_path / "in", name, data)
    tree = open_tree(zipped(tmp_path / "in", tmp_path / "a.zip"))
    names = list(blobs) * 6
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(tree.read, names)) == [blobs[name] for name in names]


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt", "\\\\host\\evil"]
)
def test_names_outside_the_archive(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(zipfile.ZipInfo(name), b"evil")
    with pytest.raises(InputError, match="outside the archive") as caught:
        open_tree(tmp_path / "a.zip")
    assert caught.value.code == "unsafe_zip"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


def test_links_and_passwords(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("depth")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(link, b"/etc/passwd")
    with pytest.raises(InputError, match="symbolic link"):
        open_tree(tmp_path / "a.zip")
    data = bytearray(zipped(_one(tmp_path, b"x"), tmp_path / "b.zip").read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(InputError, match="encrypted"):
        open_tree(tmp_path / "b.zip")


def _one(tmp_path: Path, data: bytes) -> Path:
    put(tmp_path / "one", "file.bin", data)
    return tmp_path / "one"


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.99])
def test_cut_off_archive(share: float, tmp_path: Path) -> None:
    data = zipped(_one(tmp_path, np.random.default_rng(1).bytes(5000)), tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match="empty file" if share == 0 else "truncated"):
        open_tree(tmp_path / "a.zip")


def test_wrong_checksum(tmp_path: Path) -> None:
    payload = b"A" * 100 + b"needle" + b"B" * 100
    path = zipped(_one(tmp_path, payload), tmp_path / "a.zip", method=zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"needle", b"noodle"))
    with pytest.raises(InputError, match="checksum"):
        open_tree(path).read("file.bin")


def test_broken_compressed_data(tmp_path: Path) -> None:
    path = zipped(_one(tmp_path, np.random.default_rng(1).bytes(3000) * 3), tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    data[60:400] = b"\xff" * 340
    path.write_bytes(data)
    with pytest.raises(InputError, match="damaged"):
        open_tree(path).read("file.bin")


def test_entry_that_inflates_to_more_than_it_declares(tmp_path: Path) -> None:
    path = zipped(_one(tmp_path, bytes(5_000_000)), tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 100)
    path.write_bytes(data)
    with pytest.raises(InputError, match="checksum"):  # 100 bytes were read, not five million
        open_tree(path).read("file.bin")


def test_entry_that_inflates_to_less(tmp_path: Path) -> None:
    path = zipped(_one(tmp_path, bytes(50)), tmp_path / "a.zip")
    data = bytearray(path.read_bytes())
    at = data.index(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 1000)
    path.write_bytes(data)
    with pytest.raises(InputError, match="ends early"):
        open_tree(path).read("file.bin")


def test_dense_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "BOMB_CHECK_FROM_BYTES", 1 << 20)
    path = zipped(_one(tmp_path, bytes(4 << 20)), tmp_path / "a.zip")
    with pytest.raises(InputError, match="bomb") as caught:
        open_tree(path)
    assert caught.value.code == "zip_bomb"


def test_bomb_of_overlapping_entries(tmp_path: Path) -> None:
    """Many directory entries that share one compressed kernel (D. Fifield, "A better zip bomb", 2019)."""
    kernel = zlib.compress(bytes(1000))[2:-4]
    local = struct.pack("<4s5H3I2H", b"PK\x03\x04", 20, 0, 8, 0, 0, zlib.crc32(bytes(1000)), len(kernel), 1000, 1, 0)
    body = local + b"a" + kernel
    checksum, big = zlib.crc32(bytes(1000)), 60_000
    entry = struct.pack("<4s6H3I5H2I", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, checksum, big, 1000, 3, 0, 0, 0, 0, 0, 0)
    central = b"".join(entry + f"{i:03d}".encode() for i in range(200))
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 200, 200, len(central), len(body), 0)
    (tmp_path / "a.zip").write_bytes(body + central + end)
    with pytest.raises(InputError, match="bomb"):
        open_tree(tmp_path / "a.zip")


def test_nested_archive_goes_away_with_its_tree(tmp_path: Path) -> None:
    inner = zipped(_one(tmp_path, b"hello"), tmp_path / "inner.zip")
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as out:
        out.write(inner, "sub/inner.zip")
    tree = nested_zip(open_tree(tmp_path / "outer.zip"), "sub/inner.zip")
    below = tree.below("")
    copy = tree.source
    assert copy.exists()
    assert below.read("file.bin") == b"hello"
    assert "outer.zip/sub/inner.zip" in tree.where("file.bin")
    del tree, below
    assert not copy.exists()


def test_paths_that_are_no_archive(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_tree(tmp_path / "nothing")
    (tmp_path / "text.obj").write_text("this is no zip")
    with pytest.raises(UnsupportedFormatError, match="no zip"):
        open_tree(tmp_path / "text.obj")
    (tmp_path / "Text.ZIP").write_text("this is no zip")
    with pytest.raises(UnsupportedFormatError, match=r"Text\.ZIP does not begin as a zip does: it is damaged"):
        open_tree(tmp_path / "Text.ZIP")
    (tmp_path / "empty.zip").touch()
    with pytest.raises(InputError, match="empty"):
        open_tree(tmp_path / "empty.zip")


def test_folder_ignores_what_is_no_file(tmp_path: Path) -> None:
    put(tmp_path, "a.txt", b"a")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path)
    assert open_tree(tmp_path).names == ("a.txt",)


def test_a_disk_full_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_module, "MAX_ENTRIES", 3)
    for i in range(5):
        put(tmp_path, f"{i}.txt", b"")
    with pytest.raises(InputError, match="more than 3 files"):
        _ = open_tree(tmp_path).names


def test_permission_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As root every file can be read, so the refusal is the operating system's own error, raised by hand."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = zipped(_one(tmp_path, b"x"), tmp_path / "a.zip")
    tree = open_tree(path)
    assert isinstance(tree, ZipTree)
    monkeypatch.setattr(Path, "open", refuse)
    for read in (lambda: open_tree(path), lambda: tree.read("file.bin")):
        with pytest.raises(InputError, match="permission denied") as caught:
            read()
        assert "a.zip" in caught.value.message
        assert "chmod" in caught.value.remedy


def test_numbers_in_names_of_any_length_and_script(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    names = ["rgbd/2.jpg", "5²6", "٣.jpg", "a" + "7" * 200, "rgbd/10.jpg"]
    for name in names:
        put(folder, name, b"x")
    tree = open_tree(folder)
    assert set(tree.names) == set(names)
    assert tree.names.index("rgbd/2.jpg") < tree.names.index("rgbd/10.jpg")
    with zipfile.ZipFile(tmp_path / "long.zip", "w") as out:
        for name in (*names, "rgbd/" + "9" * 5000 + ".jpg"):
            out.writestr(name, b"x")
    assert open_tree(tmp_path / "long.zip").numbered("rgbd", r"(\d+)\.jpg") == {2: "rgbd/2.jpg", 10: "rgbd/10.jpg"}
    assert natural_key("9" * 5000) != natural_key("9" * 5001)


def test_many_folders_take_no_longer_than_their_names(tmp_path: Path) -> None:
    from reconstruction.importers import find_scan

    with zipfile.ZipFile(tmp_path / "junk.zip", "w") as out:
        for number in range(4000):
            out.writestr(zipfile.ZipInfo(f"{number}/a"), b"")
    started = time.process_time()
    with pytest.raises(UnsupportedFormatError):
        find_scan(open_tree(tmp_path / "junk.zip"))
    assert time.process_time() - started < 2.0


def test_below_takes_whole_names_of_folders(tmp_path: Path) -> None:
    for name in ("a/b/1", "a/b!/2", "a/bc/3", "a/b/c/4"):
        put(tmp_path / "in", name, b"x")
    for tree in (open_tree(tmp_path / "in"), open_tree(zipped(tmp_path / "in", tmp_path / "in.zip"))):
        assert set(tree.below("a").below("b").names) == set(tree.below("a/b").names) == {"1", "c/4"}
        assert tree.below("nowhere").names == ()


def test_folders_without_end(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "deep.zip", "w") as out:
        out.writestr("d/" * 3000 + "x", b"")
    with pytest.raises(InputError, match="3000 folders deep"):
        open_tree(tmp_path / "deep.zip")


def test_an_entry_beyond_any_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("x", b"x")
    for offset in ((1 << 63) + 5, (1 << 64) - 1, 1 << 62, -7):
        tree = ZipTree(tmp_path / "a.zip", {"x": archive_module._Entry(offset, 1, 1, zipfile.ZIP_STORED, 0)})
        for read in (tree.read, lambda name, tree=tree: tree.head(name, 1), lambda name, tree=tree: tree.tail(name, 1)):
            with pytest.raises(InputError, match="damaged") as caught:
                read("x")
            assert caught.value.code == "damaged_zip"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_for_temporary_files_is_not_the_scans_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    put(tmp_path / "in", "x", b"x")
    tree = open_tree(zipped(tmp_path / "in", tmp_path / "in.zip"))

    def full(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("reconstruction.archive.shutil.copyfileobj", full)
    with pytest.raises(OutputError, match="temporary copy") as caught, tree.local_path("x"):
        pass
    assert caught.value.code == "disk_full"
    assert "TMPDIR" in caught.value.remedy


def test_no_folder_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path / "in", "x", b"x")
    tree = open_tree(zipped(tmp_path / "in", tmp_path / "in.zip"))

    def none(prefix: str) -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("reconstruction.archive.tempfile.mkdtemp", none)
    with pytest.raises(OutputError, match="No usable temporary directory"), tree.local_path("x"):
        pass


def test_pipes_and_devices_are_no_scans(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(InputError, match="neither a file nor a folder"):
            open_tree(path)
