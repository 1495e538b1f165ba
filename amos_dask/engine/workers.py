"""The workers of a cluster: what they are and see; kernels compiled on each host."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from amos_dask.engine.events import Listener, Notice, Waiting
from amos_dask.engine.options import LOOPBACK
from amos_dask.errors import ClusterError

if TYPE_CHECKING:
    from distributed import Client

# Where a batch job, whose node cannot be reached from outside, was submitted from.
_SUBMIT_HOSTS = ("SLURM_SUBMIT_HOST", "PBS_O_HOST", "LSB_SUB_HOST", "SGE_O_HOST")
# Results and pickles must agree between client and workers on these.
_PACKAGES = ("amos-dask", "dask", "distributed", "numpy", "numba", "nibabel", "isal", "pandas")
_MISSING = "missing"
_PROBE = ".amos-dask-probe"
# NAME.NAMESPACE, and what may follow.
_SERVICE = re.compile(r"([a-z][a-z0-9-]*)\.([a-z0-9-]+)(?:\.svc(?:\..*)?)?")
# Dask gives a worker no more tasks when it has used so much of its limit.
USABLE_MEMORY = 0.8


@dataclass(frozen=True)
class WorkerView:
    """What one worker says of itself.

    Parameters
    ----------
    address, host : str
        Where it is.
    versions : tuple of (str, str)
        Python, amos-dask and the libraries that results depend on; none when it cannot tell.
    memory_bytes : int
        Its limit; 0 without one.
    unseen : tuple of str
        Paths that do not exist there.
    unwritable : tuple of str
        Folders in which it cannot write.
    unshared : tuple of str
        Folders in which it cannot write to what this machine makes there, or this machine not to
        what it makes.
    free_bytes : int
        Free disk under the first folder to write to; 0 also when that is not known.
    user : str
        Numbers of its user and group, as ``1000:1000``.
    failure : str
        Why it cannot tell; empty when it can.
    """

    address: str
    host: str
    versions: tuple[tuple[str, str], ...]
    memory_bytes: int
    unseen: tuple[str, ...] = ()
    unwritable: tuple[str, ...] = ()
    unshared: tuple[str, ...] = ()
    free_bytes: int = 0
    user: str = ""
    failure: str = ""


def look_at_workers(
    client: Any,
    to_read: Sequence[str],
    to_write: Sequence[str],
    wait_seconds: float = 300,
    n_workers: int = 1,
    seconds_for_others: float = 60,
) -> list[WorkerView]:
    """Ask every worker; waits for the first one, and then a little for as many as are expected.

    Parameters
    ----------
    client : distributed.Client
        Whose workers.
    to_read, to_write : sequence of str
        Paths that they must see, and write to; URLs are left out.
    wait_seconds : float
        For the first worker.
    n_workers : int
        How many are expected.
    seconds_for_others : float
        For the rest of them.

    Returns
    -------
    list of WorkerView
        One a worker. Those with another Python or amos-dask are not asked for the paths.

    Raises
    ------
    ClusterError
        When no worker starts in time.
    """
    to_read, to_write = _on_disk(to_read), _on_disk(to_write)
    try:
        client.wait_for_workers(1, timeout=wait_seconds)
    except TimeoutError as error:
        raise ClusterError(
            f"no worker has started within {wait_seconds:.0f} s; look at the queue ('kubectl get "
            "pods' on Kubernetes) and at the workers' logs."
        ) from error
    if n_workers > 1:
        with suppress(TimeoutError):
            client.wait_for_workers(n_workers, timeout=seconds_for_others)
    workers = client.scheduler_info(n_workers=-1)["workers"]
    found = client.get_versions(packages=_PACKAGES)
    theirs = {address: _versions_of(said) for address, said in found["workers"].items() if said}
    hosts = client.run(socket.gethostname, on_error="ignore")
    # What was pickled here is not to be run by other code, not even for a look.
    same = dict(_versions_of(found["client"])[:2])
    to_ask = [address for address, others in theirs.items() if dict(others[:2]) == same]
    with _probes(to_write) as probes:
        answers = client.run(_look, to_read, to_write, probes, workers=to_ask, on_error="return")
        for answer in filter(lambda answer: isinstance(answer, dict), answers.values()):
            answer["unshared"] += tuple(
                folder for folder, made in answer.pop("made").items() if not _may_make(made)
            )
    views = []
    for address, worker in workers.items():
        answer = answers.get(address)
        host = hosts.get(address) or worker["host"]
        versions, memory = theirs.get(address, ()), worker["memory_limit"] or 0
        if isinstance(answer, dict):
            views.append(WorkerView(address, host, versions, memory, **answer))
        elif versions and address not in to_ask:
            views.append(WorkerView(address, host, versions, memory))
        else:  # answers nothing, or not as one that can be used
            reason = " ".join(f"{type(answer).__name__}: {answer}".split()) if answer else "is gone"
            views.append(WorkerView(address, host, (), memory, failure=reason))
    return views


def _on_disk(places: Sequence[str]) -> list[str]:
    return [os.path.abspath(place) for place in places if "://" not in place]  # noqa: PTH100


@contextmanager
def _probes(folders: Sequence[str]) -> Iterator[dict[str, str]]:
    """Make a folder in each of those that are there, for workers to write to; remove it again."""
    with ExitStack() as stack:
        probes = {}
        for folder in folders:
            probe = f"{folder}/{_PROBE}-{secrets.token_hex(4)}"
            with suppress(OSError):
                Path(probe).mkdir()
                stack.callback(shutil.rmtree, probe, ignore_errors=True)
                probes[folder] = probe
        yield probes


def _may_make(folder: str) -> bool:
    """Make a folder, with the rights that those of results get; return whether one may."""
    try:
        Path(folder).mkdir()
    except PermissionError:
        return False
    except OSError:
        pass
    return True


def _look(
    to_read: Sequence[str], to_write: Sequence[str], probes: Mapping[str, str]
) -> dict[str, Any]:
    """Return what a worker, on which this runs, sees of the shared folders."""
    try:
        free_bytes = shutil.disk_usage(to_write[0]).free if to_write else 0
    except OSError:
        free_bytes = 0
    unseen = tuple(path for path in (*to_read, *to_write) if not Path(path).exists())
    unwritable = tuple(path for path in to_write if not os.access(path, os.W_OK))
    made, unshared = {}, []
    for folder, probe in probes.items():
        ours = f"{probe}/{secrets.token_hex(4)}"
        if folder in (*unseen, *unwritable):
            continue
        if not Path(probe).exists():
            unseen += (f"what this machine writes to {folder}",)
        elif _may_make(ours):
            made[folder] = f"{ours}/{_PROBE}"
        else:
            unshared.append(folder)
    return {
        "unseen": unseen,
        "unwritable": unwritable,
        "unshared": tuple(unshared),
        "free_bytes": free_bytes,
        "user": _user(),
        "made": made,
    }


def _user() -> str:
    return f"{os.geteuid()}:{os.getegid()}"


def _versions_of(found: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what Dask has found of a process: Python first, without its last number."""
    packages = found["packages"]
    python = ".".join(packages["python"].split(".")[:2])
    return ("python", python), *((name, packages.get(name) or _MISSING) for name in _PACKAGES)


@cache
def versions() -> tuple[tuple[str, str], ...]:
    """Return the versions that client and workers must share."""
    from distributed.versions import get_versions

    return _versions_of(get_versions(_PACKAGES))


def find_problems(views: Sequence[WorkerView]) -> list[str]:
    """Return what stands in the way of work.

    Parameters
    ----------
    views : sequence of WorkerView
        From `look_at_workers`.

    Returns
    -------
    list of str
        A sentence each, naming a host; each once.
    """
    ours = dict(versions())
    problems = []
    for view in views:
        if view.failure:
            problems.append(f"{view.host} cannot be used: {view.failure}")
        problems += [
            f"{view.host} has no {name}, this machine {ours[name]}"
            if version == _MISSING
            else f"{view.host} has {name} {version}, this machine {ours[name]}"
            for name, version in view.versions
            if version != ours[name]
        ]
        problems += [f"{view.host} does not see {path}" for path in view.unseen]
        problems += [
            f"{view.host} cannot write to {path}" + f" as user {view.user}" * bool(view.user)
            for path in view.unwritable
            if path not in view.unseen
        ]
        problems += [
            f"{view.host} (user {view.user}) and this machine (user {_user()}) cannot write to "
            f"each other's folders in {path}"
            for path in view.unshared
        ]
    return list(dict.fromkeys(problems))


def forwarding_line(dashboard_link: str) -> str:
    """Return the command that brings a dashboard on a cluster to one's own browser.

    From within a batch job it goes through the machine that the job was submitted from, from
    within a pod through Kubernetes.

    Parameters
    ----------
    dashboard_link : str
        As Dask gives it, with host and port.
    """
    place = urlsplit(dashboard_link)
    host, port = str(place.hostname), place.port
    through = socket.gethostname()
    if host != LOOPBACK:
        if "KUBERNETES_SERVICE_HOST" in os.environ and (service := _SERVICE.fullmatch(host)):
            name, namespace = service.groups()
            return f"kubectl port-forward --namespace {namespace} service/{name} {port}:{port}"
        through = next(filter(None, map(os.environ.get, _SUBMIT_HOSTS)), through)
    return f"ssh -L {port}:{host}:{port} {through}"


COMPILING = "compiling kernels (once per machine, about 15 s)"
# Under which workers tell the scheduler, and so the client, that numba compiles.
_TOPIC = "amos-dask-compiling"
_SECONDS_FOR_COMPILING = 300
_SECONDS_BETWEEN_LOOKS = 1.5


def prepare_kernels(client: Client, listener: Listener) -> None:
    """Compile the kernels on one worker of each host, so that the others load them.

    Parameters
    ----------
    client : Client
        Where to run.
    listener : callable
        Is told that kernels are loaded; and, only where numba does so, that they are compiled.
    """
    listener(Waiting("loading kernels"))
    workers = client.scheduler_info(n_workers=-1)["workers"]
    one_per_host = {info["host"]: address for address, info in workers.items()}
    n_told = len(client.get_events(_TOPIC))
    futures = {
        address: client.submit(
            _warm_up,
            key=f"prepare-kernels-{host}-{secrets.token_hex(4)}",
            workers=[address],
            allow_other_workers=True,  # it may be gone by now
        )
        for host, address in one_per_host.items()
    }
    is_said, end = False, time.monotonic() + _SECONDS_FOR_COMPILING
    for address, future in futures.items():
        while True:
            with suppress(TimeoutError):
                future.result(timeout=_SECONDS_BETWEEN_LOOKS)
                break
            if not is_said and len(client.get_events(_TOPIC)) > n_told:
                is_said = True
                listener(Notice(COMPILING))
            # Not for a worker that is gone: then the samples' tasks do it. What was meant for the
            # last worker of all Dask gives to none that comes later.
            if time.monotonic() > end or address not in client.nthreads():
                break


def _warm_up() -> None:
    from amos_dask.kernels import warm_up

    warm_up(tell_compiling)


def tell_compiling() -> None:
    """Tell the client, from a task, that numba compiles."""
    from distributed import get_worker

    get_worker().log_event(_TOPIC, COMPILING)
