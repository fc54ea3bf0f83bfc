"""Training data, networks and picometre scores for atomic electron tomography."""

from picotome.records import Pair, Score, Specimen, TiltSeries, Tomogram, Trace

__version__ = "0.1.0"

__all__ = ["Pair", "Score", "Specimen", "TiltSeries", "Tomogram", "Trace", "__version__"]
