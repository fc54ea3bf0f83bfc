import os
import signal
import time

import pytest

from picotome.datasets.factory.window import spread


def make(items):
    return [(item, os.getpid()) for item in items]


@pytest.fixture
def client():
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address="127.0.0.1:0")
    with cluster, Client(cluster) as client:
        yield client


def test_a_worker_that_dies_with_finished_results_loses_none(client):
    """As the kernel kills one that has done several particles which nobody has fetched yet."""
    coming = spread(client, make, range(6))
    first, (made, pid) = next(coming)
    # The others are finished meanwhile, and lie in the worker.
    wait_until(lambda: sum(map(len, client.has_what().values())) >= 5)
    (address,) = client.has_what()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: address not in client.has_what())
    results = {first: made} | {item: made for item, (made, _) in coming}
    assert results == {item: item for item in range(6)}


def wait_until(condition, *, at_most_s=30.0):
    begun = time.monotonic()
    while not condition():
        assert time.monotonic() - begun < at_most_s
        time.sleep(0.05)
