"""What is told before the first task has ended: compiling only where numba compiles, what runs."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numba
import pytest
from distributed import Client

from amos_dask.engine import graph, workers
from amos_dask.engine.events import Event, Notice, TaskEnded, TasksRunning, Waiting
from amos_dask.engine.graph import run_tasks
from amos_dask.kernels import noticing_compiling


@dataclass(frozen=True)
class Item:
    name: str
    until: Path


def wait(item: Item) -> str:
    while not item.until.exists():
        time.sleep(0.01)
    return item.name


def load() -> None:
    time.sleep(0.5)


def compile_anew() -> None:
    workers.tell_compiling()
    time.sleep(0.5)


@pytest.mark.parametrize(("warm_up", "n_said"), [(load, 0), (compile_anew, 1)])
def test_compiling_is_said_when_numba_compiles_and_not_when_loading_takes_long(
    warm_up: object, n_said: int, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "_warm_up", warm_up)
    monkeypatch.setattr(workers, "_SECONDS_BETWEEN_LOOKS", 0.1)
    told: list[Event] = []
    workers.prepare_kernels(client, told.append)
    assert isinstance(told[0], Waiting)
    said = [event.message for event in told if isinstance(event, Notice)]
    assert len(said) == n_said
    assert all("compiling" in message for message in said)


def test_compiling_is_noticed_once_a_kernel() -> None:
    @numba.njit
    def plus_one(x: int) -> int:
        return x + 1

    told: list[int] = []
    with noticing_compiling(lambda: told.append(1)):
        assert plus_one(1) == plus_one(0) + 1
    plus_one(1.0)
    assert len(told) == (1 if hasattr(plus_one, "stats") else 0)


def test_what_runs_is_told_until_the_first_task_ends(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "_SECONDS_BETWEEN_NAMES", 0.05)
    told: list[Event] = []

    def listen(event: Event) -> None:
        told.append(event)
        if isinstance(event, TasksRunning):
            (tmp_path / "go").touch()

    items = [Item(f"amos_{number:04d}", tmp_path / "go") for number in range(9)]
    assert len(list(run_tasks(client, "sample", wait, items, listen))) == len(items)
    running = [event for event in told if isinstance(event, TasksRunning)]
    assert running
    assert {name for event in running for name in event.names} <= {item.name for item in items}
    assert all(len(event.names) <= len(client.nthreads()) for event in running)
    first_ended = next(i for i, event in enumerate(told) if isinstance(event, TaskEnded))
    assert not any(isinstance(event, TasksRunning) for event in told[first_ended:])
