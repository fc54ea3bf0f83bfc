"""Other programs must see the same atom at the same place, by their own conventions."""

import json
import re

import ase.io
import h5py
import mrcfile
import numpy as np
import pytest
import tifffile

from picotome.configs.imaging import VolumeConfig
from picotome.configs.schema import IdealConfig
from picotome.datasets.export import FORMATS, export_file
from picotome.datasets.foreign import import_series
from picotome.datasets.store import write_records
from picotome.records import Specimen, TiltSeries, Tomogram, Trace
from picotome.simgen.ideal import ideal_tomogram

VOXEL_A = 0.4
ATOM_A = np.array([2.05, -3.1, 1.3])
N = 32


@pytest.fixture(scope="module")
def specimen():
    truth = {
        "is_shell": np.array([True]),
        "strain": np.arange(9.0).reshape(1, 3, 3),
        "displacement_A": ATOM_A[None],
    }
    return Specimen(ATOM_A[None], np.array([78]), "one atom, off the centre", truth)


@pytest.fixture(scope="module")
def tomogram(specimen):
    volume = VolumeConfig(n_voxels=N, voxel_size_A=VOXEL_A)
    ideal = ideal_tomogram(specimen, volume=volume, config=IdealConfig(), brightness_A2={"Pt": 1.0})
    # Not a cube, so that no two axes can be taken for each other.
    return Tomogram(ideal.volume[:, 2:-2, 4:-4], VOXEL_A, "ideal")


@pytest.fixture(scope="module")
def series():
    images = np.zeros((3, 20, 30), dtype=np.float32)
    images[1, 4, 25] = 1.0
    return TiltSeries(images, np.array([-60.0, 0.0, 55.5]), VOXEL_A, 1e4, "linear")


@pytest.fixture(scope="module")
def trace():
    return Trace(
        np.array([[1.0, 2, 3], [4, 5, 6]]),
        np.array([2.0, 3.0]),
        np.array([78, 0]),
        np.array([0.4, 0.5]),
        np.array([[1.0, 2, 3], [4, 5, 6]]),
        np.array([10.0, 20.0]),
    )


@pytest.fixture
def file(tmp_path, specimen, tomogram, series, trace):
    records = {"specimen": specimen, "ideal": tomogram, "series": series, "trace": trace}
    write_records(tmp_path / "a.h5", records, provenance={"seed": 3})
    return tmp_path / "a.h5"


def centre_of_mass(array, axes):
    """Centre along each array axis, from the axis' own coordinates."""
    return [
        float((array.sum(axis=tuple(j for j in range(3) if j != i)) * axis).sum() / array.sum())
        for i, axis in enumerate(axes)
    ]


def test_mrc_shows_the_atom_where_it_is(file, tmp_path):
    export_file(file, out=tmp_path / "a.mrc")
    assert mrcfile.validate(tmp_path / "a.mrc")
    with mrcfile.open(tmp_path / "a.mrc") as mrc:
        assert mrc.is_volume()
        assert [float(mrc.voxel_size[k]) for k in "xyz"] == pytest.approx([VOXEL_A] * 3)
        # Sections of z, rows of y, columns of x: MRC2014.
        assert mrc.data.shape == (N - 8, N - 4, N)
        axes = [
            float(mrc.header.origin[k]) + np.arange(n) * float(mrc.voxel_size[k])
            for k, n in zip("zyx", mrc.data.shape, strict=True)
        ]
        # The box was cut by 2 and 4 voxels on both sides, which leaves voxel n // 2 where it was.
        assert centre_of_mass(mrc.data, axes)[::-1] == pytest.approx(ATOM_A, abs=1e-3)


def test_tiff_is_a_calibrated_stack(file, tmp_path, tomogram):
    export_file(file, out=tmp_path / "a.tif")
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_imagej
        assert tiff.series[0].axes == "ZYX"
        np.testing.assert_array_equal(tiff.asarray(), tomogram.volume.T)
        assert tiff.imagej_metadata["spacing"] == VOXEL_A
        assert tiff.imagej_metadata["unit"].encode().decode("unicode_escape") == "Å"
        pixels, units = tiff.pages[0].tags["XResolution"].value
        assert pixels / units == pytest.approx(1 / VOXEL_A)


def as_hyperspy_reads(group):
    """RosettaSciIO's reading of EMD 0.2: the array transposed, its axes numbered backwards."""
    data = group["data"][()].transpose()
    dims = [group[f"dim{number}"] for number in (3, 2, 1)]
    return data, [dim.attrs["name"].decode() for dim in dims], [dim[()] for dim in dims]


def test_emd_shows_the_atom_where_it_is(file, tmp_path):
    export_file(file, out=tmp_path / "a.emd")
    with h5py.File(tmp_path / "a.emd") as emd:
        assert (emd.attrs["version_major"], emd.attrs["version_minor"]) == (0, 2)
        group = emd["data/tomography"]
        assert group.attrs["emd_group_type"] == 1
        data, names, axes = as_hyperspy_reads(group)
        assert names == ["z", "y", "x"]
        assert {group[f"dim{n}"].attrs["units"] for n in (1, 2, 3)} == {b"[n_m]"}
        assert centre_of_mass(data, axes)[::-1] == pytest.approx(ATOM_A / 10, abs=1e-4)


def test_emd_of_a_series_is_tomviz_tilt_series(file, tmp_path, series):
    export_file(file, out=tmp_path / "a.emd", name="series")
    with h5py.File(tmp_path / "a.emd") as emd:
        group = emd["data/tomography"]
        assert group["dim1"].attrs["units"] == b"[deg]"
        np.testing.assert_allclose(group["dim1"], series.tilt_deg)
        # tomviz swaps the first axis with the last: (tilt axis, across it, tilt).
        np.testing.assert_array_equal(group["data"], series.images)


@pytest.mark.parametrize("suffix", [".mrc", ".tif"])
def test_a_series_comes_back_by_import(file, tmp_path, series, suffix):
    written = export_file(file, out=tmp_path / f"a{suffix}", name="series").files
    assert [path.name for path in written] == [f"a{suffix}", "a.rawtlt"]
    back = import_series(
        written[0],
        tilts=str(written[1]),
        pixel_size_A=VOXEL_A,
        tilt_axis="rows",
        key=None,
        stack_axis=None,
        flip_tilt=False,
    )
    np.testing.assert_array_equal(back.images, series.images)
    np.testing.assert_allclose(back.tilt_deg, series.tilt_deg)


def test_xyz_holds_the_columns_of_a_trace(file, tmp_path, trace):
    assert export_file(file, out=tmp_path / "a.xyz").name == "trace"
    atoms = ase.io.read(tmp_path / "a.xyz")
    assert atoms.get_chemical_symbols() == ["Pt", "X"]
    np.testing.assert_allclose(atoms.positions, trace.positions_A)
    for column, field in (
        ("intensity", "intensities"),
        ("sigma_A", "sigma_A"),
        ("uncertainty_pm", "uncertainty_pm"),
        ("support", "support"),
    ):
        np.testing.assert_allclose(atoms.arrays[column], getattr(trace, field))


def test_xyz_holds_the_truth_of_a_specimen(file, tmp_path, specimen):
    export_file(file, out=tmp_path / "a.xyz", name="specimen")
    atoms = ase.io.read(tmp_path / "a.xyz")
    np.testing.assert_allclose(atoms.positions, [ATOM_A])
    np.testing.assert_allclose(np.ravel(atoms.arrays["strain"]), np.arange(9.0))
    assert atoms.info["description"] == specimen.description
    assert atoms.arrays["is_shell"].tolist() == [True]


def test_npz_holds_everything(file, tmp_path, tomogram, trace):
    export_file(file, out=tmp_path / "a.npz", format_name="npz")
    with np.load(tmp_path / "a.npz", allow_pickle=False) as npz:
        np.testing.assert_array_equal(npz["ideal/volume"], tomogram.volume)
        np.testing.assert_array_equal(npz["trace/support"], trace.support)
        assert npz["ideal/voxel_size_A"] == VOXEL_A
        assert str(npz["series/engine"]) == "linear"
        assert json.loads(str(npz["provenance"]))["seed"] == 3
        assert {key.split("/")[0] for key in npz} == {"specimen", "ideal", "series", "trace", "provenance"}


@pytest.mark.parametrize(
    ("out", "options", "words"),
    [
        (
            "a.mrc",
            {"name": "trace"},
            "'trace', a Trace; .mrc holds a Tomogram or TiltSeries: choose --format xyz or npz",
        ),
        ("a.xyz", {"name": "ideal"}, "choose --format mrc or emd or tiff or npz"),
        ("a.mrc", {"name": "repaired"}, r"holds ideal \(Tomogram\), series"),
        ("a.vtk", {}, "ends in .mrc"),
        ("a.vtk", {"format_name": "vtk"}, "allowed is one of mrc, emd, tiff, xyz, npz"),
        ("a.mrc", {"format_name": "tiff"}, "ends in .tif or .tiff"),
        ("a.npz", {"name": "ideal"}, "takes all records"),
    ],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(file, tmp_path, out, options, words):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=words):
        export_file(file, out=tmp_path / out, **options)
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_without_volumes_has_no_mrc(tmp_path, trace):
    write_records(tmp_path / "t.h5", {"trace": trace}, provenance={})
    with pytest.raises(ValueError, match=re.escape("t.h5 holds no Tomogram or TiltSeries")):
        export_file(tmp_path / "t.h5", out=tmp_path / "t.mrc")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_what_it_can_hold(file, tmp_path, name):
    out = tmp_path / f"exported{FORMATS[name].suffixes[0]}"
    exported = export_file(file, out=out, format_name=name)
    assert exported.name == {"xyz": "trace", "npz": None}.get(name, "ideal")
    assert out.stat().st_size > 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", out.name]
