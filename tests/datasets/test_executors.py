"""What workers are started with."""

import os

import dask.config

from picotome.datasets.factory.executors import WORKER_ENVIRONMENT, connect_workers

PROFILER = "distributed.worker.profile.enabled"


def test_a_local_worker_has_one_thread_per_library_and_no_profiler():
    """Dask's profiler keeps an hour of samples in every worker: its memory would grow with each pair."""
    with connect_workers(1, None, n_tasks=1) as client:
        (profiled,) = client.run(dask.config.get, PROFILER).values()
        (threads,) = client.run(os.getenv, "OMP_NUM_THREADS").values()
    assert (profiled, threads) == (False, "1")
    assert dask.config.get(PROFILER) is True


def test_workers_of_a_batch_system_read_the_same_from_their_environment():
    found = dask.config.collect_env(env=WORKER_ENVIRONMENT)
    assert dask.config.get(PROFILER, config=found) is False
