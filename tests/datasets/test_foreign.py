"""Other people's files, written by other people's libraries, come back in the frame of the house."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import mrcfile
import numpy as np
import pytest
import scipy.io
import tifffile

from picotome.datasets.foreign import import_series, profile_change
from picotome.records import TiltSeries

# Three different lengths: a wrong axis cannot pass for a right one.
N_TILTS, N_ROWS, N_COLUMNS = 7, 9, 12
TILT_DEG = np.linspace(-60.0, 50.0, N_TILTS)
FEPT = Path(__file__).parents[3] / "shared" / "data" / "fept_tilt_series.npz"


@pytest.fixture
def stack() -> np.ndarray:
    """(tilt, row, column) images."""
    return np.random.default_rng(5).normal(size=(N_TILTS, N_ROWS, N_COLUMNS)).astype(np.float32)


@pytest.fixture
def tilts(tmp_path: Path) -> str:
    path = tmp_path / "series.tlt"
    np.savetxt(path, TILT_DEG)
    return str(path)


def write_mrc(path: Path, stack: np.ndarray) -> None:
    with mrcfile.new(path) as mrc:
        mrc.set_data(stack)
        mrc.voxel_size = 0.37


def write_tiff(path: Path, stack: np.ndarray) -> None:
    tifffile.imwrite(path, stack, photometric="minisblack")


def write_tiff_pages(path: Path, stack: np.ndarray) -> None:
    with tifffile.TiffWriter(path) as tiff:
        for image in stack:
            tiff.write(image, photometric="minisblack", contiguous=False)


def write_matlab_73(path: Path, stack: np.ndarray) -> None:
    """As MATLAB does: column-major, so HDF5 sees the axes reversed, and every data set names its class."""
    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("stack", data=stack.T)
        data.attrs["MATLAB_class"] = np.bytes_("single")


def write_hdf5(path: Path, stack: np.ndarray) -> None:
    with h5py.File(path, "w") as file:
        file["data/stack"] = stack
        file["data/other"] = np.zeros(3)


WRITERS: dict[str, Callable[[Path, np.ndarray], Any]] = {
    "a.mrc": write_mrc,
    "a.ali": write_mrc,
    "a.st": write_mrc,
    "a.rec": write_mrc,
    "a.tif": write_tiff,
    "pages.tiff": write_tiff_pages,
    "a.npy": np.save,
    "a.npz": lambda path, stack: np.savez(path, stack=stack),
    "a.mat": lambda path, stack: scipy.io.savemat(path, {"stack": stack}, do_compression=True),
    "a73.mat": write_matlab_73,
    "a.h5": write_hdf5,
    "a.emd": write_hdf5,
}


def read(path: Path, tilts: str | None, **changed: Any) -> TiltSeries:
    settings: dict[str, Any] = {"pixel_size_A": 0.4, "tilt_axis": "columns"} | changed
    return import_series(path, tilts=tilts, **settings)


@pytest.mark.parametrize("tilt_axis", ["rows", "columns"])
@pytest.mark.parametrize("name", WRITERS)
def test_every_format_round_trips(
    name: str, tilt_axis: str, stack: np.ndarray, tilts: str, tmp_path: Path
) -> None:
    WRITERS[name](tmp_path / name, stack)
    series = read(tmp_path / name, tilts, tilt_axis=tilt_axis)
    expected = stack if tilt_axis == "columns" else stack.transpose(0, 2, 1)
    assert series.images.dtype == np.float32
    assert series.images.flags.c_contiguous
    np.testing.assert_array_equal(series.images, expected)
    np.testing.assert_allclose(series.tilt_deg, TILT_DEG)
    assert series.tilt_deg.dtype == np.float64
    assert (series.pixel_size_A, series.engine, series.dose_e_per_A2) == (0.4, "import", None)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.float64, ">i4", bool])
def test_any_real_type_keeps_its_values(dtype: Any, tilts: str, tmp_path: Path) -> None:
    stack = np.random.default_rng(0).integers(0, 2, (N_TILTS, N_ROWS, N_COLUMNS)).astype(dtype)
    np.save(tmp_path / "a.npy", stack)
    np.testing.assert_array_equal(read(tmp_path / "a.npy", tilts).images, stack.astype(np.float32))


def test_pixel_size_comes_from_the_mrc_header_unless_stated(
    stack: np.ndarray, tilts: str, tmp_path: Path
) -> None:
    write_mrc(tmp_path / "a.mrc", stack)
    assert read(tmp_path / "a.mrc", tilts, pixel_size_A=None).pixel_size_A == pytest.approx(0.37, rel=1e-6)
    assert read(tmp_path / "a.mrc", tilts, pixel_size_A=0.5).pixel_size_A == 0.5


@pytest.mark.parametrize(("voxel", "message"), [((0.3, 0.4, 1.0), "0.3 × 0.4 Å"), ((0.0, 0.0, 0.0), "pixel")])
def test_a_useless_pixel_size_in_the_header_is_refused(
    voxel: tuple[float, float, float], message: str, stack: np.ndarray, tilts: str, tmp_path: Path
) -> None:
    with mrcfile.new(tmp_path / "a.mrc") as mrc:
        mrc.set_data(stack)
        mrc.voxel_size = voxel
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.mrc", tilts, pixel_size_A=None)


@pytest.mark.parametrize("stack_axis", [0, 1, 2])
def test_the_axis_that_counts_images_is_found_by_its_length(
    stack_axis: int, stack: np.ndarray, tilts: str, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.moveaxis(stack, 0, stack_axis))
    for stated in (None, stack_axis):
        np.testing.assert_array_equal(read(tmp_path / "a.npy", tilts, stack_axis=stated).images, stack)


def test_equal_lengths_ask_for_the_stack_axis_unless_the_format_says_it(tilts: str, tmp_path: Path) -> None:
    cube = np.random.default_rng(2).normal(size=(N_TILTS,) * 3).astype(np.float32)
    np.save(tmp_path / "a.npy", cube)
    with pytest.raises(ValueError, match=r"axes \[0, 1, 2\].*--stack-axis"):
        read(tmp_path / "a.npy", tilts)
    np.testing.assert_array_equal(
        read(tmp_path / "a.npy", tilts, stack_axis=1).images, np.moveaxis(cube, 1, 0)
    )
    for name in ("a.mrc", "a.tif"):
        WRITERS[name](tmp_path / name, cube)
        np.testing.assert_array_equal(read(tmp_path / name, tilts).images, cube)


def test_flipping_the_tilts_changes_nothing_else(stack: np.ndarray, tilts: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", stack)
    plain, flipped = (read(tmp_path / "a.npy", tilts, flip_tilt=flip) for flip in (False, True))
    np.testing.assert_array_equal(flipped.tilt_deg, -plain.tilt_deg)
    np.testing.assert_array_equal(flipped.images, plain.images)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.rawtlt", "\n".join(f"  {t:.2f}" for t in TILT_DEG)),
        ("a.txt", "# made by hand\n" + " ".join(f"{t:.2f}" for t in TILT_DEG)),
        ("a.csv", ",".join(f"{t:.2f}" for t in TILT_DEG) + ",\n"),
        ("b.csv", "tilt\n" + "\n".join(f"{t:.2f}" for t in TILT_DEG)),
        ("c.csv", "image,tilt (deg),dose\n" + "\n".join(f"{i},{t:.2f},9" for i, t in enumerate(TILT_DEG))),
        ("d.csv", "\ufeffAngle;image\r\n" + "\r\n".join(f"{t:.2f};{i}" for i, t in enumerate(TILT_DEG))),
        ("e.dat", "n\tangle\n" + "\n".join(f"{i}\t{t:.2f}" for i, t in enumerate(TILT_DEG))),
    ],
)
def test_tilts_from_text(name: str, text: str, stack: np.ndarray, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode("utf-8"))
    np.save(tmp_path / "a.npy", stack)
    series = read(tmp_path / "a.npy", str(tmp_path / name))
    np.testing.assert_allclose(series.tilt_deg, TILT_DEG, atol=0.006)


def test_tilts_from_npy_and_from_a_key_of_the_same_file(stack: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "tilts.npy", TILT_DEG[:, None])
    np.savez(tmp_path / "a.npz", stack=stack, angles=TILT_DEG)
    scipy.io.savemat(tmp_path / "a.mat", {"stack": stack, "angles": TILT_DEG})
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["stack"], file["scan/angles"] = stack, TILT_DEG
    for name, where in (
        ("a.npz", str(tmp_path / "tilts.npy")),
        ("a.npz", "key:angles"),
        ("a.mat", "key:angles"),
        ("a.h5", "key:/scan/angles"),
    ):
        series = read(tmp_path / name, where)
        np.testing.assert_array_equal(series.tilt_deg, TILT_DEG)
        np.testing.assert_array_equal(series.images, stack)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2\n3 4\n", "2 columns"),
        ("a,b\n1,2\n", "tilt or angle"),
        ("1\n2 3\n", "different counts"),
        ("10\nten\n", "'ten'"),
        ("", "no numbers"),
        ("10\nnan\n", r"not finite at positions \[1\]"),
        ("0\n190\n", "reach 190"),
        ("-1.1\n0\n1.1\n", "radians"),
        ("0\n0\n", "all zero"),
    ],
)
def test_bad_tilts_are_refused(text: str, message: str, stack: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", stack)
    (tmp_path / "a.tlt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "a.npy", str(tmp_path / "a.tlt"))


def test_tilts_must_be_stated_exist_and_fit(stack: np.ndarray, tilts: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", stack)
    with pytest.raises(ValueError, match="tilts are not stated"):
        read(tmp_path / "a.npy", None)
    with pytest.raises(FileNotFoundError, match="no file of tilts"):
        read(tmp_path / "a.npy", str(tmp_path / "none.tlt"))
    (tmp_path / "a.docx").write_text("1")
    with pytest.raises(ValueError, match="key:NAME"):
        read(tmp_path / "a.npy", str(tmp_path / "a.docx"))
    (tmp_path / "short.tlt").write_text("\n".join("1234"))
    with pytest.raises(ValueError, match=r"4 tilts.*no axis of the array \(7, 9, 12\)"):
        read(tmp_path / "a.npy", str(tmp_path / "short.tlt"))
    with pytest.raises(ValueError, match=r"7 tilts.*not axis 2"):
        read(tmp_path / "a.npy", tilts, stack_axis=2)
    with pytest.raises(ValueError, match="stack_axis is 3"):
        read(tmp_path / "a.npy", tilts, stack_axis=3)


def test_what_the_file_does_not_say_is_asked_for(stack: np.ndarray, tilts: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", stack)
    with pytest.raises(ValueError, match="--pixel-size-A"):
        read(tmp_path / "a.npy", tilts, pixel_size_A=None)
    for wrong in (0.0, -0.4, float("nan")):
        with pytest.raises(ValueError, match=r"pixel_size_A is .*positive"):
            read(tmp_path / "a.npy", tilts, pixel_size_A=wrong)
    with pytest.raises(ValueError, match="tilt_axis is 'y'; allowed is 'rows'"):
        read(tmp_path / "a.npy", tilts, tilt_axis="y")
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none.npy", tilts)
    (tmp_path / "a.dm3").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"'.dm3'; allowed is .mrc"):
        read(tmp_path / "a.dm3", tilts)


@pytest.mark.parametrize("along", ["rows", "columns"])
def test_a_missing_tilt_axis_is_asked_for_with_the_evidence(along: str, tilts: str, tmp_path: Path) -> None:
    series = spinning_points()
    shifted = np.stack([np.roll(image, (i, 2 * i), (0, 1)) for i, image in enumerate(series)])
    np.save(tmp_path / "a.npy", shifted if along == "columns" else shifted.transpose(0, 2, 1))
    with pytest.raises(ValueError, match=f"tilt_axis is not stated.*speaks for {along};"):
        read(tmp_path / "a.npy", tilts, tilt_axis=None)


def test_projections_onto_the_tilt_axis_are_alike() -> None:
    images = spinning_points()
    assert profile_change(images, image_axis=1) < 1e-3
    assert profile_change(images, image_axis=0) > 0.1


def spinning_points() -> np.ndarray:
    """(tilt, x, y) images of Gaussian points that turn about y, independent of picotome's engines."""
    rng = np.random.default_rng(1)
    x, y, z = rng.uniform(-8, 8, (3, 25))
    grid = np.arange(32) - 16.0
    images = []
    for tilt in np.deg2rad(TILT_DEG):
        turned = x * np.cos(tilt) + z * np.sin(tilt)
        across = np.exp(-0.5 * (grid[:, None] - turned) ** 2)
        images.append(across @ np.exp(-0.5 * (grid[:, None] - y) ** 2).T)
    return np.stack(images)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_pixels_that_are_not_finite_are_counted_by_image(bad: float, tilts: str, tmp_path: Path) -> None:
    stack = np.ones((N_TILTS, N_ROWS, N_COLUMNS))
    stack[2, 3, 4] = stack[5, 0, :3] = bad
    np.save(tmp_path / "a.npy", stack)
    with pytest.raises(ValueError, match=r"4 pixels that are not finite.*image 2: 1, image 5: 3"):
        read(tmp_path / "a.npy", tilts)


@pytest.mark.parametrize(
    "name", [name for name in WRITERS if name not in ("a.ali", "a.st", "a.rec", "a.emd")]
)
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.6, 0.95])
def test_truncated_files_give_one_clear_error(name: str, kept: float, tilts: str, tmp_path: Path) -> None:
    stack = np.random.default_rng(5).normal(size=(N_TILTS, 40, 50)).astype(np.float32)
    path = tmp_path / name
    WRITERS[name](path, stack)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match=name):
        read(path, tilts)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "name", [name for name in WRITERS if name not in ("a.ali", "a.st", "a.rec", "a.emd")]
)
def test_damaged_bytes_give_a_series_or_one_clear_error(name: str, tilts: str, tmp_path: Path) -> None:
    path = tmp_path / name
    rng = np.random.default_rng(3)
    WRITERS[name](path, rng.normal(size=(N_TILTS, N_ROWS, N_COLUMNS)).astype(np.float32))
    whole = path.read_bytes()
    n_refused = 0
    for _ in range(40):
        damaged = bytearray(whole)
        # Headers are where decoders go astray.
        for place in rng.integers(min(len(whole), 1500), size=4):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            series = read(path, tilts)
        except ValueError as error:
            n_refused += 1
            assert name in str(error)
        else:
            assert series.images.shape[0] == N_TILTS
    assert n_refused > 0


@pytest.mark.parametrize("name", WRITERS)
def test_noise_instead_of_a_file_gives_one_clear_error(name: str, tilts: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(ValueError, match=name):
        read(tmp_path / name, tilts)


class Trap:
    """A pickle of this writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "sprung"))


def test_pickles_are_refused_and_never_run(tilts: str, tmp_path: Path) -> None:
    sprung = tmp_path / "sprung"
    trap = np.empty((N_TILTS, 2, 2), dtype=object)
    trap[:] = Trap(sprung)
    np.save(tmp_path / "object.npy", trap, allow_pickle=True)
    np.savez(tmp_path / "object.npz", stack=trap)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Trap(sprung)))
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap(sprung)))
    for name in ("object.npy", "object.npz", "bare.npy", "bare.npz"):
        for settings in ({}, {"key": "stack"}):
            with pytest.raises(ValueError, match=name):
                read(tmp_path / name, tilts, **settings)
        with pytest.raises((ValueError, FileNotFoundError)):
            read(tmp_path / "object.npy", str(tmp_path / name))
    assert not sprung.exists()
    np.load(tmp_path / "object.npy", allow_pickle=True)
    assert sprung.exists(), "the trap works, so the test above means something"


@pytest.mark.parametrize("suffix", [".npz", ".mat", ".h5"])
def test_a_missing_or_unclear_key_lists_what_is_there(
    suffix: str, stack: np.ndarray, tilts: str, tmp_path: Path
) -> None:
    path = tmp_path / f"a{suffix}"
    arrays = {"first": stack, "second": 2 * stack, "angles": TILT_DEG}
    if suffix == ".npz":
        np.savez(path, **arrays)
    elif suffix == ".mat":
        scipy.io.savemat(path, {**arrays, "text": "words", "cell": np.array([1, "a"], dtype=object)})
    else:
        with h5py.File(path, "w") as file:
            file.update(arrays)
    with pytest.raises(
        ValueError, match=r"2 three-dimensional arrays; name one with --key.*first \(7, 9, 12\)"
    ):
        read(path, tilts)
    with pytest.raises(ValueError, match=r"no numeric array 'third'; it holds .*second \(7, 9, 12\)"):
        read(path, tilts, key="third")
    with pytest.raises(ValueError, match="3 axes"):
        read(path, tilts, key="angles")
    np.testing.assert_array_equal(read(path, tilts, key="second").images, 2 * stack)


def test_complex_numbers_and_colours_are_refused(stack: np.ndarray, tilts: str, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", stack + 1j)
    with pytest.raises(ValueError, match=r"complex.*real numbers"):
        read(tmp_path / "a.npy", tilts)
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((N_TILTS, 8, 9, 3), np.uint8), photometric="rgb")
    with pytest.raises(ValueError, match="3 axes"):
        read(tmp_path / "a.tif", tilts)


def test_links_to_other_files_are_not_followed(stack: np.ndarray, tilts: str, tmp_path: Path) -> None:
    write_hdf5(tmp_path / "secret.h5", stack)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["stack"] = h5py.ExternalLink("secret.h5", "/data/stack")
    with pytest.raises(ValueError, match="no numeric array 'stack'"):
        read(tmp_path / "a.h5", tilts, key="stack")


@pytest.mark.external
@pytest.mark.skipif(not FEPT.exists(), reason="needs the FePt teaching series (fept_tilt_series.npz)")
@pytest.mark.parametrize("name", ["full", "noisy", "misaligned"])
def test_the_tilt_axis_of_real_images_is_found(name: str) -> None:
    with pytest.raises(ValueError, match="speaks for columns;"):
        read(FEPT, "key:tilt_deg", key=name, tilt_axis=None)
    series = read(FEPT, "key:tilt_deg", key=name)
    assert series.images.shape == (37, 68, 68)
