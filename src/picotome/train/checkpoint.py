"""Files of the network: shareable weights and the state that training resumes from.

Weights are safetensors, which hold arrays and text only; the training state is read by torch with
``weights_only=True``. Neither can run code.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from picotome.configs.schema import NetworkConfig
from picotome.datasets.safe_write import safe_write
from picotome.train.unet import RepairNet, build_network

WEIGHTS_FORMAT = "picotome-unet"
WEIGHTS_VERSION = 1


@dataclass(frozen=True)
class ModelCard:
    """What a user of the weights must know.

    Attributes
    ----------
    voxel_size_A
        Voxel of the tomograms that the network learned from.
    peak_sigma_A
        Sigma of the peaks that it makes.
    tilt_min_deg, tilt_max_deg
        Tilt range whose missing wedge it learned to fill; the widest, where it learned several.
    network
        The network's section of the recipe.
    epoch, score
        Best epoch and its validation scores.
    recipe
        Name of the recipe.
    precision
        Arithmetic of the training.
    picotome
        Version that trained it.
    narrowest_tilt_max_deg
        Where it learned several symmetric tilt ranges: the narrowest.
    start
        Recipe of the weights that the training started from; None: it started untrained.
    note
        How the training differed from what its recipe says, where it did.
    training
        The training's section of the recipe as it was trained with; None: not stored.
    """

    voxel_size_A: float
    peak_sigma_A: float
    tilt_min_deg: float
    tilt_max_deg: float
    network: dict[str, Any]
    epoch: int
    score: dict[str, float]
    recipe: str
    precision: str
    picotome: str
    narrowest_tilt_max_deg: float | None = None
    start: str | None = None
    note: str = ""
    training: dict[str, Any] | None = None


def save_weights(path: Path, network: RepairNet, card: ModelCard) -> None:
    """Write weights and card to one safetensors file, as a whole or not at all."""
    from safetensors.torch import save_file

    metadata = {"format": WEIGHTS_FORMAT, "version": str(WEIGHTS_VERSION), "card": json.dumps(asdict(card))}
    tensors = {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}
    with safe_write(path) as temporary:
        save_file(tensors, temporary, metadata=metadata)


def load_weights(path: Path) -> tuple[RepairNet, ModelCard]:
    """Read a trained network and its card.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not safetensors, or holds another kind of model.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}; train them with `picotome train`")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"{path} is not a safetensors file (only those are read; they cannot run code): {error}"
        ) from error
    if metadata.get("format") != WEIGHTS_FORMAT:
        raise ValueError(
            f"{path} holds a model of another kind ({metadata.get('format')!r}); expected {WEIGHTS_FORMAT!r}"
        )
    if int(metadata["version"]) > WEIGHTS_VERSION:
        raise ValueError(
            f"{path} has version {metadata['version']}; this picotome reads up to {WEIGHTS_VERSION}: upgrade"
        )
    try:
        card = ModelCard(**json.loads(metadata["card"]))
        network = build_network(NetworkConfig.model_validate(card.network))
        network.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, ValidationError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged: its card or its tensors do not fit: {error}") from error
    return network, card


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write the training state, as a whole or not at all."""
    with safe_write(path) as temporary:
        torch.save(dict(state), temporary)


def load_state(path: Path) -> dict[str, Any]:
    """Read a training state without executing code.

    Raises
    ------
    ValueError
        If the file is not a training state of picotome.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is not a readable training state; remove it to train from the start"
        ) from error
    if not isinstance(state, dict) or state.get("format") != WEIGHTS_FORMAT:
        raise ValueError(f"{path} is not a training state of picotome; remove it to train from the start")
    return state


def state_tensors(network: RepairNet) -> dict[str, Tensor]:
    """Return the network's tensors on the CPU."""
    return {key: value.detach().cpu() for key, value in network.state_dict().items()}
