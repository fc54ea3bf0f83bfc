"""The command line: every command with its name."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Annotated, TextIO

import typer

from picotome.commands import atoms, dataset, export, factory, images, look, whole

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Training data, networks and picometre scores for atomic electron tomography.",
)

# In the order of the help: the whole job first, then its stages.
_COMMANDS: dict[str, Callable[..., None]] = {
    "run": whole.run,
    "generate": dataset.generate,
    "status": factory.status,
    "verify": factory.verify,
    "simulate": images.simulate,
    "calibrate": images.calibrate,
    "import": images.import_,
    "reconstruct": images.reconstruct,
    "train": dataset.train,
    "apply": dataset.apply,
    "trace": atoms.trace,
    "refine": atoms.refine,
    "locate": atoms.locate,
    "score": atoms.score,
    "benchmark": whole.benchmark,
    "show": look.show,
    "export": export.export,
}


def main() -> None:
    """Run the command line; every foreseen error is one message and exit code 1."""
    warnings.showwarning = _show_warning
    try:
        app()
    except (ValueError, OSError) as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Show our own warnings as one line each; all others as Python does."""
    if category.__module__.startswith("picotome."):
        typer.echo(f"warning: {message}", err=True)
    else:
        text = warnings.formatwarning(message, category, filename, lineno, line)
        (file or sys.stderr).write(text)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from picotome import __version__

        typer.echo(f"picotome {__version__}")
        raise typer.Exit


for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
