"""Where weights are: those that come with picotome, or those that a user trained."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

BEST_NAME = "best.safetensors"
SHIPPED_NAME = "general.safetensors"
LARGEST_SHIPPED_BYTES = 8_000_000


def shipped_weights() -> Path | None:
    """Return the weights that come with picotome (recipe ``general``, docs/model-card.md), if they do."""
    path = Path(str(resources.files("picotome.train") / "shipped" / SHIPPED_NAME))
    return path if path.is_file() else None


def find_weights(model: Path | None) -> Path:
    """Return the file of weights that a user means.

    Parameters
    ----------
    model
        Weights, the folder that a training wrote, or None for those that come with picotome.

    Raises
    ------
    FileNotFoundError
        If `model` is None and this copy of picotome has no weights.
    """
    if model is not None:
        return model / BEST_NAME if model.is_dir() else model
    shipped = shipped_weights()
    if shipped is None:
        raise FileNotFoundError(
            f"this copy of picotome comes without {SHIPPED_NAME}; give weights with --model, or train them: "
            "`picotome generate general --out data`, then `picotome train data --out model`"
        )
    return shipped
