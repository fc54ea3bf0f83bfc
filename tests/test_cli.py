"""The whole job and every command, through the command line, as a user would."""

import json
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from picotome.configs.imaging import LinearConfig
from picotome.configs.loading import load_recipe
from picotome.configs.schema import ScoringConfig
from picotome.datasets.store import read_records
from picotome.simgen.brightness import cross_section_A2
from picotome.simgen.calibration import with_linear
from picotome.trace.scoring import score_trace

COMMANDS = (
    "run",
    "generate",
    "simulate",
    "import",
    "reconstruct",
    "train",
    "apply",
    "trace",
    "refine",
    "locate",
    "score",
    "benchmark",
    "calibrate",
    "show",
)


def picotome(*arguments, code=0):
    command = [sys.executable, "-W", "ignore", "-m", "picotome", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def picotome_fails(*arguments):
    text = picotome(*arguments, code=1)
    errors = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, text
    return text


@pytest.fixture(scope="module")
def smoke_run(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "smoke"
    return out, picotome("run", "smoke", "--out", out)


@pytest.fixture(scope="module")
def particle(tmp_path_factory):
    path = tmp_path_factory.mktemp("particle") / "particle.xyz"
    from ase.build import bulk

    atoms = bulk("Pt", cubic=True) * (3, 3, 3)
    positions = atoms.positions - atoms.positions.mean(0)
    inside = np.linalg.norm(positions, axis=1) < 5.5
    rows = "".join(f"Pt {x} {y} {z}\n" for x, y, z in positions[inside])
    path.write_text(f"{inside.sum()}\n\n{rows}")
    return path


@pytest.mark.slow
def test_the_whole_job(smoke_run):
    out, text = smoke_run
    summary = json.loads((out / "summary.json").read_text())
    assert [item["engine"] for item in summary["specimens"]] == ["prism", "prism"]
    assert set(summary["timings_s"]) >= {"generate", "train", "apply_trace_refine_score", "report"}
    assert summary["recipe"]["name"] == "smoke"
    for item in summary["specimens"]:
        assert item["dose_e_per_A2"] == 2e4
        bound = item["bound"]
        assert 0 < bound["crlb_pm"] == pytest.approx(np.linalg.norm(bound["crlb_axis_pm"]))
        assert set(item["stages"]) == {"raw", "unet", "refined", "joint"}
        for stage in item["stages"]:
            numbers = item["stages"][stage]
            assert numbers["n_true"] == item["n_true"] > 20
            assert 0 <= numbers["recall"] <= 1
            assert numbers["radius_A"] == 0.75
            assert len(numbers["rmsd_axis_pm"]) == 3
            assert numbers["crlb_pm"] == bound["crlb_pm"]
            assert numbers["efficiency"] == pytest.approx(numbers["rigid_rmsd_pm"] / bound["crlb_pm"])
        assert item["stages"]["raw"]["recall"] > 0.8
        assert item["stages"]["refined"]["rmsd_pm"] < item["stages"]["raw"]["rmsd_pm"]
    html = (out / "report.html").read_text("utf-8")
    assert "data:image/png;base64," in html
    assert 'src="http' not in html
    assert "RMSD" in text
    assert f"report: {out / 'report.html'}" in text
    for name in ("slices", "fourier", "errors", "atoms", "calibration"):
        assert len(list((out / "figures").glob(f"*_{name}.png"))) == 2


@pytest.mark.slow
def test_the_same_command_again_makes_nothing_anew(smoke_run):
    out, _ = smoke_run
    files = [*(out / "dataset").rglob("*.h5"), out / "model" / "best.safetensors"]
    before = {path: path.stat().st_mtime_ns for path in files}
    first = json.loads((out / "summary.json").read_text())["specimens"]
    picotome("run", "smoke", "--out", out)
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert json.loads((out / "summary.json").read_text())["specimens"] == first


@pytest.mark.slow
def test_show_knows_everything_a_run_makes(smoke_run, tmp_path):
    out, _ = smoke_run
    assert "summary of a run of 'smoke'" in picotome("show", out)
    assert "a dataset" in picotome("show", out / "dataset")
    assert "true atoms of Pt" in picotome(
        "show", next(out.glob("dataset/held_out/particle_000000_*.h5")), "--out", tmp_path / "a.png"
    )
    assert len(list(tmp_path.glob("a_*.png"))) == 4
    assert "weights of a 3D U-Net" in picotome("show", out / "model/best.safetensors")
    assert "epochs of training" in picotome("show", out / "model/history.json", "--out", tmp_path / "h.png")
    assert "convergence_mrad" in picotome("show", out / "recipe.yaml")


def test_each_stage_is_a_command(particle, tiny_dataset, tmp_path):
    series, tomogram, repaired = (tmp_path / name for name in ("series.h5", "tomogram.h5", "repaired.h5"))
    recipe = ["--recipe", "smoke", "--set", "volume.n_voxels=48", "--set", "acquisition.n_tilts=15"]
    picotome("simulate", particle, "--engine", "linear", *recipe, "--out", series)
    picotome("reconstruct", series, "--out", tomogram, "--iterations", 30)
    picotome("trace", tomogram, "--elements", "Pt", "--out", tmp_path / "atoms.h5")
    picotome("trace", tomogram, "--elements", "Pt", "--out", tmp_path / "atoms.xyz")
    for found in ("atoms.h5", "atoms.xyz"):
        for truth in (series, particle):
            picotome("score", tmp_path / found, truth, "--out", tmp_path / "score.json")
            score = json.loads((tmp_path / "score.json").read_text())
            assert score["recall"] == score["precision"] == 1
            assert score["rmsd_pm"] < 15
    text = picotome("refine", tmp_path / "atoms.h5", series, "--out", tmp_path / "refined.h5")
    assert "expected from counting" in text
    # The series says what optics it was simulated with.
    assert "interference" in text
    picotome("score", tmp_path / "refined.h5", series, "--out", tmp_path / "better.json")
    assert json.loads((tmp_path / "better.json").read_text())["rigid_rmsd_pm"] < score["rigid_rmsd_pm"]
    assert "fit to 15 images" in picotome("show", tmp_path / "refined.h5")
    known = tmp_path / "known.h5"
    picotome("reconstruct", series, "--refined", tmp_path / "refined.h5", "--out", known)
    picotome("trace", known, "--elements", "Pt", "--out", tmp_path / "known_atoms.h5")
    picotome("score", tmp_path / "known_atoms.h5", series, "--out", tmp_path / "known.json")
    assert json.loads((tmp_path / "known.json").read_text())["rigid_rmsd_pm"] < score["rigid_rmsd_pm"]
    picotome("train", tiny_dataset, "--out", tmp_path / "model")
    picotome("apply", tomogram, "--model", tmp_path / "model", "--out", repaired)
    assert "repaired tomogram (48, 48, 48)" in picotome("show", repaired)
    assert "traced" not in picotome("trace", repaired, "--elements", "Pt", "--out", tmp_path / "again.h5")
    picotome("refine", tmp_path / "again.h5", series, "--out", tmp_path / "vouched.h5")
    # What the network says of an atom goes with it.
    for found in ("again.h5", "vouched.h5"):
        chance = read_records(tmp_path / found)["trace"].chance
        assert ((chance > 0.5) & (chance <= 1.0)).all()


def test_network_and_images_place_atoms_together(particle, tmp_path):
    """From series to atoms in one command; the truth is only held against them."""
    series, out = tmp_path / "series.h5", tmp_path / "atoms.h5"
    noisy = ["--set", "volume.n_voxels=48", "--set", "acquisition.n_tilts=15"]
    noisy += ["--set", "acquisition.dose_e_per_A2=1e3"]
    picotome("simulate", particle, "--engine", "linear", "--recipe", "smoke", *noisy, "--out", series)
    text = picotome("locate", series, "--elements", "Pt", "--out", out)
    assert "network's weight" in text
    found = read_records(out)
    joint, images, network = (found[name] for name in ("trace", "trace_refined", "trace_unet"))
    (weight,) = set(joint.network_weight[joint.network_weight > 0])
    assert 0 < weight <= 1
    assert f"{weight:.2f}" in text
    assert len(joint.positions_A) == len(images.positions_A) and len(network.positions_A)
    assert (joint.uncertainty_pm < images.uncertainty_pm).all()
    scores = {}
    for name, trace in (("images", images), ("joint", joint)):
        scores[name] = score_trace(trace, found["specimen"], config=ScoringConfig())
    assert scores["joint"].recall == scores["joint"].precision == 1
    assert scores["joint"].rigid_rmsd_pm < scores["images"].rigid_rmsd_pm
    assert (
        "network_weight"
        in picotome("export", out, "--out", tmp_path / "atoms.xyz", code=0)
        + (tmp_path / "atoms.xyz").read_text()
    )
    picotome("locate", series, "--elements", "Pt", "--out", tmp_path / "again.h5")
    again = read_records(tmp_path / "again.h5")["trace"]
    np.testing.assert_array_equal(again.positions_A, joint.positions_A)


def test_generate_reports_the_particles_that_failed(tiny_settings, tmp_path):
    settings = [part for item in tiny_settings for part in ("--set", item)]
    specimens = "specimens=[{kind: file, path: nowhere.xyz}, {kind: wulff, diameter_A: 9}]"
    text = picotome(
        "generate", "smoke", "--out", tmp_path, *settings, "--set", specimens, "--workers", 1, code=1
    )
    assert "failed: held_out 0:" in text
    assert "nowhere.xyz" in text
    assert "5 of 6 particles" in text


def test_calibrate_mends_a_recipe(tmp_path):
    kinds = '[{"kind": "wulff", "element": "Pt", "diameter_A": [8, 8]}]'
    sets = [
        f"specimens={kinds}",
        f"training_set.specimens={kinds}",
        "optics.source_size_A=0.3",
        # A narrow detector allows a coarse grid; the recipe's Pt is half as bright again as it should be.
        "optics.detector_outer_mrad=60",
        "optics.abtem.sampling_A=0.1",
        'optics.linear.brightness_A2={"Pt": 0.021}',
    ]
    out = tmp_path / "calibrated.yaml"
    knobs = [word for setting in sets for word in ("--set", setting)]
    text = picotome("calibrate", "smoke", "--out", out, "--images", 3, *knobs)
    assert "held out" in text and str(out) in text
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    optics = load_recipe(str(out)).optics
    free_A2 = cross_section_A2("Pt", optics=with_linear(optics, LinearConfig()))
    assert optics.linear.brightness_A2["Pt"] == pytest.approx(free_A2, rel=0.1)
    head = out.read_text("utf-8")
    after, before = (float(head.split(mark)[1].split("%")[0]) for mark in (") by\n#   ", "(before: "))
    assert after < 12.0 < 25.0 < before
    wrong = picotome_fails("calibrate", "smoke", "--out", tmp_path / "c.txt")
    assert "allowed is a name that ends in .yaml" in wrong


def test_show_draws_a_contact_sheet_of_a_recipe(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "name: mine\nvolume: {n_voxels: 64, voxel_size_A: 0.4}\n"
        "training_set:\n  specimens: [{kind: alloy, diameter_A: [10, 14]}]\n"
        "specimens:\n  - {kind: core_shell, diameter_A: 12, shell_thickness_A: 2.5}\n"
        "  - {kind: file, path: nowhere.xyz}\n"
    )
    text = picotome("show", recipe)
    assert "convergence_mrad" in text
    assert "# held_out 8: Pd@Pt core-shell" in text
    assert "# held_out 7 cannot be built: " in text and "nowhere.xyz" in text
    assert "# train 0: Pt" in text
    for picture in ("mine.png", "mine_train.png"):
        assert f"picture: {tmp_path / picture}" in text
        assert (tmp_path / picture).stat().st_size > 50_000
    picotome("show", "smoke", "--out", tmp_path / "preset.png")
    # One sheet: the training set of smoke is of the same kinds.
    assert [path.name for path in tmp_path.glob("preset*")] == ["preset.png"]
    assert "presets are" in picotome_fails("show", "no_such_preset")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_gives_an_example(command):
    assert f"Example: picotome {command}" in " ".join(picotome(command, "--help").split())


def test_help_is_quick():
    def seconds(*command):
        begun = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, capture_output=True)
        return time.perf_counter() - begun

    # Against the interpreter's own start, so that a busy machine does not matter.
    bare = min(seconds("-c", "import typer, rich.console") for _ in range(3))
    assert min(seconds("-m", "picotome", "--help") for _ in range(3)) < 4 * bare


def test_bad_input_is_one_clear_error(particle, tiny_dataset, tmp_path):
    good = next(tiny_dataset.glob("held_out/particle_000000_*.h5"))
    truncated, other, text, nan, empty = (
        tmp_path / name for name in ("truncated.h5", "other.h5", "text.h5", "nan.npz", "empty.h5")
    )
    truncated.write_bytes(good.read_bytes()[:5000])
    with h5py.File(other, "w") as file:
        file["data"] = np.zeros(3)
    text.write_text("hello")
    out = tmp_path / "out.h5"
    assert "truncated.h5" in picotome_fails("reconstruct", truncated, "--out", out)
    assert "picotome import" in picotome_fails("reconstruct", other, "--out", out)
    assert "not a readable HDF5 file" in picotome_fails("show", text)
    assert "nowhere" in picotome_fails("show", tmp_path / "nowhere.h5")
    assert "holds no TiltSeries" in picotome_fails("reconstruct", _trace_file(good, tmp_path), "--out", out)
    told = ("reconstruct", good, "--out", out, "--refined")
    assert "holds no ImageFit" in picotome_fails(*told, good)
    assert "leave them out where --refined" in picotome_fails(*told, good, "--align")
    assert "safetensors" in picotome_fails("apply", good, "--model", good, "--out", out)
    assert "'Xx'" in picotome_fails("trace", good, "--elements", "Xx", "--out", out)
    assert "--out" in picotome_fails("trace", good, "--elements", "Pt", "--out", tmp_path / "atoms.docx")
    atoms, series = tmp_path / "only_atoms.h5", good
    assert "--geometry" in picotome_fails("refine", atoms, series, "--out", out, "--geometry", "focus")
    assert "holds no TiltSeries" in picotome_fails("refine", atoms, atoms, "--out", out)
    assert "brightness" in picotome_fails("refine", particle, series, "--out", out)
    assert "holds no TiltSeries" in picotome_fails("locate", atoms, "--elements", "Pt", "--out", out)
    assert "'Xx'" in picotome_fails("locate", series, "--elements", "Xx", "--out", out)
    assert "atoms.xyz" in picotome_fails("locate", series, "--elements", "Pt", "--out", "atoms.xyz")
    assert "unknown key" in picotome_fails("run", "smoke", "--out", tmp_path / "run", "--set", "doze=1")
    assert "no dataset" in picotome_fails("train", tmp_path, "--out", tmp_path / "model")
    online = ("train", "smoke", "--online", "--set", "reconstruction.solver=wbp", "--out", tmp_path / "model")
    assert "reconstruction.solver is 'wbp'" in picotome_fails(*online)
    assert not (tmp_path / "model").exists()
    assert "choose --format" in picotome_fails(
        "export", good, "--name", "series", "--out", tmp_path / "a.xyz"
    )
    np.savez(nan, images=np.full((3, 8, 8), np.nan), tilts=[-1.0, 0, 1])
    options = [
        "--key",
        "images",
        "--tilts",
        "key:tilts",
        "--pixel-size-A",
        0.4,
        "--tilt-axis",
        "rows",
        "--out",
        empty,
    ]
    picotome_fails("import", nan, *options)
    assert not out.exists()
    assert not empty.exists()
    assert not list(tmp_path.glob("*.partial"))


def _trace_file(pair: Path, folder: Path) -> Path:
    path = folder / "only_atoms.h5"
    picotome("trace", pair, "--elements", "Pt", "--out", path)
    return path
