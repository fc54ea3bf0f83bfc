"""`picotome generate` with work that has a fault: run_faulty.py RECIPE OUT [MEMORY]."""

import sys
from pathlib import Path

import faulty

import picotome.datasets.generate as room
from picotome.configs import load_recipe
from picotome.configs.workers import LocalWorkers


def main():
    room.make_batch = faulty.work
    memory = sys.argv[3] if len(sys.argv) > 3 else None
    cluster = LocalWorkers(kind="local", workers=1, memory=memory)
    room.generate(load_recipe(sys.argv[1]), Path(sys.argv[2]), splits=("train",), cluster=cluster)


if __name__ == "__main__":
    main()
