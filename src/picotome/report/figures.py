"""Every figure of picotome: each function writes one PNG.

Colours are told apart with every kind of colour vision; lengths have scale bars; nothing opens a window.
"""

from __future__ import annotations

from picotome.report.atoms import draw_atoms, draw_specimen, draw_trace
from picotome.report.calibration import draw_calibration
from picotome.report.curves import draw_errors, draw_training
from picotome.report.volumes import draw_fourier, draw_series, draw_slices, draw_tomogram

__all__ = [
    "draw_atoms",
    "draw_calibration",
    "draw_errors",
    "draw_fourier",
    "draw_series",
    "draw_slices",
    "draw_specimen",
    "draw_tomogram",
    "draw_trace",
    "draw_training",
]
