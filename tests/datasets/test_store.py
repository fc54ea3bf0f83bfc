from dataclasses import fields, replace

import h5py
import numpy as np
import pytest

from picotome.datasets.store import (
    is_intact,
    read_pair,
    read_provenance,
    read_records,
    write_pair,
    write_records,
)
from picotome.records import Pair, Specimen, TiltSeries, Tomogram, Trace


def make_pair() -> Pair:
    rng = np.random.default_rng(1)
    specimen = Specimen(
        rng.normal(size=(5, 3)),
        np.array([46, 78, 78, 78, 46]),
        "five atoms",
        {"displacement_A": rng.normal(size=(5, 3))},
    )
    images = rng.random((3, 40, 40)).astype(np.float32)
    series = TiltSeries(
        images, np.array([-60.0, 0.0, 60.0]), 0.4, 1e4, "linear", {"shift_error_A": rng.normal(size=(3, 2))}
    )
    volume = rng.random((40, 40, 40)).astype(np.float32)
    return Pair(specimen, series, Tomogram(volume, 0.4, "degraded"), Tomogram(volume**2, 0.4, "ideal"))


def assert_same(first, second):
    assert type(first) is type(second)
    for item in fields(first):
        a, b = getattr(first, item.name), getattr(second, item.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)
        elif isinstance(a, dict):
            assert a.keys() == b.keys()
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])
        else:
            assert a == b


def test_what_is_written_is_read(tmp_path):
    pair, path = make_pair(), tmp_path / "deep" / "pair.h5"
    checksum = write_pair(path, pair, provenance={"identity": "abc", "versions": {"numpy": "2"}, "index": 3})
    read = read_pair(path)
    assert read.substrate is None
    for name in ("specimen", "series", "degraded", "ideal"):
        assert_same(getattr(pair, name), getattr(read, name))
        assert_same(getattr(pair, name), getattr(read, name))
    provenance = read_provenance(path)
    assert provenance["versions"] == {"numpy": "2"}
    assert (provenance["index"], provenance["sha256"]) == (3, checksum)
    assert [p.name for p in path.parent.iterdir()] == ["pair.h5"]


def test_unknown_dose_and_no_atoms_survive(tmp_path):
    series = replace(make_pair().series, dose_e_per_A2=None, engine="import", truth={})
    trace = Trace(np.zeros((0, 3)), np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0))
    write_records(tmp_path / "a.h5", {"series": series, "trace": trace}, provenance={})
    read = read_records(tmp_path / "a.h5")
    assert_same(series, read["series"])
    assert_same(trace, read["trace"])


def test_the_checksum_depends_on_contents_alone(tmp_path):
    first, second, other = (
        write_pair(tmp_path / name, make_pair(), provenance={"index": index})
        for name, index in (("a.h5", 1), ("b.h5", 1), ("c.h5", 2))
    )
    assert first == second != other


def test_a_patch_reads_without_the_rest(tmp_path):
    write_pair(tmp_path / "a.h5", make_pair(), provenance={})
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["degraded/volume"].chunks == (32, 32, 32)
        assert file["degraded"].attrs["scale"] > 0
        assert "scale" not in file["ideal"].attrs


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_truncated_files_are_one_clear_error(tmp_path, keep):
    path = tmp_path / "a.h5"
    write_pair(path, make_pair(), provenance={"identity": "abc"})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(ValueError, match=r"a\.h5"):
        read_records(path)
    assert not is_intact(path, identity="abc")


def test_an_altered_voxel_is_noticed(tmp_path):
    path = tmp_path / "a.h5"
    write_pair(path, make_pair(), provenance={"identity": "abc"})
    assert is_intact(path, identity="abc")
    assert not is_intact(path, identity="another")
    with h5py.File(path, "r+") as file:
        file["degraded/volume"][3, 4, 5] += 1
    assert not is_intact(path, identity="abc")
    with pytest.raises(ValueError, match="checksum"):
        read_pair(path)


def test_files_of_others_and_of_the_future_are_refused(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["data"] = [1, 2]
    with pytest.raises(ValueError, match="picotome import"):
        read_records(tmp_path / "other.h5")
    write_pair(tmp_path / "new.h5", make_pair(), provenance={})
    with h5py.File(tmp_path / "new.h5", "r+") as file:
        file.attrs["format_version"] = 99
    with pytest.raises(ValueError, match="upgrade"):
        read_records(tmp_path / "new.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(ValueError, match="not a readable HDF5 file"):
        read_records(tmp_path / "text.h5")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_records(tmp_path / "nowhere.h5")


def test_a_file_that_is_no_pair_says_what_it_lacks(tmp_path):
    write_records(tmp_path / "a.h5", {"series": make_pair().series}, provenance={})
    with pytest.raises(ValueError, match="lacks specimen, degraded, ideal"):
        read_pair(tmp_path / "a.h5")


def test_a_failed_write_leaves_the_old_file_and_nothing_half(tmp_path):
    path = tmp_path / "a.h5"
    write_pair(path, make_pair(), provenance={"identity": "old"})
    empty = replace(make_pair(), degraded=Tomogram(np.zeros((8, 8, 8), np.float32), 0.4, "degraded"))
    with pytest.raises(ValueError, match="empty"):
        write_pair(path, empty, provenance={"identity": "new"})
    assert is_intact(path, identity="old")
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
