"""Which recipes can be made online; all others are refused before anything starts."""

from __future__ import annotations

from typing import Any

from picotome.configs.fields import Section
from picotome.configs.schema import Recipe

# Sections of a recipe whose every knob the plans or the device honour, or that do not concern pairs to learn
# from. What a later picotome adds is refused until it is listed here.
_WHOLE = frozenset(
    {
        "name",
        "seed",
        "volume",
        "optics",
        "ideal",
        "storage",
        "engine",
        "specimens",
        "n_held_out",
        "network",
        "training",
        "tracing",
        "refinement",
        "scoring",
    }
)
_ACQUISITION = frozenset(
    {
        "tilt_min_deg",
        "tilt_max_deg",
        "n_tilts",
        "tilts_deg",
        "tilt_offset_deg",
        "tilt_jitter_rms_deg",
        "dose_e_per_A2",
        "tilt_error_rms_deg",
        "shift_error_rms_A",
        "defocus_rms_A",
        "gain_rms",
        "background",
        "background_rms",
        "background_slope_rms",
        "readout_noise_e",
        "missing_fraction",
    }
)
_TRAINING_SET = frozenset(
    {
        "n_train",
        "n_validation",
        "engine",
        "online",
        "specimens",
        "tilt_max_deg",
        "tilt_step_deg",
        "acquisition",
        "n_prism",
    }
)
_RECONSTRUCTION = frozenset({"solver", "n_iterations"})


def offline_knobs(recipe: Recipe) -> list[str]:
    """Name the knobs with which pairs cannot be made online, as ``key is value``."""
    chosen = recipe.training_set
    acquisition = "training_set.acquisition" if chosen.acquisition else "acquisition"
    found = _moved_beyond(recipe, _WHOLE | {"acquisition", "training_set", "reconstruction"}, "")
    found += _moved_beyond(chosen, _TRAINING_SET, "training_set.")
    found += _moved_beyond(chosen.acquisition or recipe.acquisition, _ACQUISITION, f"{acquisition}.")
    found += _moved_beyond(recipe.reconstruction, _RECONSTRUCTION, "reconstruction.")
    if chosen.engine != "linear":
        found.append(f"training_set.engine is {chosen.engine!r}")
    if chosen.n_prism > 0:
        found.append(f"training_set.n_prism is {chosen.n_prism}")
    if recipe.reconstruction.solver != "sirt":
        found.append(f"reconstruction.solver is {recipe.reconstruction.solver!r}")
    return found


def refuse_offline_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that asks for what online pairs cannot have.

    Raises
    ------
    ValueError
        Naming each such knob.
    """
    found = offline_knobs(recipe)
    if found:
        raise ValueError(
            f"training_set.online makes pairs by the linear engine and SIRT, but {'; '.join(found)}: set "
            "each to its default, or store the pairs (training_set.online=false)"
        )


def _moved_beyond(section: Section, honoured: frozenset[str], prefix: str) -> list[str]:
    moved: dict[str, Any] = section.model_dump(mode="json", exclude_defaults=True)
    return [f"{prefix}{name} is {value}" for name, value in moved.items() if name not in honoured]
