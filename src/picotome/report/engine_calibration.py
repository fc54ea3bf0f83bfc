"""What a calibration of the linear engine found, as text and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from picotome.geometry import centre_index
from picotome.report.canvas import add_scale_bar, blank, png

if TYPE_CHECKING:
    from picotome.datasets.calibrate import Calibrated

_MARGIN_PIXELS = 4
_LIT = 0.01
_COLUMNS = ("deviation", "with free gain", "worst", "gain, rms")


def calibration_lines(result: Calibrated) -> str:
    """Return the fitted knobs, and the deviation before and after, for the terminal."""
    linear = result.linear
    brightness = ", ".join(f"{symbol} {value:.4g}" for symbol, value in linear.brightness_A2.items())
    knobs = [
        f"{'brightness':>12}  {brightness} Å²",
        f"{'blur':>12}  {linear.extra_blur_A[0]:.3f} Å",
        f"{'lens':>12}  {linear.lens_strength_A2[0]:.4f} Å², {linear.lens_width_A:.3f} Å wide",
    ]
    kept = [f"{'knobs':>12}  as they were: the fit is no better on the images held out"]
    lines = [
        *(knobs if result.improved else kept),
        f"{'images':>12}  {'number':>8}  " + "  ".join(f"{title:>18}" for title in _COLUMNS),
    ]
    for name, after in result.after.items():
        before = result.before[name]
        cells = [
            f"{b:.1%} -> {a:.1%}"
            for b, a in (
                (before.rms, after.rms),
                (before.rms_free, after.rms_free),
                (before.worst, after.worst),
                (before.gain_rms, after.gain_rms),
            )
        ]
        lines.append(f"{name:>12}  {len(after.each):>8}  " + "  ".join(f"{cell:>18}" for cell in cells))
    spread = (result.after if result.improved else result.before)["held out"].gain_rms
    lines.append(f"{'noise':>12}  acquisition.gain_rms {spread:.3f} or more covers the gains that are left")
    return "\n".join(lines)


def draw_engine_calibration(path: Path, *, result: Calibrated) -> None:
    """Draw a held-out image by the wave engine and by the calibrated linear engine, and their difference.

    The two images share one scale; the difference is drawn on it, too, with zero in the middle.

    Parameters
    ----------
    path
        PNG to write.
    result
        The calibration.
    """
    box = _lit_square(result.wave)
    wave, linear = result.wave[box], result.calibrated[box]
    deviation = float(np.linalg.norm(linear - wave) / np.linalg.norm(wave))
    largest = float(max(wave.max(), linear.max()))
    panels = (
        (f"{result.engine}, held out", wave, "gray", 0.0),
        ("linear, calibrated" if result.improved else "linear, as it was", linear, "gray", 0.0),
        (f"linear − {result.engine}: {deviation:.1%}", linear - wave, "RdBu_r", -largest),
    )
    with png(path, width_in=8.4, height_in=2.9) as figure:
        for axes, (title, image, colours, lowest) in zip(figure.subplots(1, 3), panels, strict=True):
            # Images are [x, y]; matplotlib draws [row, column].
            shown = axes.imshow(image.T, origin="lower", cmap=colours, vmin=lowest, vmax=largest)
            axes.set_title(title)
            blank(axes)
            bar = figure.colorbar(shown, ax=axes, shrink=0.85)
            bar.set_label("fraction of the incident electrons")
            colour = "white" if lowest == 0.0 else "black"
            extent_A = image.shape[0] * result.pixel_size_A
            add_scale_bar(axes, extent_A=extent_A, colour=colour, A_per_unit=result.pixel_size_A)


def _lit_square(image: np.ndarray) -> tuple[slice, slice]:
    """Square around the middle that holds all that is lit, and a margin."""
    n = image.shape[0]
    lit = np.argwhere(image > _LIT * image.max()) - centre_index(n)
    reach = min(int(np.abs(lit).max()) + _MARGIN_PIXELS, n - 1 - centre_index(n))
    side = slice(centre_index(n) - reach, centre_index(n) + reach + 1)
    return side, side
