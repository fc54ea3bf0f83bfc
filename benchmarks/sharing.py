"""What ten pairs that share one abTEM simulation cost, beside one.

    python benchmarks/sharing.py

A particle of the preset `quickstart` is imaged by PRISM from -75° to 75° in steps of 2°, without noise, and
one pair is drawn from that; then the same dataset is asked for ten. Seconds of a processor, those of starting
the second run included.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from forecast import run

SETTINGS = (
    "training_set.engine=prism",
    "training_set.simulation={n_series: 10, tilt_min_deg: -75, tilt_max_deg: 75, tilt_step_deg: 2}",
)


def main():
    with TemporaryDirectory() as folder:
        first, more = (
            run("quickstart", (*SETTINGS, f"training_set.n_train={n}"), Path(folder)).cpu_s for n in (1, 10)
        )
    print(
        f"one pair: {first:.1f} s; nine more: {more:.1f} s; ten cost {(first + more) / first:.3f} times one"
    )


if __name__ == "__main__":
    main()
