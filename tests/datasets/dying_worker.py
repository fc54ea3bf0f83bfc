"""Work that kills its process the first time it is asked for particle 1."""

import os
from pathlib import Path

from picotome.datasets.generate import _work as work_on_particle


def work(recipe, folder, task, name):
    marker = Path(os.environ["PICOTOME_TEST_DIED"])
    if task[1] == 1 and not marker.exists():
        marker.touch()
        os._exit(9)
    return work_on_particle(recipe, folder, task, name)
