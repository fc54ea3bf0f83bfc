"""Many pairs from one simulation: made once, shared by all, the same bits whoever makes it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
from pair_files import pair_file

from picotome.configs import load_recipe
from picotome.datasets import generate as generate_module
from picotome.datasets import pairs, simulations
from picotome.datasets.generate import generate
from picotome.datasets.naming import pair_identity
from picotome.datasets.pairs import make_pair
from picotome.datasets.plan import particle_plan, particle_simulation
from picotome.datasets.series import series_path
from picotome.datasets.store import read_pair
from picotome.simgen import acquisition
from picotome.simgen.linear import image_linear

_SETTINGS = (
    "optics.abtem={}",
    "training.patch_voxels=48",
    "acquisition.n_tilts=5",
    "acquisition.tilt_error_rms_deg=0.3",
    "acquisition.shift_error_rms_A=0.2",
    "reconstruction.n_iterations=3",
    "training_set.n_train=7",
    "training_set.n_validation=4",
    "training_set.n_prism=5",
    "training_set.simulation={n_series: 3, tilt_min_deg: -64, tilt_max_deg: 64, tilt_step_deg: 8}",
)
_RECIPE = load_recipe("smoke", list(_SETTINGS))


@pytest.fixture
def counted(monkeypatch):
    """The linear engine in the wave engine's place, and how many images it made in each call."""
    calls = []

    def image(specimen, *, rotations, **options):
        calls.append(len(rotations))
        return image_linear(specimen, rotations=rotations, **options)

    monkeypatch.setattr(acquisition, "ENGINES", {**acquisition.ENGINES, "prism": image})
    return calls


def test_pairs_of_one_particle_cost_one_simulation(counted, tmp_path):
    for index in (1, 0, 2):
        pairs.write_particle(_RECIPE, tmp_path, "train", index)
    assert counted == [17]
    # A lost pair is made again from the stored simulation.
    pair_file(tmp_path, "train", 1).unlink()
    pairs.write_particle(_RECIPE, tmp_path, "train", 1)
    assert counted == [17]
    # So is none that was damaged.
    (stored,) = (tmp_path / simulations.FOLDER).glob("*.h5")
    stored.write_bytes(stored.read_bytes()[:-100])
    pairs.write_particle(_RECIPE, tmp_path, "train", 2)
    assert counted == [17, 17]


def test_a_pair_is_the_same_from_a_stored_simulation_and_from_nothing(counted, tmp_path):
    pairs.write_particle(_RECIPE, tmp_path, "train", 4)
    stored, made = read_pair(pair_file(tmp_path, "train", 4)), make_pair(_RECIPE, "train", 4)
    np.testing.assert_array_equal(stored.series.images, made.series.images)
    np.testing.assert_array_equal(stored.series.tilt_deg, made.series.tilt_deg)
    np.testing.assert_array_equal(stored.degraded.volume, made.degraded.volume)
    np.testing.assert_array_equal(stored.ideal.volume, made.ideal.volume)


def test_draws_of_a_particle_share_its_atoms_and_nothing_that_is_drawn(counted):
    first, second, other = (make_pair(_RECIPE, "train", index) for index in (0, 1, 3))
    np.testing.assert_array_equal(first.specimen.positions_A, second.specimen.positions_A)
    assert not np.array_equal(first.specimen.positions_A[:50], other.specimen.positions_A[:50])
    for key in ("shift_error_A", "tilt_error_deg"):
        assert not np.isclose(first.series.truth[key], second.series.truth[key]).any(axis=0)[1]
    assert not np.array_equal(first.series.images, second.series.images)
    # The first pair's errors must not be those of the images that it is drawn from.
    shared = particle_simulation(_RECIPE, "train", 0)
    assert shared.index not in range(7)


def test_particles_stay_in_their_split_and_kinds_take_turns():
    kinds = [particle_plan(_RECIPE, "train", index)[0].kind for index in range(7)]
    # Five pairs by the wave engine, three to a particle; the rest by the linear engine, one to each.
    assert kinds == ["wulff"] * 3 + ["core_shell"] * 2 + ["core_shell", "wulff"]
    seen = {}
    for split, n in (("train", 7), ("validation", 4), ("held_out", 2)):
        for index in range(n):
            shared = particle_simulation(_RECIPE, split, index)
            assert (shared is not None) == (split == "train" and index < 5)
            if shared is not None:
                assert seen.setdefault(shared.index, split) == split
    assert len(seen) == 2


def test_one_series_for_each_particle_is_as_ever(tiny_recipe):
    off = [s for s in _SETTINGS if "simulation" not in s]
    without = load_recipe("smoke", off)
    assert particle_simulation(without, "train", 0) is None
    # Pairs that no simulation is shared for keep their files.
    assert pair_identity(without, "train", 6) == pair_identity(_RECIPE, "train", 6)
    assert pair_identity(without, "held_out", 0) == pair_identity(_RECIPE, "held_out", 0)
    assert pair_identity(without, "train", 0) != pair_identity(_RECIPE, "train", 0)


def test_whoever_comes_while_a_simulation_is_made_waits(counted, tmp_path):
    shared = particle_simulation(_RECIPE, "train", 0)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: simulations.stored_simulation(shared, tmp_path), range(4)))
    assert counted == [17]
    for _, series in found[1:]:
        np.testing.assert_array_equal(series.images, found[0][1].images)


def test_pairs_that_would_wait_for_a_simulation_come_last(tmp_path, monkeypatch):
    handed = []
    monkeypatch.setattr(generate_module, "connect_workers", lambda *_, **__: nullcontext())
    monkeypatch.setattr(generate_module, "tilts_shown", lambda *_, **__: nullcontext())
    monkeypatch.setattr(
        generate_module, "spread", lambda client, work, orders, **_: handed.extend(orders) or []
    )
    with pytest.raises(KeyError):
        # Nothing is made, and so nothing can be told of it.
        generate(_RECIPE, tmp_path, splits=("train",))
    assert [order.task[1] for order in handed] == [0, 3, 5, 6, 1, 4, 2]


def test_who_dies_while_simulating_leaves_nothing(counted, tmp_path, monkeypatch):
    shared = particle_simulation(_RECIPE, "train", 0)

    def die(*args, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("picotome.datasets.series.write_records", die)
        with pytest.raises(KeyboardInterrupt):
            simulations.stored_simulation(shared, tmp_path)
    folder = tmp_path / simulations.FOLDER
    assert list(folder.glob("*.h5")) == []
    simulations.stored_simulation(shared, tmp_path)
    assert [path.name for path in folder.glob("*.h5")] == [series_path(shared, folder).name]


def test_the_order_in_which_pairs_are_made_changes_no_bit(counted, tmp_path):
    checksums = [
        {index: pairs.write_particle(_RECIPE, tmp_path / name, "train", index)[0] for index in order}
        for name, order in (("up", (0, 1, 2)), ("down", (2, 1, 0)))
    ]
    assert checksums[0] == checksums[1]


@pytest.mark.slow
def test_workers_share_a_simulation(tmp_path):
    """Real PRISM in two processes: three pairs of one tiny particle, one simulation of two images."""
    recipe = load_recipe(
        "smoke",
        [
            *[s for s in _SETTINGS if "abtem" not in s],
            "acquisition={tilt_min_deg: -14, tilt_max_deg: 14, n_tilts: 2}",
            "training_set.n_train=3",
            "training_set.n_prism=3",
            "training_set.simulation={n_series: 3, tilt_min_deg: -14, tilt_max_deg: 14, tilt_step_deg: 28}",
        ],
    )
    entries = generate(recipe, tmp_path, splits=("train",), n_workers=2)
    assert [entry.error for entry in entries] == ["", "", ""]
    assert len(list((tmp_path / simulations.FOLDER).glob("*.h5"))) == 1
    pair_file(tmp_path, "train", 2).unlink()
    (again,) = (pairs.write_particle(recipe, tmp_path, "train", 2) for _ in range(1))
    assert again[0] == entries[2].sha256


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training_set.simulation={tilt_max_deg: 50}", "widen"),
        ("acquisition.tilt_offset_deg=[0, 16]", "reach from -60 to 76.*widen"),
        ("training_set.simulation={tilt_step_deg: 30, tilt_min_deg: -60, tilt_max_deg: 60}", "tilt_step_deg"),
        ("training_set.simulation={tilt_min_deg: 80}", "not above tilt_min_deg"),
        ("training_set.simulation={n_series: 1}", "n_series"),
        ("training_set.n_prism=0", "nothing would be shared"),
        ("substrate={material: carbon}", "simulation and substrate are both set.*leave one"),
        ("acquisition.scheme=dual_axis", "scheme is dual_axis; allowed with it is single_axis"),
    ],
)
def test_simulations_that_would_not_do_are_refused(setting, message):
    base = ["training_set.n_prism=2", "training_set.simulation={}", "acquisition.n_tilts=7"]
    load_recipe("smoke", base)
    with pytest.raises(ValueError, match=message):
        load_recipe("smoke", [*base, setting])
