"""Train the U-Net. Reads top to bottom.

The same loop runs on one CPU, one GPU, or on several of either under ``torchrun``.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from picotome import __version__
from picotome.configs.schema import Recipe
from picotome.datasets.manifest import read_manifest
from picotome.datasets.plan import Split
from picotome.datasets.safe_write import write_text
from picotome.progress import Track, silent
from picotome.rng import stream
from picotome.trace.numbers import finite
from picotome.train.checkpoint import (
    WEIGHTS_FORMAT,
    ModelCard,
    load_state,
    load_weights,
    save_state,
    save_weights,
    state_tensors,
)
from picotome.train.feeding import Feed, StoredFeed, Waiting
from picotome.train.launch import launch
from picotome.train.loss import peak_weighted_error
from picotome.train.online.feed import OnlineFeed
from picotome.train.online.honoured import refuse_offline_recipe
from picotome.train.patches import PatchDataset
from picotome.train.precision import choose_precision
from picotome.train.unet import RepairNet, build_network
from picotome.train.validation import validate
from picotome.train.weights import BEST_NAME

STATE_NAME = "last.pt"
HISTORY_NAME = "history.json"
# Who reads the patches changes none of them.
_NO_MATTER = {"n_loader_workers"}
_WARMUP_FRACTION = 0.1
_GRADIENT_NORM = 1.0
_MOST_SKIPPED = 0.5


@dataclass(frozen=True)
class Trained:
    """What a training leaves.

    Attributes
    ----------
    model
        Weights of the best epoch.
    history
        One row for each epoch: losses, validation scores, seconds, and the fraction of the steps' time that
        was spent waiting for data.
    best_epoch
        Epoch with the smallest ``ospa_pm``.
    precision
        Arithmetic that was used.
    """

    model: Path
    history: list[dict[str, float]]
    best_epoch: int
    precision: str


def train(
    dataset: Path, *, recipe: Recipe, out: Path, start: Path | None = None, track: Track = silent
) -> Trained:
    """Train on the ``train`` split of a dataset and keep the epoch that is best at the validation atoms.

    Where the recipe says `training_set.online`, the pairs to learn from are made on the way instead, and the
    dataset gives the validation particles alone.

    A checkpoint is written after each epoch; the same call resumes from it.

    Parameters
    ----------
    dataset
        Folder made by `picotome.datasets.generate`.
    recipe
        Its sections ``network``, ``training``, ``tracing`` and ``scoring`` are used.
    out
        Folder of weights, state and history.
    start
        Weights to start from, of the same network and voxel size; None: the identity. A training that is
        resumed goes on from its own state.
    track
        Called after each step.

    Raises
    ------
    FileNotFoundError
        If `start` does not exist.
    ValueError
        If the dataset has no finished particles, `out` holds a training of another recipe, or `start` is of
        another network.
    """
    knobs = recipe.training
    online = recipe.training_set.online
    if online:
        refuse_offline_recipe(recipe)
    learned, origin = _learned(start, recipe=recipe)
    out.mkdir(parents=True, exist_ok=True)
    train_files = [] if online else split_files(dataset, "train")
    validation_files = split_files(dataset, "validation")

    state = _resumable_state(out, recipe, dataset)
    torch.manual_seed(int(stream(recipe.seed, 0, "network").integers(2**31)))
    network = build_network(recipe.network)
    if learned is not None:
        network.load_state_dict(learned.state_dict())
    # A training goes on in the arithmetic that it began with.
    precision = (
        state["precision"] if state else choose_precision(recipe.network, patch_voxels=knobs.patch_voxels)
    )
    fabric = launch(precision)

    optimizer = torch.optim.Adam(network.parameters(), lr=knobs.learning_rate)
    feed = _feed(recipe, train_files, fabric)
    n_steps = knobs.n_epochs * feed.n_steps
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=knobs.learning_rate,
        total_steps=max(n_steps, 2),
        pct_start=_WARMUP_FRACTION,
        cycle_momentum=False,
    )
    model, optimizer = fabric.setup(network, optimizer)

    history: list[dict[str, float]] = []
    if state:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        history = json.loads(state["history"])
        origin = state.get("start")

    for epoch in range(len(history), knobs.n_epochs):
        begun = time.monotonic()
        batches = Waiting(feed.epoch(epoch))
        model.train()
        total, n_skipped = 0.0, 0
        for step, (degraded, ideal) in enumerate(batches):
            optimizer.zero_grad()
            loss = peak_weighted_error(model(degraded), ideal, peak_weight=knobs.peak_weight)
            fabric.backward(loss)
            norm = fabric.clip_gradients(model, optimizer, max_norm=_GRADIENT_NORM, error_if_nonfinite=False)
            # Mixed precision now and then overflows; such a step must not reach the weights.
            if norm is None or torch.isfinite(norm):
                optimizer.step()
                total += loss.item()
            else:
                n_skipped += 1
            schedule.step()
            track("training steps", epoch * feed.n_steps + step + 1, n_steps)

        wait_fraction = batches.seconds / max(time.monotonic() - begun, 1e-9)
        if n_skipped > _MOST_SKIPPED * feed.n_steps:
            raise ValueError(
                f"the training diverged: {n_skipped} of {feed.n_steps} steps of epoch {epoch} have gradients "
                f"that are not finite; lower training.learning_rate ({knobs.learning_rate:g})"
            )
        if fabric.is_global_zero:
            scores = validate(network, validation_files, tracing=recipe.tracing, scoring=recipe.scoring)
            seconds = time.monotonic() - begun
            n_good = feed.n_steps - n_skipped
            row = {"epoch": epoch, "train_loss": total / max(n_good, 1), **scores, "seconds": seconds}
            row |= {"skipped_steps": n_skipped, "wait_fraction": wait_fraction}
            history.append(finite(row))
            if best_epoch(history) == epoch:
                card = _card(recipe, epoch, scores, precision, start=origin)
                save_weights(out / BEST_NAME, network, card)
            save_state(
                out / STATE_NAME,
                {
                    "format": WEIGHTS_FORMAT,
                    "sections": _sections(recipe),
                    "data": _data(dataset),
                    "precision": precision,
                    "start": origin,
                    "network": state_tensors(network),
                    "optimizer": optimizer.state_dict(),
                    "schedule": schedule.state_dict(),
                    "history": json.dumps(history),
                },
            )
            write_text(out / HISTORY_NAME, json.dumps(history, indent=1))
        # Every process must agree on what was reached.
        history = fabric.broadcast(history)
    return Trained(
        model=out / BEST_NAME, history=history, best_epoch=best_epoch(history), precision=precision
    )


def _feed(recipe: Recipe, train_files: list[Path], fabric: Fabric) -> Feed:
    """Give patches of stored pairs, or of pairs that are made for them."""
    tilt_min_deg, tilt_max_deg = recipe.learned_tilts_deg
    symmetric_wedge = abs(tilt_min_deg + tilt_max_deg) < 1e-6
    if recipe.training_set.online:
        return OnlineFeed(recipe, fabric=fabric, symmetric_wedge=symmetric_wedge)
    knobs = recipe.training
    patches = PatchDataset(
        train_files,
        patch_voxels=knobs.patch_voxels,
        patches_per_particle=knobs.patches_per_particle,
        symmetric_wedge=symmetric_wedge,
        seed=recipe.seed,
    )
    return StoredFeed(patches, fabric=fabric, knobs=knobs, seed=recipe.seed)


def best_epoch(history: list[dict[str, float]]) -> int:
    """Epoch with the smallest ``ospa_pm``; the earliest of equals."""
    return min(range(len(history)), key=lambda epoch: history[epoch]["ospa_pm"])


def split_files(dataset: Path, split: Split) -> list[Path]:
    """Finished files of one split, in the order of their indices.

    Raises
    ------
    ValueError
        If there are none.
    """
    entries = [entry for entry in read_manifest(dataset) if entry.split == split and entry.status == "done"]
    if not entries:
        raise ValueError(
            f"{dataset} has no finished particles in the split {split!r}; run `picotome generate`"
        )
    return [dataset / entry.file for entry in sorted(entries, key=lambda entry: entry.index)]


def _resumable_state(out: Path, recipe: Recipe, dataset: Path) -> dict[str, Any] | None:
    """State to go on from; None if there is none, or the dataset has changed since (a mended particle)."""
    if not (out / STATE_NAME).is_file():
        return None
    state = load_state(out / STATE_NAME)
    if state.get("sections") != _sections(recipe):
        raise ValueError(
            f"{out} holds a training with other knobs; use another --out, or remove {out / STATE_NAME} to "
            "train anew there"
        )
    return state if state.get("data") == _data(dataset) else None


def _sections(recipe: Recipe) -> str:
    """What a training depends on, beside its data."""
    sections = {"seed", "network", "training", "tracing", "scoring"}
    if recipe.training_set.online:
        # What makes the pairs stands for them.
        sections |= {"training_set", "volume", "optics", "acquisition", "reconstruction", "ideal"}
    return recipe.model_dump_json(include=sections, exclude={"training": _NO_MATTER})


def _data(dataset: Path) -> str:
    used = [e for e in read_manifest(dataset) if e.split in ("train", "validation")]
    return json.dumps([(e.split, e.index, e.sha256) for e in used])


def _learned(start: Path | None, *, recipe: Recipe) -> tuple[RepairNet | None, str | None]:
    """Network that a training starts from, and its recipe; one that does not fit is refused."""
    if start is None:
        return None, None
    network, card = load_weights(start)
    wanted: dict[str, Any] = recipe.network.model_dump(mode="json")
    for what, found, allowed in (
        ("network", card.network, wanted),
        ("voxel_size_A", card.voxel_size_A, recipe.volume.voxel_size_A),
        ("peak_sigma_A", card.peak_sigma_A, recipe.ideal.peak_sigma_A),
    ):
        if found != allowed:
            raise ValueError(
                f"the weights to start from have {what} {found}, the recipe has {allowed}; start from others "
                "or from none"
            )
    return network, card.recipe


def _card(
    recipe: Recipe, epoch: int, scores: dict[str, float], precision: str, *, start: str | None
) -> ModelCard:
    tilt_min_deg, tilt_max_deg = recipe.learned_tilts_deg
    drawn = recipe.training_set.tilt_max_deg
    centred = recipe.learned_acquisition.tilt_offset_deg == (0.0, 0.0)
    network: dict[str, Any] = recipe.network.model_dump(mode="json")
    training: dict[str, Any] = recipe.training.model_dump(mode="json", exclude=_NO_MATTER)
    return ModelCard(
        voxel_size_A=recipe.volume.voxel_size_A,
        peak_sigma_A=recipe.ideal.peak_sigma_A,
        tilt_min_deg=tilt_min_deg,
        tilt_max_deg=tilt_max_deg,
        network=network,
        epoch=epoch,
        score=scores,
        recipe=recipe.name,
        precision=precision,
        picotome=__version__,
        narrowest_tilt_max_deg=drawn[0] if drawn is not None and centred else None,
        start=start,
        training=training,
    )
