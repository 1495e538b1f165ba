"""Fixtures shared by all tests: one small Dask cluster, and phantom archives."""

from __future__ import annotations

import fcntl
import gc
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dask
import pytest

from amos_dask.kernels import warm_up
from amos_dask.phantom import Archive, write_archive

if TYPE_CHECKING:
    from distributed import Client
    from mini import Own

# A job in the background of a script ignores Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Idle clusters look after themselves less often: else two of them take a fifth of a core.
_CALM = {
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "1s",
    "distributed.scheduler.work-stealing-interval": "1s",
    "distributed.worker.memory.monitor-interval": "1s",
    "distributed.worker.profile.enabled": False,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with tests on the cluster first: the short ones then fill both workers."""
    long = {item.path for item in items if "cluster_address" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """Have the collector of garbage leave modules and tests alone, and come by less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


@pytest.fixture(scope="session")
def compiled_kernels(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have one process compile the kernels into numba's cache while all others wait for it."""
    with (tmp_path_factory.getbasetemp().parent / "kernels.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        warm_up()


@pytest.fixture(scope="session")
def cluster_address(compiled_kernels: None) -> Iterator[str]:
    """Address of a running cluster of two single-threaded worker processes on loopback."""
    from distributed import LocalCluster

    with (
        dask.config.set(_CALM),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="module")
def client(cluster_address: str) -> Iterator[Client]:
    """Return a client of that cluster."""
    from distributed import Client

    with Client(cluster_address, set_as_default=False) as client:
        yield client


@pytest.fixture
def own(tmp_path: Path, client: Client) -> Callable[[str], Own]:
    """Return what makes an archive and ROOT_DIR for a definition of one's own."""
    from mini import Own

    return lambda definition: Own(tmp_path, client, definition)


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return a small archive folder with every quirk and nothing damaged."""
    return write_archive(tmp_path_factory.mktemp("phantom"), seed=7)


@pytest.fixture(scope="session")
def damaged_phantom(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Return the same archive with four damaged samples more."""
    return write_archive(tmp_path_factory.mktemp("damaged"), seed=7, defects=True)


@pytest.fixture(scope="session")
def processed_root(
    cluster_address: str, phantom: Archive, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Return the ROOT_DIR that `run` made of the phantom; tests only read it."""
    from amos_dask import run

    root = tmp_path_factory.mktemp("processed") / "AMOS22"
    run(root, phantom.path, cluster=cluster_address, progress="none")
    return root


@pytest.fixture
def changed_root(processed_root: Path) -> Path:
    """Return a copy of it that a test may change."""
    from roots import put_back

    return put_back(processed_root, processed_root.parent / "changed" / "AMOS22")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a ROOT_DIR to be."""
    return tmp_path / "AMOS22"
