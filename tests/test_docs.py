"""What the documentation shows must work."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from picotome.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SHARED_DATA = ROOT.parent / "shared" / "data"


def blocks(language):
    for page in PAGES:
        for code in re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            yield page.name, code


def shell_commands():
    for page, code in blocks("sh"):
        for line in code.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] == "picotome":
                yield pytest.param(words[1:], id=f"{page}: {line[:60]}")


@pytest.mark.parametrize("words", list(shell_commands()))
def test_commands_parse(words):
    command = get_command(app).commands[words[0]]
    # Parses options and arguments, and raises on unknown or missing ones, without running anything.
    command.make_context(words[0], list(words[1:]))


def test_python_blocks_run(tiny_dataset, tmp_path):
    shutil.copytree(tiny_dataset, tmp_path / "runs" / "quickstart" / "dataset")
    found = list(blocks("python"))
    assert found
    for page, code in found:
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, (page, done.stderr)


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / target).exists(), (page.name, target)


@pytest.mark.external
@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason="the FePt teaching data are not part of the project")
def test_the_fept_example(tmp_path):
    command = [ROOT / "examples" / "fept_wedge.py", SHARED_DATA / "fept_tilt_series.npz", "--out", tmp_path]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "RMSD" in done.stdout
    assert list(tmp_path.glob("*.png"))
