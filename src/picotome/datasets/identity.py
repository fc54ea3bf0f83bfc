"""What a file was made from: a hash of everything that determines its contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any

from picotome.configs.fields import Section

# Raised by every change after which the same recipe gives other numbers. A change of the tomograms alone
# raises the version in `picotome.datasets.naming` instead, so that simulations stay.
RESULTS_VERSION = 1
JUDGES = ("picotome", "abtem", "ase", "numpy", "scipy")
"""Packages whose version changes the numbers of a file."""


def knobs(section: Section, *, unread: set[str] | None = None) -> dict[str, Any]:
    """Return the knobs of a section that were moved from their defaults, as JSON-able values.

    Defaults are left out, so that a knob which a later picotome adds does not make old files stale; a default
    that changes raises `RESULTS_VERSION` instead.
    """
    return section.model_dump(mode="json", exclude_defaults=True, exclude=unread)


def identity(determines: Mapping[str, Any]) -> str:
    """Hash a JSON-able mapping together with the version of the results."""
    text = json.dumps({**determines, "results": RESULTS_VERSION}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed version of each package."""
    return {package: _version(package) for package in packages}


# Looked up for every particle, and each time a search through the installed packages.
_version = cache(metadata.version)
