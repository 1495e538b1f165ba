"""From ClusterOptions to a client: loopback only, one thread a worker, and clear refusals."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import dask
import distributed
import psutil
import pytest
from distributed import Client

from amos_dask.engine.connect import connect
from amos_dask.engine.options import ClusterOptions, complete, find_unknown_keys
from amos_dask.errors import ClusterError


def listening(process: psutil.Process) -> set[tuple[str, int]]:
    connections = process.net_connections(kind="tcp")
    return {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1].split("/")[0])


@pytest.fixture(scope="module")
def local() -> Iterator[Client]:
    """A client of a local cluster as the program starts it."""
    with connect(ClusterOptions(workers=2, dashboard_port=0)) as client:
        yield client


def test_nothing_listens_anywhere_but_on_loopback(local: Client) -> None:
    workers = [psutil.Process(pid) for pid in local.run(os.getpid).values()]
    sockets = listening(psutil.Process()).union(*map(listening, workers))
    ports = {port for _, port in sockets}
    assert port_of(local.scheduler.address) in ports
    assert port_of(local.dashboard_link) in ports
    assert {port_of(address) for address in local.nthreads()} <= ports
    assert {ip for ip, _ in sockets} == {"127.0.0.1"}


def test_all_addresses_are_loopback(local: Client) -> None:
    addresses = [local.scheduler.address, local.dashboard_link, *local.nthreads()]
    assert [a for a in addresses if "//127.0.0.1:" not in a] == []


def test_workers_are_processes_with_one_thread_each(local: Client) -> None:
    assert list(local.nthreads().values()) == [1, 1]
    pids = set(local.run(os.getpid).values())
    assert len(pids) == 2
    assert os.getpid() not in pids


def environment_of_a_worker() -> dict[str, str]:
    return dict(os.environ)


@pytest.mark.parametrize("name", ["NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_libraries_in_a_worker_are_held_to_its_thread(local: Client, name: str) -> None:
    environments = local.run(environment_of_a_worker).values()
    assert {environment.get(name) for environment in environments} == {"1"}


def signals_of_a_worker() -> bool:
    found = {signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)}
    return found == {signal.SIG_IGN}


def test_workers_leave_signals_to_the_client_also_after_a_restart(local: Client) -> None:
    before = local.run(os.getpid)
    assert set(local.run(signals_of_a_worker).values()) == {True}
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 30
    while (now := set(pids_of(local))) & set(before.values()) or len(now) < len(before):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert list(local.run(signals_of_a_worker).values()) == [True, True]


def pids_of(client: Client) -> list[int]:
    """Return the processes of workers that answer."""
    found = client.run(os.getpid, on_error="ignore")
    return [pid for pid in found.values() if pid is not None]


def test_the_client_does_not_become_the_default_of_the_process(local: Client) -> None:
    with pytest.raises(ValueError, match="No clients found"):
        distributed.default_client()


def test_workers_that_are_started_later_are_as_the_first_and_nothing_stays_behind() -> None:
    """Also where the port for the dashboard is in use, which is passed over."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with connect(ClusterOptions(workers=1, dashboard_port=port)) as client:
            assert client.dashboard_link.startswith("http://127.0.0.1:")
            assert port_of(client.dashboard_link) not in (0, port)
            client.cluster.scale(2)  # as for one that has died for good
            client.wait_for_workers(2, timeout=30)
            environments = client.run(environment_of_a_worker).values()
            assert [found.get("OMP_NUM_THREADS") for found in environments] == ["1", "1"]
            assert list(client.run(signals_of_a_worker).values()) == [True, True]
            address = client.scheduler.address
            pids = list(client.run(os.getpid).values())
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert port_of(address) not in {port for _, port in listening(psutil.Process())}


class Started(Exception):  # noqa: N818
    """Says that a cluster would have been started."""


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a local cluster would be started with."""
    found: dict[str, Any] = {}

    def record(**arguments: Any) -> None:
        found.update(arguments)
        raise Started

    monkeypatch.setattr(distributed, "LocalCluster", record)
    return found


def start(options: ClusterOptions) -> None:
    with pytest.raises(Started), connect(options):
        pass


def test_by_default_there_is_a_worker_for_each_usable_core(settings: dict[str, Any]) -> None:
    start(ClusterOptions())
    assert settings["n_workers"] == len(os.sched_getaffinity(0))
    assert settings["threads_per_worker"] == 1
    assert settings["processes"] is True
    assert settings["memory_limit"] == "auto"


def test_options_of_a_local_cluster_are_passed_on(settings: dict[str, Any]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    start(ClusterOptions("local", 3, "2GB", free, "/scratch"))
    assert settings["n_workers"] == 3
    assert settings["memory_limit"] == "2GB"
    assert settings["dashboard_address"] == f"127.0.0.1:{free}"
    assert settings["local_directory"] == "/scratch"


# ---------------------------------------------------------------- a scheduler elsewhere


def test_an_address_connects_to_the_scheduler_there_and_leaves_it_running(
    cluster_address: str,
) -> None:
    for _ in range(2):
        with connect(ClusterOptions(cluster_address)) as client:
            assert client.scheduler.address == cluster_address
            assert len(client.nthreads()) == 2
            assert client.submit(abs, -4).result() == 4
        assert client.status == "closed"


def test_dasks_table_of_versions_is_left_to_the_check_of_the_cluster(
    cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = distributed.versions.get_versions()
    found["packages"]["python"] = "3.11.99.final.0"
    monkeypatch.setattr(distributed.versions, "get_versions", lambda *packages: found)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with Client(cluster_address, set_as_default=False):  # it is told of, by Dask
            pass
        assert told
        before = len(told)
        with connect(ClusterOptions(cluster_address)) as client:
            assert client.submit(abs, -4).result() == 4
        assert len(told) == before


def refuse(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the message of a refused address, without the ten seconds that users are given."""

    def impatient(address: str, *, timeout: str, **settings: Any) -> Client:
        return Client(address, timeout="0.3s", **settings)

    monkeypatch.setattr(distributed, "Client", impatient)
    with pytest.raises(ClusterError) as caught, connect(ClusterOptions(address)):
        pass
    return str(caught.value)


def test_an_address_where_nobody_listens_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    message = refuse(address, monkeypatch)
    assert address in message
    assert "\n" not in message


@pytest.mark.parametrize("address", ["nonsense://host:1", "tcp://127.0.0.1:port"])
def test_a_malformed_address_is_one_line_at_once_and_nothing_more(address: str) -> None:
    script = (
        "import sys\n"
        "from amos_dask import ClusterOptions\n"
        "from amos_dask.engine.connect import connect\n"
        "from amos_dask.errors import ClusterError\n"
        "try:\n"
        f"    with connect(ClusterOptions({address!r})): pass\n"
        "except ClusterError as error:\n"
        "    print(error, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=6)
    assert address in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


@pytest.mark.parametrize(
    "options",
    [
        ClusterOptions(workers=1, dashboard_port=0, memory="plenty"),
        ClusterOptions(workers=1, dashboard_port=0, local_directory="/dev/null"),
    ],
    ids=["memory limit", "local directory"],
)
@pytest.mark.filterwarnings("ignore")  # what Dask says while it gives up
def test_a_local_cluster_that_cannot_start_is_a_cluster_error(options: ClusterOptions) -> None:
    with pytest.raises(ClusterError) as caught, connect(options):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("memory", ["4XB", "plenty", "-4GB"])
def test_a_memory_that_is_no_amount_is_a_sentence_about_memory(memory: str) -> None:
    with (
        pytest.raises(ClusterError, match=f"^memory '{memory}' is not an amount such as 4GB.$"),
        connect(ClusterOptions(workers=1, dashboard_port=0, memory=memory)),
    ):
        pass


@pytest.mark.parametrize("memory", ["auto", "0", "4GB"])
def test_these_are_memories(settings: dict[str, Any], memory: str) -> None:
    start(ClusterOptions(memory=memory))
    assert settings["memory_limit"] == memory


def test_unknown_keys_are_named_with_the_nearest() -> None:
    complete(ClusterOptions())
    assert find_unknown_keys() == []
    misspelt = "amos-dask.kubernetes.idel-timeout"
    keys = {
        misspelt: 3,
        "amos-dask.wrokers": 2,
        "amos-dask.kubernetes.worker_selector": {"pool": "spot"},
        "amos-dask.batch.walltime": "01:00:00",
        "amos-dask.batch.zzz": 1,
    }
    with dask.config.set(keys):
        told = sorted(find_unknown_keys())
    assert told == [
        "amos-dask.batch.zzz is no key of the configuration",
        f"{misspelt} is no key of the configuration; did you mean idle-timeout?",
        "amos-dask.wrokers is no key of the configuration; did you mean workers?",
    ]


def test_what_a_site_has_configured_of_dask_stays() -> None:
    tick, profile = "distributed.admin.tick.interval", "distributed.worker.profile.interval"
    options = ClusterOptions(workers=1, dashboard_port=0)
    with dask.config.set({tick: "40ms"}), connect(options) as client:
        (seen,) = client.run(lambda: (dask.config.get(tick), dask.config.get(profile))).values()
    assert seen == ("40ms", "100ms")
