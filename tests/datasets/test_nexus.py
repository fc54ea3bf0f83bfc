"""Other programs must find volume, axes and units by NeXus alone."""

import io
import re

import h5py
import numpy as np
import pytest
from scipy.spatial import cKDTree

from picotome.datasets.nexus import units_of
from picotome.datasets.pairs import elements_of
from picotome.datasets.schema_check import schema_problems
from picotome.datasets.store import _checksum, read_pair, read_records, write_pair, write_records
from picotome.geometry import axis_A
from picotome.records import Pair, Specimen, TiltSeries, Tomogram
from picotome.trace.tracing import trace_tomogram


def peaked_volume(n, seed=0):
    """Dark voxels, bright voxels and nine decades between."""
    rng = np.random.default_rng(seed)
    return (10.0 ** rng.uniform(-9, 0, (n, n, n)) * 3e-3).astype(np.float32)


def make_pair(n=40):
    rng = np.random.default_rng(1)
    specimen = Specimen(rng.normal(size=(5, 3)), np.full(5, 78), "five", {"strain": np.zeros((5, 3, 3))})
    series = TiltSeries(
        rng.random((3, n, n)).astype(np.float32), np.array([-60.0, 0.0, 60.0]), 0.4, 1e4, "linear"
    )
    tomograms = (Tomogram(peaked_volume(n, i), 0.4, kind) for i, kind in enumerate(("degraded", "ideal")))
    return Pair(specimen, series, *tomograms)


def default_plot(file):
    """Follow NeXus' chain of defaults to (group, signal): what every viewer does."""
    group = file
    while group.attrs["NX_class"] != "NXdata":
        group = group[group.attrs["default"]]
    return group, group[group.attrs["signal"]]


def test_the_default_chain_leads_to_the_tomogram(tmp_path):
    pair = make_pair()
    write_pair(tmp_path / "a.h5", pair, provenance={})
    with h5py.File(tmp_path / "a.h5") as file:
        assert file.attrs["NX_class"] == "NXroot"
        assert file[file.attrs["default"]].attrs["NX_class"] == "NXentry"
        group, signal = default_plot(file)
        np.testing.assert_array_equal(signal[()], pair.degraded.volume)
        for dimension, name in enumerate(group.attrs["axes"]):
            assert group.attrs[f"{name}_indices"] == dimension
            assert group[name].attrs["units"] == "angstrom"
            np.testing.assert_array_equal(group[name], axis_A(40, 0.4))
            assert group[name][20] == 0.0


def test_the_tilt_series_has_its_axes(tmp_path):
    write_pair(tmp_path / "a.h5", make_pair(), provenance={})
    with h5py.File(tmp_path / "a.h5") as file:
        series = file["series"]
        assert list(series.attrs["axes"]) == ["tilt_deg", "x_A", "y_A"]
        assert [len(series[name]) for name in series.attrs["axes"]] == list(series["images"].shape)
        assert series["tilt_deg"].attrs["units"] == "degree"
        assert file["specimen/positions_A"].attrs["units"] == "angstrom"
        assert "units" not in file["specimen/truth/strain"].attrs
        assert "units" not in file["specimen/atomic_numbers"].attrs


def test_units_are_those_of_the_names():
    expected = {"positions_A": "angstrom", "tilt_deg": "degree", "uncertainty_pm": "picometer", "gain": None}
    assert {name: units_of(name) for name in expected} == expected
    assert units_of("dose_e_per_A2") == "1/angstrom^2"


def test_files_of_the_first_version_read(tmp_path):
    path, pair = tmp_path / "a.h5", make_pair()
    write_pair(path, pair, provenance={})
    write_first_version(path)
    read = read_pair(path)
    np.testing.assert_array_equal(read.degraded.volume, pair.degraded.volume)
    assert schema_problems(path, n_voxels=40, is_pair=True) == []


def write_first_version(path):
    """Turn a file into what picotome wrote before it knew NeXus."""
    with h5py.File(path, "r+") as file:
        del file["entry"]
        file.attrs["format_version"] = 1
        for node in (file, *file.values()):
            for name in [*node.attrs]:
                if name in ("NX_class", "default", "signal", "axes") or name.endswith("_indices"):
                    del node.attrs[name]
            for name in [n for n in node if n in ("x_A", "y_A", "z_A")]:
                del node[name]
        for name in ("degraded/volume", "ideal/volume", "series/images"):
            for key in [*file[name].attrs]:
                del file[name].attrs[key]
        file.attrs["sha256"] = _checksum(file)


def test_half_precision_has_the_stated_error(tmp_path):
    pair = make_pair()
    write_pair(tmp_path / "a.h5", pair, provenance={}, precision="float16")
    read = read_pair(tmp_path / "a.h5")
    for name in ("degraded", "ideal"):
        exact, kept = (getattr(p, name).volume.astype(np.float64) for p in (pair, read))
        assert getattr(read, name).volume.dtype == np.float32
        error = np.abs(kept - exact)
        assert np.all(error <= np.maximum(exact / 2048, 2e-12 * exact.max()))
        assert np.any(error > exact / 4096)
    with h5py.File(tmp_path / "a.h5") as file:
        group, signal = default_plot(file)
        assert signal.dtype == np.float16
        np.testing.assert_array_equal(signal[()] * group["volume_scaling_factor"][()], read.degraded.volume)
    assert schema_problems(tmp_path / "a.h5", is_pair=True) == []


def test_dark_and_empty_volumes_keep_in_half_precision(tmp_path):
    for name, volume in (("zero", np.zeros((4,) * 3)), ("dark", np.full((4,) * 3, 1e-30))):
        tomogram = Tomogram(volume.astype(np.float32), 0.4, "ideal")
        write_records(tmp_path / f"{name}.h5", {"ideal": tomogram}, provenance={}, precision="float16")
        kept = read_records(tmp_path / f"{name}.h5")["ideal"].volume
        np.testing.assert_allclose(kept, tomogram.volume, rtol=1 / 2048)


class CountingFile(io.FileIO):
    """A file that counts the bytes that are read from it."""

    n_read = 0

    def readinto(self, buffer):
        n = super().readinto(buffer)
        self.n_read += n
        return n


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_patch_reads_its_chunks_alone(tmp_path, precision):
    path, n = tmp_path / "a.h5", 144
    # Noise does not compress, so that bytes count voxels.
    volume = np.random.default_rng(0).random((n, n, n)).astype(np.float32)
    pair = make_pair()
    pair = Pair(pair.specimen, pair.series, Tomogram(volume, 0.4, "degraded"), Tomogram(volume, 0.4, "ideal"))
    write_pair(path, pair, provenance={}, precision=precision)
    box = (slice(32, 96), slice(64, 128), slice(0, 64))
    with CountingFile(path) as counted, h5py.File(counted, "r") as file:
        before = counted.n_read
        patch = file["degraded/volume"][box]
        read = counted.n_read - before
        storage = file["degraded/volume"].id
        chunks = [storage.get_chunk_info(i) for i in range(storage.get_num_chunks())]
    assert patch.shape == (64, 64, 64)
    touched = [
        chunk.size
        for chunk in chunks
        if all(s.start < o + 32 and o < s.stop for s, o in zip(box, chunk.chunk_offset, strict=True))
    ]
    assert len(touched) == 8
    # Beside the chunks themselves, only the index of chunks.
    assert sum(touched) <= read < 1.1 * sum(touched) + 64 * 1024
    assert read < 0.1 * sum(chunk.size for chunk in chunks)


def test_a_good_file_has_no_problems(tiny_dataset, tiny_recipe):
    for file in sorted(tiny_dataset.glob("*/*.h5")):
        assert schema_problems(file, n_voxels=tiny_recipe.volume.n_voxels, is_pair=True) == []
    (problem, *_) = schema_problems(file, n_voxels=99)
    assert "expected (" in problem
    assert "99" in problem


def damage_nan(file):
    file["ideal/volume"][3, 3, 3] = np.nan


def damage_shape(file):
    del file["specimen/positions_A"]
    file["specimen/positions_A"] = np.zeros((5, 2))


def damage_rows(file):
    del file["specimen/atomic_numbers"]
    file["specimen/atomic_numbers"] = np.full(4, 78)


def damage_type(file):
    del file["specimen/atomic_numbers"]
    file["specimen/atomic_numbers"] = np.full(5, 78.0)


def damage_axis(file):
    file["degraded/x_A"][...] += 0.2


def damage_units(file):
    file["degraded/x_A"].attrs["units"] = "nm"


def damage_missing(file):
    del file["series"]


def damage_field(file):
    del file["degraded/volume"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_nan, "ideal/volume has 1 values that are not finite"),
        (damage_shape, r"specimen/positions_A has shape \(5, 2\)"),
        (damage_rows, r"atomic_numbers has shape \(4,\); expected \(5\)"),
        (damage_type, "atomic_numbers has type float64; expected integers"),
        (damage_axis, r"degraded/x_A is not the axis of 40 voxels of 0\.4"),
        (damage_units, "'nm'; expected 'angstrom'"),
        (damage_missing, "lacks series"),
        (damage_field, "degraded is not a whole Tomogram"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, damage, words):
    path = tmp_path / "a.h5"
    write_pair(path, make_pair(), provenance={})
    with h5py.File(path, "r+") as file:
        damage(file)
    problems = schema_problems(path, is_pair=True)
    assert len(problems) == 1
    assert re.search(words, problems[0]), problems


def test_what_is_no_file_of_ours_is_a_problem_too(tmp_path):
    (tmp_path / "a.h5").write_text("hello")
    assert "not a readable HDF5 file" in schema_problems(tmp_path / "a.h5")[0]
    assert "no file" in schema_problems(tmp_path / "b.h5")[0]


def test_half_precision_moves_no_traced_atom(tiny_dataset, tiny_recipe, tmp_path):
    pair = read_pair(next(tiny_dataset.glob("validation/*.h5")))
    write_pair(tmp_path / "a.h5", pair, provenance={}, precision="float16")
    whole, half = (
        trace_tomogram(p.degraded, elements=elements_of(pair.specimen), config=tiny_recipe.tracing)
        for p in (pair, read_pair(tmp_path / "a.h5"))
    )
    apart_A, partner = cKDTree(whole.positions_A).query(half.positions_A)
    assert sorted(partner) == list(range(len(whole.positions_A)))
    assert 0 < apart_A.max() < 0.002
