import pickle
from pathlib import Path

import pytest
import yaml

from picotome.configs import load_recipe, preset_names, recipe_to_yaml
from picotome.configs.loading import parse_recipe


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_survive_a_round_trip(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert parse_recipe(yaml.safe_load(recipe_to_yaml(recipe)), "text") == recipe


def test_paper_is_the_published_recipe():
    paper = load_recipe("paper")
    assert (paper.volume.n_voxels, paper.volume.voxel_size_A) == (144, 0.357)
    assert (paper.training_set.n_train, paper.training_set.n_validation) == (10_000, 1_000)
    assert paper.acquisition.n_tilts == 21
    assert paper.engine == paper.training_set.engine == "linear"


def test_set_reaches_any_depth():
    recipe = load_recipe("quickstart", ["optics.abtem.scan_step_A=0.1", "seed=3"])
    assert (recipe.optics.abtem.scan_step_A, recipe.seed) == (0.1, 3)


def test_set_reaches_into_lists():
    settings = [
        "specimens=[{kind: wulff, modifiers: [{kind: vacancies, fraction: 0.1}]}, {kind: blob}]",
        "specimens.0.modifiers.0.fraction=0.2",
        "specimens.1.diameter_A=[13, 14]",
        "specimens.1.diameter_A.0=12.5",
    ]
    wulff, blob = load_recipe("quickstart", settings).specimens
    assert wulff.modifiers[0].fraction == (0.2, 0.2)
    assert blob.diameter_A == (12.5, 14.0)


def test_set_changes_one_place_of_what_a_recipe_says_once():
    recipe = load_recipe("quickstart", ["specimens.0.element=Au", "specimens.0.diameter_A=14"])
    assert (recipe.specimens[0].element, recipe.training_set.specimens[0].element) == ("Au", "Pt")
    assert recipe.training_set.specimens[0].diameter_A == (16.0, 20.0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("specimens.2.diameter_A=12", ["specimens.2", "'2'", "list of 2", "0 to 1"]),
        ("specimens.first.diameter_A=12", ["'first'", "list of 2", "0 to 1"]),
        ("specimens.-1.diameter_A=12", ["'-1'", "list of 2", "0 to 1"]),
        ("specimens.0.modifiers.0.fraction=1", ["lists no modifiers", "whole list"]),
        ("specimens.0.diameter_A.2=1", ["'2'", "list of 2"]),
        ("specimens.0.kind.0=w", ["'kind'", "not a section"]),
        ("acquisition.dose=100", ["acquisition.dose", "unknown key"]),
        ("volume.n_voxels=many", ["volume.n_voxels", "'many'"]),
        ("optics.detector_outer_mrad=300", ["detector_outer_mrad", "300", "sampling_A"]),
        ("optics.convergence_mrad=60", ["convergence_mrad", "60", "direct beam"]),
        ("acquisition.tilt_max_deg=-80", ["tilt_max_deg", "-80"]),
        ("acquisition.dose_e_per_A2=[5, 2]", ["dose_e_per_A2", "low, high"]),
        ("acquisition.dose_e_per_A2=0", ["dose_e_per_A2", "more than 0"]),
        ("specimens=[{kind: wulff, diameter_A: 90}]", ["specimens[0].diameter_A", "90", "volume.n_voxels"]),
        ("specimens=[{kind: wulff, element: Xx}]", ["'Xx'", "chemical symbol"]),
        ("specimens=[{kind: cube}]", ["'cube'", "wulff"]),
        ("specimens=[{kind: core_shell, shell_thickness_A: 9}]", ["shell_thickness_A", "9", "core"]),
        (
            "specimens=[{kind: alloy, composition: {Pt: 0.5, Ni: 0.4}}]",
            ["composition", "0.9", "allowed is 1"],
        ),
        ("specimens=[{kind: alloy, composition: {Pt: 1.5}}]", ["composition", "1.5"]),
        ("specimens=[{kind: alloy, composition: {}}]", ["composition"]),
        ("specimens=[{kind: alloy, surface: Au}]", ["surface", "Au", "Pt, Ni"]),
        ("specimens=[{kind: alloy, order: L1_0, composition: {Pt: 1}}]", ["order", "two or more"]),
        ("specimens=[{kind: alloy, order: L1_2, short_range_order: 0.1}]", ["short_range_order", "random"]),
        ("specimens=[{kind: alloy, short_range_order: -0.5}]", ["short_range_order", "-0.5", "-0.3"]),
        ("optics.defocus_A=900", ["optics.defocus_A", "900", "200"]),
        ("acquisition.defocus_rms_A=-1", ["acquisition.defocus_rms_A", "-1", "0 to 50"]),
        ("acquisition.gain_rms=[0.1, 0.7]", ["acquisition.gain_rms", "0.7", "0 to 0.5"]),
        ("acquisition.tilt_error_rms_deg=[0.5, 0.1]", ["tilt_error_rms_deg", "low, high"]),
        ("training_set.n_prism=161", ["training_set", "n_prism", "161", "160"]),
        ("training_set.tilt_max_deg=[66, 70]", ["acquisition.tilt_min_deg", "-65", "66", "tilt_max_deg"]),
        ("training_set.tilt_max_deg=[50, 64]", ["acquisition.tilt_min_deg", "-65", "64", "tilt_max_deg"]),
        (
            "training_set.tilt_step_deg=[7, 10]",
            ["6.5°", "21 tilts from -65 to 65", "7 to 10°", "tilt_step_deg"],
        ),
        ("training_set.tilt_step_deg=[3, 6]", ["6.5°", "3 to 6°", "training_set.tilt_step_deg"]),
        ("training_set.tilt_step_deg=0.1", ["training_set.tilt_step_deg", "0.1", "0.2 to 60"]),
        ("acquisition.tilt_offset_deg=[-30, 10]", ["tilt_offset_deg", "-95", "-90 to 90"]),
        (
            "acquisition.tilt_offset_deg=5",
            ["acquisition.tilt_offset_deg", "[5.0, 5.0]", "[0.0, 0.0]", "wedge"],
        ),
        ("training_set.tilt_max_deg=95", ["training_set.tilt_max_deg", "95", "90"]),
        ("ideal.peak_sigma_A=0.2", ["peak_sigma_A", "0.2", "0.28"]),
        ("acquisition.tilt_max_deg=50", ["training_set.acquisition.tilt_max_deg", "65", "50", "wedge"]),
        ("training.patch_voxels=512", ["patch_voxels", "512"]),
        ("seed.deeper=1", ["seed"]),
        ("seed", ["key=value"]),
    ],
)
def test_bad_values_are_named_with_what_is_allowed(override, words):
    with pytest.raises(ValueError) as caught:
        load_recipe("quickstart", [override])
    for word in words:
        assert word in str(caught.value)


def test_yaml_that_would_run_code_is_refused(tmp_path):
    recipe = tmp_path / "evil.yaml"
    marker = tmp_path / "ran"
    recipe.write_text(f"name: !!python/object/apply:os.system ['touch {marker}']\n")
    with pytest.raises(ValueError, match="not plain YAML"):
        load_recipe(str(recipe))
    assert not marker.exists()


@pytest.mark.parametrize(
    ("text", "words"), [("- 1\n", "mapping"), ("a: [", "not plain YAML"), ("", "mapping")]
)
def test_files_that_are_no_recipes(tmp_path, text, words):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text)
    with pytest.raises(ValueError, match=words):
        load_recipe(str(recipe))


def test_a_missing_recipe_names_the_presets():
    with pytest.raises(FileNotFoundError, match="quickstart"):
        load_recipe("nowhere")


def test_a_recipe_is_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("smoke").seed = 1


def test_the_tilts_of_a_training_set_reach_as_far_as_its_wedges_turn():
    turned = ["acquisition.tilt_offset_deg=5", "training_set.acquisition.tilt_offset_deg=[-10, 20]"]
    assert load_recipe("quickstart").learned_tilts_deg == (-65, 65)
    assert load_recipe("quickstart", turned).learned_tilts_deg == (-75, 85)
    wedge = "training_set.tilt_max_deg=[58, 70]"
    assert load_recipe("quickstart", [*turned, wedge]).learned_tilts_deg == (-80, 90)
    with pytest.raises(ValueError, match=r"tilt_max_deg and training_set.acquisition.tilt_offset_deg.* 91"):
        load_recipe("quickstart", [*turned, "training_set.tilt_max_deg=[58, 71]"])


def test_a_network_that_learns_several_steps_may_be_used_on_any_of_them():
    with pytest.raises(ValueError, match=r"training_set.acquisition.n_tilts is 21, acquisition.n_tilts 41"):
        load_recipe("quickstart", ["acquisition.n_tilts=41"])
    chosen = load_recipe("quickstart", ["acquisition.n_tilts=41", "training_set.tilt_step_deg=[2, 7]"])
    assert chosen.learned_steps_deg == (2, 7)
    assert load_recipe("quickstart").learned_steps_deg == (6.5, 6.5)


def test_a_simulation_must_have_as_many_tilts_as_the_finest_step_asks_for():
    shared = ["training_set.n_prism=10", "training_set.simulation={tilt_step_deg: 4}"]
    load_recipe("quickstart", [*shared, "training_set.tilt_step_deg=[4, 7]"])
    with pytest.raises(ValueError, match=r"has 39 tilts, fewer than the 44 images.*tilt_step_deg"):
        load_recipe("quickstart", [*shared, "training_set.tilt_step_deg=[3, 7]"])


def test_a_number_and_a_range_of_it_are_the_same():
    one, pair = (
        load_recipe("smoke", [f"acquisition.shift_error_rms_A={value}"]) for value in ("0.2", "[0.2, 0.2]")
    )
    assert one == pair


def test_the_reference_is_true():
    """Make it anew with: python -m picotome.configs.reference > docs/recipe.md."""
    from picotome.configs.reference import recipe_reference

    assert (Path(__file__).parents[2] / "docs" / "recipe.md").read_text("utf-8") == recipe_reference()


@pytest.mark.parametrize("text", ["1e4", "10000", "1.0e4", "[1e4, 1.0e+4]"])
def test_a_dose_is_written_as_people_write_it(text):
    assert load_recipe("smoke", [f"acquisition.dose_e_per_A2={text}"]).acquisition.dose_e_per_A2 == (1e4, 1e4)


def test_a_range_may_state_its_law_and_keeps_it():
    recipe = load_recipe("smoke", ["specimens=[{kind: wulff, diameter_A: {normal: [9, 11]}}]"])
    again = parse_recipe(yaml.safe_load(recipe_to_yaml(recipe)), "text")
    assert again == recipe
    assert recipe.specimens[0].diameter_A.law == "normal"
    # Laws differ where the numbers do not.
    assert recipe != load_recipe("smoke", ["specimens=[{kind: wulff, diameter_A: {log: [9, 11]}}]"])
    assert pickle.loads(pickle.dumps(recipe)) == recipe


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{lag: [1, 2]}", ["diameter_A", "uniform, log, normal", "lag"]),
        ("{log: [0, 2]}", ["diameter_A", "above 0"]),
        ("{log: [3, 2]}", ["diameter_A", "low, high"]),
        ("{normal: [9, 99]}", ["diameter_A", "99", "box"]),
    ],
)
def test_bad_laws_are_named(value, words):
    with pytest.raises(ValueError) as caught:
        load_recipe("smoke", [f"specimens=[{{kind: wulff, diameter_A: {value}}}]"])
    for word in words:
        assert word in str(caught.value)


def test_a_list_of_names_is_one_entry_for_each():
    text = "[{kind: alloy, order: [L1_0, L1_2], surface: [Pt, Ni], diameter_A: 10, weight: 2}, {kind: wulff}]"
    recipe = load_recipe("quickstart", [f"specimens={text}"])
    made = [(s.kind, s.weight) for s in recipe.specimens]
    assert made == [("alloy", 0.5)] * 4 + [("wulff", 1.0)]
    assert {(s.order, s.surface) for s in recipe.specimens[:4]} == {
        (order, surface) for order in ("L1_0", "L1_2") for surface in ("Pt", "Ni")
    }
    with pytest.raises(ValueError, match="'Xx'"):
        load_recipe("quickstart", ["specimens=[{kind: wulff, element: [Pt, Xx]}]"])


@pytest.mark.parametrize(
    ("modifier", "words"),
    [
        ("{kind: bend}", ["modifiers", "'bend'", "strain_gradient"]),
        ("{kind: strain, xx: 0.5}", ["xx", "0.5", "-0.2 to 0.2"]),
        ("{kind: vacancies, fraction: 2}", ["fraction", "2", "0 to 0.5"]),
        ("{kind: static_disorder}", ["static_disorder", "rms_A"]),
        ("{kind: adatoms, element: Xx}", ["element", "'Xx'"]),
    ],
)
def test_bad_modifiers_are_named(modifier, words):
    with pytest.raises(ValueError) as caught:
        load_recipe("quickstart", [f"specimens=[{{kind: wulff, modifiers: [{modifier}]}}]"])
    for word in words:
        assert word in str(caught.value)


def test_a_bad_entry_of_a_list_is_told_once():
    with pytest.raises(ValueError, match="at most 2 items") as caught:
        load_recipe("smoke", ["specimens=[{kind: wulff, diameter_A: [1, 2, 3]}]"])
    assert "at least 1 item" not in str(caught.value)
    with pytest.raises(ValueError, match=r"specimens: found .* at least 1 item"):
        load_recipe("smoke", ["specimens=[]"])


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["substrate={}"], ["training_set.simulation and substrate", "leave one of them out"]),
        (["acquisition.scheme=dual_axis"], ["training_set.simulation", "dual_axis", "single_axis"]),
        (["acquisition.tilt_max_deg=80"], ["training_set.simulation covers", "-75 to 75", "80"]),
        (["training_set.n_prism=0"], ["simulation saves", "n_prism 0"]),
    ],
)
def test_a_simulation_that_cannot_give_the_series_is_refused(overrides, words):
    shared = ["training_set.n_prism=2", "training_set.simulation={n_series: 2}"]
    load_recipe("smoke", shared)
    with pytest.raises(ValueError) as caught:
        load_recipe("smoke", [*shared, *overrides])
    for word in words:
        assert word in str(caught.value)
