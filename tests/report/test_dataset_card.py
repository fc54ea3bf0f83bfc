"""The card must say what the files hold."""

import re
import shutil

from picotome.datasets.manifest import read_manifest
from picotome.datasets.store import read_pair
from picotome.report.dataset_card import CARD_NAME, PAIR_NAME, SIZES_NAME, write_dataset_card


def test_the_card_says_what_the_files_hold(tiny_dataset, tiny_recipe, tmp_path, monkeypatch):
    folder = tmp_path / "dataset"
    shutil.copytree(tiny_dataset, folder)
    assert write_dataset_card(folder, recipe=tiny_recipe)
    text = (folder / CARD_NAME).read_text("utf-8")
    entries = read_manifest(folder)
    for split in ("train", "validation", "held_out"):
        of_split = [entry for entry in entries if entry.split == split]
        (row,) = re.findall(rf"\| {split} \| (\d+) \|.*\| (\d+), [\d.]+, (\d+) \|", text)
        sizes = [entry.n_atoms for entry in of_split]
        assert [int(word) for word in row] == [len(of_split), min(sizes), max(sizes)]
    pairs = [read_pair(folder / entry.file) for entry in entries]
    numbers = [z for pair in pairs for z in pair.specimen.atomic_numbers]
    for symbol, z in (("Pt", 78), ("Pd", 46)):
        share = numbers.count(z) / len(numbers)
        assert (f"{symbol} {share:.1%}" in text) == (share > 0)
    assert f"{tiny_recipe.volume.n_voxels}³ voxels of {tiny_recipe.volume.voxel_size_A:g} Å" in text
    assert f"seed {tiny_recipe.seed}" in text
    for picture in (PAIR_NAME, SIZES_NAME):
        assert f"({picture})" in text
        assert (folder / picture).read_bytes().startswith(b"\x89PNG")
    # What it says of loading works in the dataset's folder.
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(folder)
    names = {}
    exec(code, names)
    assert names["degraded"].shape == names["ideal"].shape == (tiny_recipe.volume.n_voxels,) * 3


def test_nothing_finished_has_no_card(tmp_path, tiny_recipe):
    (tmp_path / "manifest.json").write_text('{"format_version": 1, "particles": []}')
    assert not write_dataset_card(tmp_path, recipe=tiny_recipe)
    assert not (tmp_path / CARD_NAME).exists()
