"""The table is fixed and complete."""

from dataclasses import replace

import pytest

from picotome.benchmark.plan import (
    command_of,
    full_plan,
    particle_engines,
    quick_plan,
    with_particle,
)
from picotome.datasets.series import series_identity
from picotome.rng import stream
from picotome.simgen.particles import build_specimen


def built(series):
    return build_specimen(
        series.specimen, volume=series.volume, rng=stream(series.seed, series.index, "build")
    )


def test_every_specimen_meets_every_imperfection_and_dose():
    groups = [(s.specimen, s.imperfection, dose) for s, dose in full_plan().groups]
    assert len(groups) == len(set(groups)) == 27
    for column, names in enumerate((("Pt", "Pd@Pt", "PtNi"), ("none", "middle", "worst"), (1e3, 1e4, 1e5))):
        assert {group[column] for group in groups} == set(names)


def test_the_full_table_is_wave_optics_over_one_wedge():
    for scene in full_plan().scenes:
        series, tilts = scene.series, scene.series.acquisition
        assert (series.engine, series.volume.n_voxels, series.volume.voxel_size_A) == ("prism", 72, 0.4)
        assert (tilts.n_tilts, tilts.tilt_min_deg, tilts.tilt_max_deg) == (21, -65.0, 65.0)
        assert tilts.dose_e_per_A2 is None
        assert series.optics.source_size_A == 0.3


def test_imperfections_are_those_of_the_table():
    wanted = {
        "none": (0, 0, 0, 0, 0, ()),
        "middle": (0.3, 0.2, 0, 0, 0, ("tilt", "turns", "shifts")),
        "worst": (0.6, 0.4, 15, 0.02, 0.05, ("tilt", "turns", "shifts", "defocus")),
    }
    keys = ("tilt_error_rms_deg", "shift_error_rms_A", "defocus_rms_A", "background", "gain_rms")
    for scene in full_plan().scenes:
        *numbers, geometry = wanted[scene.imperfection]
        found = scene.series.acquisition.model_dump()
        assert [found[key] for key in keys] == [(n, n) for n in numbers]
        assert scene.refinement.geometry == geometry


@pytest.mark.parametrize(("plan", "low", "high"), [(full_plan(), 390, 410), (quick_plan(), 165, 205)])
def test_particles_are_as_large_as_the_table_says_and_fit_the_box(plan, low, high):
    for scene in plan.scenes:
        if scene.imperfection == "none":
            assert low <= len(built(scene.series).positions_A) <= high


def test_an_imperfection_changes_the_images_and_not_the_specimen():
    none, middle, worst = (s.series for s in full_plan().scenes[:3])
    assert (built(none).positions_A == built(worst).positions_A).all()
    assert len({series_identity(series) for series in (none, middle, worst)}) == 3


def test_identity_follows_what_changes_a_series_and_nothing_else():
    series = full_plan().scenes[0].series
    identity = series_identity(series)
    optics = series.optics
    brighter = optics.linear.model_copy(update={"brightness_A2": {"Pt": 0.1}})
    for unchanged in ({"name": "other"}, {"optics": optics.model_copy(update={"linear": brighter})}):
        assert series_identity(replace(series, **unchanged)) == identity
    for changed in (
        {"seed": 1},
        {"index": 1},
        {"engine": "multislice"},
        {"volume": series.volume.model_copy(update={"n_voxels": 80})},
        {"optics": optics.model_copy(update={"source_size_A": 0.4})},
        {"specimen": series.specimen.model_copy(update={"diameter_A": (20.0, 20.0)})},
        {"acquisition": series.acquisition.model_copy(update={"n_tilts": 20})},
    ):
        assert series_identity(replace(series, **changed)) != identity
    linear = replace(series, engine="linear")
    other = replace(linear, optics=optics.model_copy(update={"linear": brighter}))
    assert series_identity(linear) != series_identity(other)


def test_a_particle_joins_at_every_level_with_each_engine(tmp_path):
    path = tmp_path / "mine.xyz"
    path.write_text("1\n\nPt 0 0 0\n")
    plan = with_particle(full_plan(), path, engines=particle_engines(["prism", "linear"]))
    added = [(s.specimen, s.imperfection, s.series.engine) for s, _ in plan.groups if s.specimen == "mine"]
    assert len(added) == 18
    assert len(set(added)) == 6
    assert plan.scenes[:9] == full_plan().scenes
    # The file's contents count, not its name.
    before = series_identity(plan.scenes[-1].series)
    path.write_text("1\n\nPt 0 0 1\n")
    assert series_identity(plan.scenes[-1].series) != before
    with pytest.raises(FileNotFoundError, match="--particle"):
        with_particle(full_plan(), tmp_path / "none.xyz", engines=("linear",))
    with pytest.raises(ValueError, match="--particle-engine is 'multislice'"):
        particle_engines(["multislice"])


def test_the_command_of_a_plan_makes_that_plan(tmp_path):
    assert command_of(full_plan()) == "picotome benchmark --out benchmark"
    assert command_of(quick_plan()) == "picotome benchmark --out benchmark --quick"
    file = tmp_path / "mine.xyz"
    file.write_text("1\n\nPt 0 0 0\n")
    for engines, said in (
        (("prism",), "--particle-engine prism"),
        (("linear", "prism"), "--particle-engine linear --particle-engine prism"),
    ):
        command = command_of(with_particle(full_plan(), file, engines=engines))
        assert command == f"picotome benchmark --out benchmark --particle mine.xyz {said}"
