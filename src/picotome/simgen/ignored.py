"""Which knobs of the optics an engine reads, and a warning where a knob was moved that none reads.

All engines honour the beam, the probe with its aberrations, defocus, focal spread and source size, and the
detector. What they do not share has a section for each family of engines; the table is in docs/stages.md.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection

from picotome.configs.fields import Section
from picotome.configs.imaging import EngineName, OpticsConfig

_WAVE: frozenset[EngineName] = frozenset({"prism", "multislice"})
# Readers of every knob that not all engines read; a section stands for all of its knobs.
_READERS: dict[str, frozenset[EngineName]] = {
    "linear": frozenset({"linear"}),
    "abtem": _WAVE,
    "abtem.prism_window_A": frozenset({"prism"}),
}
# Grids and steps of the wave engines say how exactly they compute, not what is imaged: a recipe may keep them
# for the day that it is run with such an engine.
_GRIDS = frozenset({"sampling_A", "slice_thickness_A", "prism_window_A", "scan_step_A", "vacuum_A"})
_PHONON_KNOBS = ("phonon_rms_A", "element_phonon_rms_A")


class IgnoredKnobWarning(UserWarning):
    """A knob was moved from its default that no engine of the run reads."""


def ignored_knobs(engines: Collection[EngineName], optics: OpticsConfig) -> list[str]:
    """Name the knobs of the optics that were moved and that none of the engines reads.

    Sections of another engine are named once, with what was moved in them; its grids are left out where no
    wave engine runs.
    """
    ignored = []
    for path, readers in _READERS.items():
        section, _, knob = path.partition(".")
        if readers.intersection(engines):
            continue
        moved = _moved(getattr(optics, section))
        if section == "abtem" and not _WAVE.intersection(engines):
            moved = [name for name in moved if name not in _GRIDS]
        ignored += [f"optics.{section}.{name}" for name in moved if name == knob or not knob]
    settings = optics.abtem
    if _WAVE.intersection(engines) and settings.n_frozen_phonons == 0:
        moved = _moved(settings)
        ignored += [
            f"optics.abtem.{name} (optics.abtem.n_frozen_phonons is 0)"
            for name in _PHONON_KNOBS
            if name in moved
        ]
    return list(dict.fromkeys(ignored))


def warn_of_ignored_knobs(engines: Collection[EngineName], optics: OpticsConfig) -> None:
    """Warn once of all knobs that were moved and that none of the engines reads."""
    ignored = ignored_knobs(engines, optics)
    if ignored:
        names = ", ".join(sorted(set(engines)))
        warnings.warn(
            f"engine {names} ignores {', '.join(ignored)}; docs/stages.md says what each engine honours",
            IgnoredKnobWarning,
            stacklevel=2,
        )


def _moved(section: Section) -> list[str]:
    return list(section.model_dump(exclude_defaults=True))
