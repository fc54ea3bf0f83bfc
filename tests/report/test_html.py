"""The report is one file that opens without a network and runs nothing that is not its own."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from picotome.report.html import format_number, write_report

VILE = "<script>alert(1)</script>\" onload='x' & <img src=http://evil.example/a.png>"
VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects tags, attributes and text, and checks that tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.cells: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1][-1] += data

    def row(self, stage: str) -> dict[str, str]:
        """Cells of the first row of a stage, by column title."""
        titles = next(row for row in self.cells if "recall" in row)
        found = next(row for row in self.cells if len(row) > 1 and row[1] == stage)
        return dict(zip(titles, found, strict=True))


def make_score(**changed: Any) -> dict[str, Any]:
    score = {
        "n_true": 1405,
        "n_found": 1400,
        "recall": 0.9871,
        "precision": 0.9912,
        "radius_A": 0.75,
        "rmsd_pm": 12.344,
        "median_pm": 9.1,
        "rmsd_axis_pm": [3.0, 4.0, None],
        "surface_rmsd_pm": 14.0,
        "core_rmsd_pm": None,
        "rigid_rmsd_pm": 12.0,
        "affine_rmsd_pm": math.nan,
        "rmsd_species_pm": {"Pd": 15.0, "Pt": 10.0},
        "species_accuracy": 0.995,
        "chance_recall": 0.085,
        "translation_pm": [0.0, 0.0, 0.0],
    }
    return score | changed


def make_summary(**changed: Any) -> dict[str, Any]:
    summary = {
        "picotome": "0.1.0",
        "versions": {"numpy": "2.2.0"},
        "recipe": {"name": "quickstart", "seed": 3, "volume": {"n_voxels": 64, "tilts": (1, 2)}},
        "timings_s": {"generate": 100.04, "train": 20.0},
        "particles": {"done": 3, "failed": []},
        "training": {
            "precision": "bf16-mixed",
            "n_epochs": 10,
            "validation": {"rmsd_pm": 7.25, "loss": None},
        },
        "specimens": [
            {
                "name": "wulff_000",
                "description": "a Pt particle",
                "engine": "prism",
                "dose_e_per_A2": 1e4,
                "n_tilts": 21,
                "n_true": 1405,
                "stages": {"raw": make_score(), "unet": make_score(rmsd_pm=6.172, recall=0.999)},
            }
        ],
    }
    return summary | changed


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "figure.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    return path


def write(tmp_path: Path, summary: dict[str, Any], figures: list[tuple[str, Path, str]] | None = None) -> str:
    path = tmp_path / "report.html"
    write_report(path, summary=summary, figures=figures or [])
    return path.read_text("utf-8")


def test_numbers_of_every_stage_are_in_the_table(tmp_path: Path) -> None:
    reader = Reader(write(tmp_path, make_summary()))
    raw = reader.row("raw")
    assert raw["true"] == "1,405"
    assert raw["found"] == "1,400"
    assert raw["recall"] == "0.9871"
    assert raw["RMSD"] == "12.34"
    assert raw["x / y / z"] == "3.00 / 4.00 / –"
    assert raw["core"] == raw["affine fit"] == "–"
    assert raw["by element"] == "Pd 15.00, Pt 10.00"
    assert raw["chance recall"] == "0.085"
    assert reader.row("unet")["RMSD"] == "6.17"
    text = " ".join(reader.words)
    for expected in (
        "12.3 → 6.2 pm (−50 %)",
        "0.987 → 0.999",
        "10,000 e/Å²",
        "120.0 s",
        "n_voxels: 64",
        "2.2.0",
    ):
        assert expected in text


def test_nothing_is_loaded_from_outside_and_nothing_runs(tmp_path: Path, picture: Path) -> None:
    text = write(tmp_path, make_summary(), [("title", picture, "caption")])
    reader = Reader(text)
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[^\"]*", "", text))
    assert not {tag for tag, _ in reader.tags} & {"script", "link", "iframe", "object", "embed"}
    sources = [attributes["src"] for tag, attributes in reader.tags if tag == "img"]
    assert len(sources) == 1
    assert (sources[0] or "").startswith("data:image/png;base64,")
    policies = [a.get("content") or "" for tag, a in reader.tags if tag == "meta" and "http-equiv" in a]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_no_text_can_inject_html(tmp_path: Path, picture: Path) -> None:
    plain = Reader(write(tmp_path, make_summary(), [("title", picture, "caption")]))
    specimen = make_summary()["specimens"][0]
    summary = make_summary(
        picotome=VILE,
        versions={VILE: VILE},
        recipe={"name": VILE, "seed": VILE, VILE: VILE},
        timings_s={"generate" + VILE: 1.0, "train": 2.0},
        training={VILE: VILE, "n_epochs": VILE, "validation": {VILE: VILE, "loss": VILE}},
        specimens=[
            specimen
            | {
                "name": VILE,
                "description": VILE,
                "engine": VILE,
                "stages": {
                    "raw" + VILE: make_score(rmsd_species_pm={VILE: 1.0}, n_true=VILE, rmsd_pm=VILE),
                    "unet" + VILE: make_score(),
                },
            }
        ],
    )
    vile = Reader(write(tmp_path, summary, [(VILE, picture, VILE)]))
    assert [(tag, sorted(a)) for tag, a in vile.tags] == [(tag, sorted(a)) for tag, a in plain.tags]
    assert " ".join(vile.words).count("<script>") > 10


def test_failed_particles_are_listed(tmp_path: Path) -> None:
    failed = [{"split": "train", "index": 17, "error": f"ValueError: {VILE}"}]
    text = write(tmp_path, make_summary(particles={"done": 2, "failed": failed}))
    assert "Failed particles: 1" in text
    assert "train 17: ValueError: <script>" in " ".join(Reader(text).words)
    assert "Failed particles" not in " ".join(Reader(write(tmp_path, make_summary())).words)


def test_an_empty_summary_still_makes_a_report(tmp_path: Path) -> None:
    reader = Reader(write(tmp_path, {}))
    assert "No held-out particle was scored." in reader.words


def test_a_missing_figure_is_named_and_the_old_report_stays(tmp_path: Path) -> None:
    before = write(tmp_path, make_summary())
    with pytest.raises(FileNotFoundError, match=r"none\.png"):
        write(tmp_path, {}, [("title", tmp_path / "none.png", "caption")])
    assert (tmp_path / "report.html").read_text("utf-8") == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (None, 2, "–"),
        (math.nan, 2, "–"),
        (math.inf, 2, "–"),
        ((), 2, "–"),
        ({}, 2, "–"),
        (0.0, 2, "0.00"),
        (1234567, 0, "1,234,567"),
        (0.000123456, None, "0.0001235"),
        ("bf16", None, "bf16"),
        (True, 1, "True"),
        ([1.0, None], 1, "1.0 / –"),
    ],
)
def test_numbers_as_text(value: Any, decimals: int | None, text: str) -> None:
    assert format_number(value, decimals) == text
