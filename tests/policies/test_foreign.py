"""UMI's and robomimic's datasets, made here as their own scripts make them (without zarr, which need not be there)."""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from policies import foreign, zarr_arrays
from policies.dataset import DatasetWriter, open_dataset
from reconstruction.errors import InputError, MissingToolError
from tests.episodes import assert_same, moving

ENDS = [5, 9]
Files = dict[str, bytes]


def zarr(
    name: str, values: npt.NDArray[Any], chunks: tuple[int, ...] | None = None, codec: str = "blosc", **more: Any
) -> Files:
    """The files of one array of Zarr v2."""
    chunks = chunks or values.shape
    compressor: dict[str, Any] | None = {"id": codec} if codec else None
    meta = {"zarr_format": 2, "shape": values.shape, "chunks": chunks, "dtype": values.dtype.str, "fill_value": 0}
    meta |= {"order": "C", "filters": None, "compressor": compressor, **more}
    files = {f"{name}/.zarray": json.dumps(meta).encode()}
    counts = [-(-side // chunk) for side, chunk in zip(values.shape, chunks, strict=True)]
    for place in np.ndindex(*counts):
        piece = np.zeros(chunks, values.dtype)
        part = values[tuple(slice(k * c, (k + 1) * c) for k, c in zip(place, chunks, strict=True))]
        piece[tuple(map(slice, part.shape))] = part
        separator = str(more.get("dimension_separator", "."))
        files[f"{name}/{separator.join(map(str, place))}"] = _packed(piece, codec, str(more.get("order", "C")))
    return files


def _packed(piece: npt.NDArray[Any], codec: str, order: str) -> bytes:
    import pyarrow as pa

    raw = piece.tobytes(order)  # type: ignore[arg-type]
    if codec == "blosc":
        numcodecs = pytest.importorskip("numcodecs")
        return bytes(numcodecs.Blosc(cname="lz4").encode(raw))
    if codec == "imagecodecs_jpegxl":
        return bytes(pytest.importorskip("imagecodecs").jpegxl_encode(piece[0], lossless=True))
    packed: dict[str, Callable[[], bytes]] = {
        "": lambda: raw,
        "zlib": lambda: zlib.compress(raw),
        "gzip": lambda: zlib.compress(raw, wbits=31),
        "zstd": lambda: pa.compress(raw, "zstd", asbytes=True),
        "lz4": lambda: len(raw).to_bytes(4, "little") + pa.compress(raw, "lz4_raw", asbytes=True),
    }
    return packed.get(codec, lambda: raw)()


def umi_files(seed: int = 0) -> tuple[Files, dict[str, npt.NDArray[Any]]]:
    rng = np.random.default_rng(seed)
    arrays: dict[str, npt.NDArray[Any]] = {
        "robot0_eef_pos": rng.normal(size=(9, 3)).astype(np.float32),
        "robot0_eef_rot_axis_angle": rng.normal(size=(9, 3)).astype(np.float32),
        "robot0_gripper_width": rng.random((9, 1)).astype(np.float32),
        "robot0_demo_start_pose": rng.normal(size=(9, 6)),
    }
    film = moving(seed, 9, 24)
    files = {".zgroup": b'{"zarr_format": 2}', "data/.zgroup": b"{}", "meta/.zgroup": b"{}"}
    files |= zarr("meta/episode_ends", np.array(ENDS, np.int64))
    for name, values in arrays.items():
        files |= zarr(f"data/{name}", values, chunks=(4, values.shape[1]))
    files |= zarr("data/camera0_rgb", film, (1, 24, 24, 3), codec="imagecodecs_jpegxl")
    return files, {**arrays, "camera0_rgb": film}


def write_zip(path: Path, files: Files) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def umi_without_packages(path: Path, seed: int = 0, **more: npt.NDArray[Any]) -> Path:
    """A replay buffer with what needs no other packages."""
    rng = np.random.default_rng(seed)
    files: Files = zarr("meta/episode_ends", np.array(ENDS), codec="zlib")
    arrays: dict[str, npt.NDArray[Any]] = {
        "robot0_eef_pos": rng.normal(size=(9, 3)).astype(np.float32),
        "robot0_gripper_width": rng.random((9, 1)).astype(np.float32),
        "tcp": rng.normal(size=(9, 6)).astype(">f8"),
        "camera0_rgb": moving(seed, 9, 24),
        "depth": rng.random((9, 4, 4)),
        **more,
    }
    for name, values in arrays.items():
        files |= zarr(f"data/{name}", values, (1, *values.shape[1:]), codec="zlib")
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_zip(path, files)


def write_folder(path: Path, files: Files) -> Path:
    for name, data in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    return path


@pytest.mark.parametrize("write", [write_zip, write_folder])
def test_umi(tmp_path: Path, write: Callable[[Path, Files], Path]) -> None:
    files, arrays = umi_files()
    dataset = open_dataset(write(tmp_path / "cup.zarr.zip", files))
    assert len(dataset) == 2
    assert [dataset.length(number) for number in range(2)] == [5, 4]
    state = np.hstack([arrays[f"robot0_{name}"] for name in ("eef_pos", "eef_rot_axis_angle", "gripper_width")])
    episode = dataset.read(1)
    assert (episode.task, episode.rate_hz, episode.index, episode.success) == ("cup", 60, 1, True)
    assert episode.state_names[0] == "robot0_eef_pos_0"
    assert episode.state_names[-1] == "robot0_gripper_width"
    np.testing.assert_array_equal(episode.state, state[5:])
    np.testing.assert_array_equal(episode.action, state[[6, 7, 8, 8]])
    np.testing.assert_array_equal(episode.extra["robot0_demo_start_pose"], arrays["robot0_demo_start_pose"][5:])
    np.testing.assert_array_equal(episode.images["camera0"], arrays["camera0_rgb"][5:])
    np.testing.assert_array_equal(dataset.frames(1, "camera0", [3, 0]), arrays["camera0_rgb"][[8, 5]])
    assert dataset.frames(0, "camera0", []).shape == (0, 24, 24, 3)
    assert dataset.left_out == ()


def test_what_was_read_from_others_can_be_written(tmp_path: Path) -> None:
    dataset = open_dataset(write_zip(tmp_path / "cup.zarr.zip", umi_files()[0]), task="Fill the cup.", rate_hz=10)
    with DatasetWriter(tmp_path / "set") as writer:
        for episode in dataset:
            writer.add(episode)
        writer.finish()
    for read, made in zip(open_dataset(tmp_path / "set"), dataset, strict=True):
        assert read.task == "Fill the cup."
        assert_same(read, made, pictures=5)


@pytest.mark.parametrize("codec", ["", "zlib", "gzip", "zstd", "lz4", "blosc"])
@pytest.mark.parametrize("more", [{}, {"order": "F"}, {"dimension_separator": "/"}])
def test_zarr_arrays(tmp_path: Path, codec: str, more: dict[str, str]) -> None:
    values = np.random.default_rng(0).normal(size=(9, 5, 4)).astype(">f4")
    path = write_folder(tmp_path / "x", zarr("a", values, (4, 2, 4), codec, **more))
    array = zarr_arrays.zarr_array(zarr_arrays.FolderTree(path), "a")
    for start, stop in ((0, 9), (3, 5), (8, 9), (4, 4)):
        np.testing.assert_array_equal(array.read(start, stop), values[start:stop])
    (path / "a" / ("0/0/0" if more.get("dimension_separator") else "0.0.0")).unlink()
    array = zarr_arrays.zarr_array(zarr_arrays.FolderTree(path), "a")
    assert (array.read(0, 4)[:, :2] == 0).all()  # never written: the fill value


def test_diffusion_policys_datasets_have_a_state_and_an_action(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    state, action = rng.normal(size=(9, 5)).astype(np.float32), rng.normal(size=(9, 2)).astype(np.float32)
    files = zarr("meta/episode_ends", np.array(ENDS)) | zarr("data/state", state) | zarr("data/action", action)
    files |= zarr("data/img", moving(0, 9, 8).astype(np.float32)) | zarr("data/n_contacts", np.ones((9, 1), np.float32))
    dataset = open_dataset(write_folder(tmp_path / "pusht.zarr", files))
    np.testing.assert_array_equal(dataset.read(0).state, state[:5])
    np.testing.assert_array_equal(dataset.read(0).action, action[:5])
    assert set(dataset.read(0).extra) == {"n_contacts"}
    assert dataset.left_out == ("img: float32 (8, 8, 3) a frame has no place in an episode",)


def _umi_without(name: str) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        for key in [key for key in files if key.startswith(name)]:
            del files[key]

    return change


def _umi_with(name: str, values: npt.NDArray[Any], **more: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        _umi_without(f"{name}/")(files)
        files.update(zarr(name, values, **more))

    return change


def _umi_meta(name: str, **more: Any) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        files[f"{name}/.zarray"] = json.dumps(json.loads(files[f"{name}/.zarray"]) | more).encode()

    return change


def _umi_bytes(name: str, data: bytes) -> Callable[[Files], None]:
    return lambda files: files.update({name: data})


POSE = "data/robot0_eef_pos"
UMI: dict[str, tuple[Callable[[Files], None], str]] = {
    "no ends": (_umi_without("meta/episode_ends"), "no meta/episode_ends"),
    "ends that fall": (_umi_with("meta/episode_ends", np.array([9, 5])), "does not rise"),
    "ends below zero": (_umi_with("meta/episode_ends", np.array([-5, 5])), "does not rise"),
    "ends beyond the rows": (_umi_with("meta/episode_ends", np.array([5, 12])), "fewer rows"),
    "ends with fractions": (_umi_with("meta/episode_ends", np.array([5.5, 9])), "is float64"),
    "no state": (_umi_without("data/robot0"), "no state"),
    "state as pictures": (_umi_with(POSE, np.zeros((9, 4, 4))), "no vector"),
    "state of objects": (_umi_meta(POSE, dtype="|O"), "no plain numbers"),
    "state not finite": (_umi_with(POSE, np.full((9, 3), np.inf, np.float32)), "not finite"),
    "state too large": (_umi_with(POSE, np.full((9, 3), 1e300)), "not finite"),
    "a codec that is unknown": (_umi_meta(POSE, compressor={"id": "pickle"}), "packed with 'pickle'"),
    "filters": (_umi_meta(POSE, filters=[{"id": "pickle"}]), "not known here"),
    "no description": (_umi_bytes(f"{POSE}/.zarray", b"{"), "no array of Zarr"),
    "a list as description": (_umi_bytes(f"{POSE}/.zarray", b"[]"), "no array of Zarr"),
    "Zarr 3": (_umi_meta(POSE, zarr_format=3), "its shape is"),
    "a shape in words": (_umi_meta(POSE, shape="many"), "its shape is"),
    "a shape below zero": (_umi_meta(POSE, shape=[-9, 3]), "its shape is"),
    "pieces of none": (_umi_meta(POSE, chunks=[0, 3]), "its shape is"),
    "giant pieces": (_umi_meta(POSE, chunks=[1 << 40, 3]), "larger than 256 MiB"),
    "giant rows": (_umi_meta("data/camera0_rgb", shape=[9, 1 << 13, 1 << 13, 3]), "too many pieces"),
    "an order of its own": (_umi_meta(POSE, order="X"), "its order is"),
    "a fill value in words": (_umi_meta(POSE, fill_value="NaN"), "fill value"),
    "a piece cut short": (_umi_bytes(f"{POSE}/0.0", b"\x02\x01"), "blosc data is damaged"),
    "a piece that says it is giant": (_umi_bytes(f"{POSE}/0.0", b"\x02\x01\x01\x01" + b"\xff" * 12), "damaged"),
    "a piece of other size": (_umi_meta(POSE, compressor=None), "bytes, not 48"),
    "a picture that is none": (_umi_bytes("data/camera0_rgb/3.0.0.0", b"words"), "jpegxl data is damaged"),
    "a missing piece without fill value": (
        lambda files: (_umi_meta(POSE, fill_value=None)(files), files.pop(f"{POSE}/0.0"))[0],
        "it is missing",
    ),
}


@pytest.mark.parametrize("name", UMI)
def test_damaged_umi(tmp_path: Path, name: str) -> None:
    files, _ = umi_files()
    change, message = UMI[name]
    change(files)
    path = write_zip(tmp_path / "cup.zarr.zip", files)
    with pytest.raises(InputError, match=message) as caught:
        for _ in open_dataset(path):
            pass
    assert str(path) in caught.value.message
    assert caught.value.remedy


def test_a_picture_of_another_size(tmp_path: Path) -> None:
    files, _ = umi_files()
    files["data/camera0_rgb/0.0.0.0"] = zarr("x", moving(0, 1, 64), codec="imagecodecs_jpegxl")["x/0.0.0.0"]
    with pytest.raises(InputError, match="jpegxl data is damaged"):
        open_dataset(write_zip(tmp_path / "cup.zarr.zip", files)).read(0)


def test_a_zip_that_unpacks_to_far_more(tmp_path: Path) -> None:
    files, _ = umi_files()
    _umi_meta(POSE, compressor={"id": "zlib"})(files)
    files[f"{POSE}/0.0"] = zlib.compress(bytes(100 << 20))
    with pytest.raises(InputError, match="it holds 49 bytes, not 48|larger than"):
        open_dataset(write_zip(tmp_path / "cup.zarr.zip", files)).read(0)


def test_links_out_of_a_zarr_folder(tmp_path: Path) -> None:
    path = write_folder(tmp_path / "cup.zarr", umi_files()[0])
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(48))
    (path / POSE / "0.0").unlink()
    (path / POSE / "0.0").symlink_to(secret)
    with pytest.raises(InputError, match="leads out"):
        open_dataset(path).read(0)


@pytest.mark.parametrize("package", ["numcodecs", "imagecodecs", "h5py"])
def test_packages_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    path = write_zip(tmp_path / "cup.zarr.zip", umi_files()[0])
    if package == "h5py":
        path = write_hdf5(tmp_path / "lift.hdf5")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingToolError, match=package) as caught:
        open_dataset(path).read(0)
    assert "pocketworld[foreign]" in caught.value.remedy


# --- robomimic -------------------------------------------------------------------------------------------------------


def write_hdf5(path: Path, change: Callable[[Any], None] | None = None) -> Path:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        settings = {"env_name": "Lift", "env_type": 1, "env_kwargs": {"control_freq": 20}}
        data.attrs["env_args"] = json.dumps(settings)
        for number in (0, 1, 10, 2):
            demo, rng, length = data.create_group(f"demo_{number}"), np.random.default_rng(number), 6 + number
            demo.attrs["num_samples"] = length
            demo["actions"] = rng.normal(size=(length, 7))
            demo["rewards"] = np.arange(length, dtype=np.float64)
            demo["dones"] = np.zeros(length, np.int64)
            demo["obs/robot0_eef_pos"] = rng.normal(size=(length, 3))
            demo["obs/robot0_gripper_qpos"] = rng.normal(size=(length, 2))
            demo["obs/object"] = rng.normal(size=(length, 10))
            film = moving(number, length, 16)
            demo.create_dataset("obs/agentview_image", data=film, compression="gzip", chunks=(1, 16, 16, 3))
            demo["obs/agentview_depth"] = rng.random((length, 16, 16, 1)).astype(np.float32)
            demo["next_obs/object"] = rng.normal(size=(length, 10))
        file["mask/train"] = np.array([b"demo_0"])
        if change is not None:
            change(file)
    return path


def test_robomimic(tmp_path: Path) -> None:
    dataset = open_dataset(write_hdf5(tmp_path / "lift.hdf5"))
    assert [dataset.length(number) for number in range(4)] == [6, 7, 8, 16]
    episode, rng = dataset.read(2), np.random.default_rng(2)
    np.testing.assert_array_equal(episode.action, rng.normal(size=(8, 7)).astype(np.float32))
    np.testing.assert_array_equal(episode.state[:, :3], rng.normal(size=(8, 3)).astype(np.float32))
    assert episode.state_names[-1] == "robot0_gripper_qpos_1"
    assert (episode.task, episode.rate_hz, episode.index) == ("Lift", 20, 2)
    assert set(episode.extra) == {"rewards", "dones", "object"}
    np.testing.assert_array_equal(episode.images["agentview"], moving(2, 8, 16))
    np.testing.assert_array_equal(dataset.frames(2, "agentview", [7, 1]), moving(2, 8, 16)[[7, 1]])
    assert dataset.frames(2, "agentview", []).shape == (0, 16, 16, 3)
    assert [name.split(":")[0] for name in dataset.left_out] == ["agentview_depth"]
    asked = open_dataset(tmp_path / "lift.hdf5", task="Lift the cube.", rate_hz=5)
    assert (asked.read(0).task, asked.features.rate_hz) == ("Lift the cube.", 5)


def test_libero_says_what_is_to_be_done(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        file["data"].attrs["problem_info"] = json.dumps({"language_instruction": "open the drawer"})
        for demo in file["data"].values():
            demo.move("obs/robot0_eef_pos", "obs/ee_pos")
            demo.move("obs/robot0_gripper_qpos", "obs/gripper_states")
            demo.move("obs/agentview_image", "obs/agentview_rgb")

    episode = open_dataset(write_hdf5(tmp_path / "drawer.hdf5", change)).read(0)
    assert episode.task == "open the drawer"
    assert set(episode.images) == {"agentview"}
    assert episode.state_names == (
        *("ee_pos_0", "ee_pos_1", "ee_pos_2", "gripper_states_0", "gripper_states_1"),
        *(f"object_{k}" for k in range(10)),
    )


def _replaced(name: str, values: Any, **more: Any) -> Callable[[Any], None]:
    def change(file: Any) -> None:
        del file[f"data/{name}"]
        if values is not None:
            file["data"].create_dataset(name, data=values, **more)

    return change


def _linked(file: Any) -> None:
    import h5py

    del file["data/demo_1/obs/robot0_eef_pos"]
    file["data/demo_1/obs/robot0_eef_pos"] = h5py.ExternalLink("/etc/secret.hdf5", "/data")


def _first_linked(file: Any) -> None:
    import h5py

    del file["data/demo_0"]
    file["data/demo_0"] = h5py.SoftLink("/data/demo_1")


def _virtual(file: Any) -> None:
    import h5py

    layout = h5py.VirtualLayout(shape=(6, 3), dtype="f8")
    layout[:] = h5py.VirtualSource("/etc/secret.hdf5", "x", shape=(6, 3))
    del file["data/demo_0/obs/robot0_eef_pos"]
    file["data/demo_0/obs"].create_virtual_dataset("robot0_eef_pos", layout)
    del file["data/demo_0/obs/robot0_gripper_qpos"]
    del file["data/demo_0/obs/object"]


HDF5: dict[str, tuple[Callable[[Any], None], str]] = {
    "no data": (lambda file: file.pop("data"), "no group data"),
    "no demonstrations": (lambda file: [file.pop(f"data/demo_{k}") for k in (0, 1, 2, 10)], "0 demonstrations"),
    "a demonstration that is none": (_replaced("demo_1", np.zeros(3)), "no group demo_1"),
    "no actions": (_replaced("demo_0/actions", None), "has no actions"),
    "actions without frames": (_replaced("demo_0/actions", np.zeros((0, 7))), "has no actions"),
    "actions of one dimension": (_replaced("demo_0/actions", np.zeros(6)), "no actions"),
    "actions in words": (_replaced("demo_0/actions", [b"left"] * 6), "no actions"),
    "actions not finite": (_replaced("demo_0/actions", np.full((6, 7), np.nan)), "not finite"),
    "no observations": (_replaced("demo_0/obs", None), "no observations"),
    "other shapes later": (_replaced("demo_2/obs/robot0_eef_pos", np.zeros((8, 4))), r"not 8 rows of float64 \(3,\)"),
    "other length": (_replaced("demo_2/obs/robot0_eef_pos", np.zeros((5, 3))), "not 8 rows"),
    "missing later": (_replaced("demo_2/obs/robot0_eef_pos", None), "not 8 rows"),
    "a link to another file": (_linked, "robot0_eef_pos is a link"),
    "a link to another demonstration": (_first_linked, "demo_0 is a link"),
    "values in another file": (_virtual, "no observations"),
}


@pytest.mark.parametrize("name", HDF5)
def test_damaged_robomimic(tmp_path: Path, name: str) -> None:
    change, message = HDF5[name]
    path = write_hdf5(tmp_path / "lift.hdf5", change)
    with pytest.raises(InputError, match=message) as caught:
        for _ in open_dataset(path):
            pass
    assert str(path) in caught.value.message
    assert caught.value.remedy


def test_an_array_that_claims_to_be_giant_is_left_out(tmp_path: Path) -> None:
    def change(file: Any) -> None:
        file["data/demo_0"].create_dataset("giant", shape=(6, 1 << 40), dtype="f8", chunks=(1, 1024))

    dataset = open_dataset(write_hdf5(tmp_path / "lift.hdf5", change))
    assert any(name.startswith("giant: it takes") for name in dataset.left_out)
    assert len(dataset.read(0)) == 6


def test_a_cut_hdf5(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "lift.hdf5")
    data = path.read_bytes()
    for keep in (8, 100, len(data) // 2, len(data) - 100):
        path.write_bytes(data[:keep])
        with pytest.raises(InputError) as caught:
            for _ in open_dataset(path):
                pass
        assert str(path) in caught.value.message


def test_odd_environment_words_do_no_harm(tmp_path: Path) -> None:
    for text in ("{", "[]", '{"env_kwargs": {"control_freq": "often"}}', '{"env_kwargs": 3, "env_name": 4}'):
        path = write_hdf5(tmp_path / "lift.hdf5", lambda file, text=text: file["data"].attrs.update(env_args=text))
        dataset = open_dataset(path)
        assert dataset.features.rate_hz == foreign.ROBOMIMIC_RATE_HZ
        assert dataset.read(0).task == "lift"
