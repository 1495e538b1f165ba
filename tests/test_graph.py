"""Mapping a function over items on Dask: outcomes, faults, events, and what stays behind."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import dask
import psutil
import pytest
from distributed import Client, LocalCluster, get_worker
from distributed.diagnostics.plugin import SchedulerPlugin

from amos_dask.engine import graph
from amos_dask.engine.events import Event, Outcome, TaskEnded, WorkEnded, WorkStarted
from amos_dask.engine.graph import run_tasks
from amos_dask.errors import AmosDaskError, LabelMapError

PATIENCE = 20.0  # seconds; reached only by a test that fails
ALLOWED_DEATHS = 1


@dataclass(frozen=True)
class Work:
    """An item whose task follows a script: an action for each time it is called.

    Actions are ``ok``, ``raise``, ``stop`` (the run cannot go on), ``die`` (the worker process
    ends), ``slow``, and ``wait`` (until it may go on). The last one repeats. Calls and ends are
    counted on disk, where they outlive the worker.
    """

    name: str
    folder: Path
    script: tuple[str, ...] = ("ok",)

    def calls(self) -> int:
        return len(list(self.folder.glob(f"{self.name}.call*")))

    def ends(self) -> int:
        return len(list(self.folder.glob(f"{self.name}.end*")))


def follow_script(work: Work) -> str:
    call = work.calls()
    (work.folder / f"{work.name}.call{call}").touch(exist_ok=False)
    action = work.script[min(call, len(work.script) - 1)]
    if action == "raise":
        raise ValueError(f"{work.name} is\n  damaged")
    if action == "die":
        os._exit(17)
    if action == "stop":
        raise LabelMapError("the label map is gone.")
    if action == "slow":
        time.sleep(0.5)
    if action == "wait":
        wait_until((work.folder / "go").exists)
    (work.folder / f"{work.name}.end{call}").touch()
    return f"done {work.name}"


@dataclass(frozen=True)
class Found:
    """A value with issues."""

    issues: tuple[str, ...]


def follow_with_issues(work: Work) -> Found:
    return Found((follow_script(work), "another"))


def task_key(work: Work) -> str:
    return str(get_worker().get_current_task())


def scripted(folder: Path, *scripts: tuple[str, ...]) -> list[Work]:
    return [Work(f"amos_{i:04d}", folder, script) for i, script in enumerate(scripts, start=1)]


def ignore(event: Event) -> None:
    """Listen to nothing."""


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def by_name(outcomes: Iterator[Outcome[Any]]) -> dict[str, Outcome[Any]]:
    found: dict[str, Outcome[Any]] = {}
    for outcome in outcomes:
        assert outcome.name not in found, "two outcomes for one item"
        found[outcome.name] = outcome
    return found


@pytest.fixture(scope="module")
def fragile() -> Iterator[LocalCluster]:
    """A cluster of its own, whose workers may die and whose scheduler can be looked into."""
    with (
        dask.config.set(
            {
                "distributed.scheduler.allowed-failures": ALLOWED_DEATHS,
                "distributed.deploy.lost-worker-timeout": "60s",  # as in our own clusters
            }
        ),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
    ):
        yield cluster


@pytest.fixture
def fragile_client(fragile: LocalCluster) -> Iterator[Client]:
    with Client(fragile, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=PATIENCE)
        yield client


# ---------------------------------------------------------------- outcomes


@pytest.mark.parametrize("n_items", [0, 1, 20])
def test_every_item_has_exactly_one_outcome(client: Client, tmp_path: Path, n_items: int) -> None:
    items = scripted(tmp_path, *[("ok",)] * n_items)
    outcomes = by_name(run_tasks(client, "sample", follow_script, items, ignore))
    assert {name: o.value for name, o in outcomes.items()} == {
        item.name: f"done {item.name}" for item in items
    }
    assert all(outcome.failure is None for outcome in outcomes.values())
    assert [item.calls() for item in items] == [1] * n_items


def test_an_outcome_carries_wall_time(client: Client, tmp_path: Path) -> None:
    (outcome,) = run_tasks(client, "sample", follow_script, scripted(tmp_path, ("slow",)), ignore)
    assert 0.5 <= outcome.seconds < PATIENCE


def test_outcomes_do_not_depend_on_the_order_of_the_items(client: Client, tmp_path: Path) -> None:
    found = []
    for name, step in (("forward", 1), ("backward", -1)):
        folder = tmp_path / name
        folder.mkdir()
        items = scripted(folder, *[("ok",), ("raise",), ("slow",)])[::step]
        outcomes = by_name(run_tasks(client, "sample", follow_script, items, ignore))
        found.append({n: (o.value, o.failure) for n, o in outcomes.items()})
    assert found[0] == found[1]


def test_outcomes_arrive_when_they_are_done(client: Client, tmp_path: Path) -> None:
    items = scripted(tmp_path, ("slow",), *[("ok",)] * 5)
    names = [o.name for o in run_tasks(client, "sample", follow_script, items, ignore)]
    assert names[0] != "amos_0001"
    assert len(names) == 6


def test_a_task_is_named_after_its_work_and_sample(client: Client, tmp_path: Path) -> None:
    items = scripted(tmp_path, ("ok",), ("ok",))
    keys = [o.value for o in run_tasks(client, "audit", task_key, items, ignore)]
    assert sorted(key[: len("audit-amos_0001")] for key in keys) == [
        "audit-amos_0001",
        "audit-amos_0002",
    ]


def test_items_of_one_name_are_tasks_of_their_own(client: Client, tmp_path: Path) -> None:
    (one,) = scripted(tmp_path, ("slow",))
    items = [one, Work(one.name, tmp_path / "other"), one]
    items[1].folder.mkdir()
    outcomes = list(run_tasks(client, "export", task_key, items, ignore))
    assert [outcome.name for outcome in outcomes] == [one.name] * 3
    assert len({outcome.value for outcome in outcomes}) == 3


# ---------------------------------------------------------------- faults


def test_an_exception_fails_its_item_only_and_is_not_tried_again(
    client: Client, tmp_path: Path
) -> None:
    items = scripted(tmp_path, ("ok",), ("raise", "ok"), ("ok",))
    outcomes = by_name(run_tasks(client, "sample", follow_script, items, ignore))
    failed = outcomes.pop("amos_0002")
    assert failed.value is None
    assert failed.failure == "ValueError: amos_0002 is damaged"
    assert {o.value for o in outcomes.values()} == {"done amos_0001", "done amos_0003"}
    assert [item.calls() for item in items] == [1, 1, 1]


def test_an_error_of_the_whole_run_stops_it(fragile_client: Client, tmp_path: Path) -> None:
    told: list[Event] = []
    items = scripted(tmp_path, ("stop",), *[("slow",)] * 11)
    with pytest.raises(AmosDaskError, match=r"^the label map is gone\.$"):
        list(run_tasks(fragile_client, "sample", follow_script, items, told.append))
    assert items[0].calls() == 1
    begun = sum(item.calls() for item in items)
    assert begun < len(items)
    assert sum(item.ends() for item in items) == begun - 1  # what ran has finished
    assert not [e for e in told if isinstance(e, WorkEnded)]
    assert "amos_0001" not in [e.name for e in told if isinstance(e, TaskEnded)]
    wait_until(lambda: not fragile_client.cluster.scheduler.tasks)


def test_no_other_failure_stops_the_run(client: Client, tmp_path: Path) -> None:
    items = scripted(tmp_path, ("ok",), ("raise",))
    outcomes = by_name(run_tasks(client, "sample", follow_script, items, ignore))
    assert not any(outcome.stops_run for outcome in outcomes.values())


def test_a_task_that_loses_its_worker_is_run_again(fragile_client: Client, tmp_path: Path) -> None:
    items = scripted(tmp_path, (*["die"] * ALLOWED_DEATHS, "ok"))
    (outcome,) = run_tasks(fragile_client, "sample", follow_script, items, ignore)
    assert (outcome.value, outcome.failure) == ("done amos_0001", None)
    assert items[0].calls() > ALLOWED_DEATHS  # once more where a busy machine loses the result


def test_a_task_that_always_kills_its_worker_fails_and_the_others_finish(
    fragile_client: Client, tmp_path: Path
) -> None:
    items = scripted(tmp_path, ("die",), *[("ok",)] * 19)
    outcomes = by_name(run_tasks(fragile_client, "sample", follow_script, items, ignore))
    killer = outcomes.pop("amos_0001")
    assert killer.value is None
    assert killer.failure is not None
    assert "the worker died each time" in killer.failure
    assert "tcp://" not in killer.failure
    assert "\n" not in killer.failure
    assert "its nanny said" in killer.details
    assert {name: o.failure for name, o in outcomes.items()} == {
        item.name: None for item in items[1:]
    }
    assert items[0].calls() == 2 * (ALLOWED_DEATHS + 1)  # beside the others, then alone
    wait_until(lambda: not fragile_client.cluster.scheduler.tasks)


def test_a_task_that_waits_behind_a_killer_of_workers_is_not_failed_with_it(
    tmp_path: Path,
) -> None:
    # With one worker the neighbour is on it whenever it dies, though it never starts there.
    items = scripted(tmp_path, ("die",), ("ok",))
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": ALLOWED_DEATHS}),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        outcomes = by_name(run_tasks(client, "sample", follow_script, items, ignore))
    assert outcomes["amos_0001"].failure is not None
    assert (outcomes["amos_0002"].value, outcomes["amos_0002"].failure) == ("done amos_0002", None)


def worker_pids(client: Client) -> list[int]:
    return list(client.run(os.getpid).values())


def test_results_whose_worker_dies_before_they_are_fetched_are_computed_again(
    fragile_client: Client, tmp_path: Path
) -> None:
    scheduler = fragile_client.cluster.scheduler
    items = scripted(tmp_path, *[("ok",)] * 6)
    outcomes = run_tasks(fragile_client, "sample", follow_script, items, ignore)
    first = next(outcomes)
    wait_until(lambda: all(task.state == "memory" for task in list(scheduler.tasks.values())))
    for pid in worker_pids(fragile_client):
        psutil.Process(pid).kill()
    # The client has heard of the loss when none of its results is finished any more.
    wait_until(
        lambda: (
            all(f.status != "finished" for f in list(fragile_client.futures.values()))
            or any(item.calls() > 1 for item in items)
        )
    )
    found = by_name(outcomes)
    assert {name: o.failure for name, o in found.items()} == {
        item.name: None for item in items if item.name != first.name
    }


# ---------------------------------------------------------------- what the scheduler sees


class LargestNumberOfTasks(SchedulerPlugin):
    """Counts the tasks that the scheduler knows."""

    name = "largest-number-of-tasks"

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.largest = 0
        self.submitted: set[str] = set()

    def transition(self, key: str, start: str, finish: str, *args: Any, **kwargs: Any) -> None:
        self.largest = max(self.largest, len(self.scheduler.tasks))
        self.submitted.add(key)


def test_only_a_window_of_tasks_is_with_the_scheduler(
    fragile_client: Client, tmp_path: Path
) -> None:
    scheduler = fragile_client.cluster.scheduler
    counter = LargestNumberOfTasks(scheduler)
    scheduler.add_plugin(counter)
    try:
        items = scripted(tmp_path, *[("ok",)] * 200)
        outcomes = by_name(run_tasks(fragile_client, "sample", follow_script, items, ignore))
    finally:
        scheduler.remove_plugin(counter.name)
    assert len(outcomes) == len(counter.submitted) == 200
    assert 2 <= counter.largest <= 128


def test_nothing_stays_with_the_scheduler_after_a_run(
    fragile_client: Client, tmp_path: Path
) -> None:
    items = scripted(tmp_path, *[("ok",), ("raise",)] * 5)
    assert len(list(run_tasks(fragile_client, "sample", follow_script, items, ignore))) == 10
    wait_until(lambda: not fragile_client.cluster.scheduler.tasks)
    assert not fragile_client.futures


def test_a_run_that_is_given_up_takes_its_tasks_along(
    fragile_client: Client, tmp_path: Path
) -> None:
    items = scripted(tmp_path, *[("slow",)] * 12)
    outcomes = run_tasks(fragile_client, "sample", follow_script, items, ignore)
    next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    begun = sum(item.calls() for item in items)
    assert begun == sum(item.ends() for item in items)  # what ran has finished
    assert begun < len(items)
    wait_until(lambda: not fragile_client.cluster.scheduler.tasks)
    assert sum(item.calls() for item in items) == begun


def test_what_runs_gets_a_limited_time_to_finish(
    fragile_client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "SECONDS_TO_FINISH", 0.2)
    items = scripted(tmp_path, ("ok",), ("wait",))
    outcomes = run_tasks(fragile_client, "sample", follow_script, items, ignore)
    assert next(outcomes).name == "amos_0001"
    wait_until(lambda: items[1].calls() == 1)
    outcomes.close()  # type: ignore[attr-defined]
    assert items[1].ends() == 0
    (tmp_path / "go").touch()
    wait_until(lambda: not fragile_client.cluster.scheduler.tasks)
    wait_until(lambda: items[1].ends() == 1)


def test_a_second_interruption_does_not_wait(
    fragile_client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*args: Any, **kwargs: Any) -> NoReturn:
        raise KeyboardInterrupt

    items = scripted(tmp_path, ("ok",), ("wait",))
    outcomes = run_tasks(fragile_client, "sample", follow_script, items, ignore)
    assert next(outcomes).name == "amos_0001"
    monkeypatch.setattr(graph, "as_completed", interrupt)
    with pytest.raises(KeyboardInterrupt):
        outcomes.close()  # type: ignore[attr-defined]
    (tmp_path / "go").touch()
    del outcomes
    wait_until(lambda: not fragile_client.cluster.scheduler.tasks)


def test_a_listener_that_raises_ends_the_run_and_takes_its_tasks_along(
    fragile_client: Client, tmp_path: Path
) -> None:
    def full(event: Event) -> None:
        if isinstance(event, TaskEnded):
            raise OSError(28, "No space left on device")

    items = scripted(tmp_path, *[("ok",)] * 4)
    with pytest.raises(OSError, match="No space left"):
        list(run_tasks(fragile_client, "sample", follow_script, items, full))
    wait_until(lambda: not fragile_client.cluster.scheduler.tasks)


# ---------------------------------------------------------------- events


def test_events_tell_the_story_in_order(client: Client, tmp_path: Path) -> None:
    told: list[Event | str] = []
    items = scripted(tmp_path, ("ok",), ("raise",), ("ok",))
    outcomes = run_tasks(client, "sample", follow_with_issues, items, told.append)
    seen = {}
    for outcome in outcomes:
        told.append(outcome.name)
        seen[outcome.name] = outcome
    assert told[0] == WorkStarted("sample", 3)
    assert told[-1] == WorkEnded("sample")
    for event, name in zip(told[1:-1:2], told[2:-1:2], strict=True):
        # each end is told before its outcome is handed out
        assert isinstance(event, TaskEnded)
        assert (event.work, event.name) == ("sample", name)
        assert event.failed is (name == "amos_0002")
        assert event.n_issues == (0 if event.failed else 2)
        assert event.seconds == seen[event.name].seconds
    assert set(seen) == {item.name for item in items}


def test_work_without_items_starts_and_ends(client: Client) -> None:
    told: list[Event] = []
    none: Sequence[Work] = ()
    assert list(run_tasks(client, "sample", follow_script, none, told.append)) == []
    assert told == [WorkStarted("sample", 0), WorkEnded("sample")]


# ---------------------------------------------------------------- two runs at once


def first_answer(work: Work) -> str:
    time.sleep(0.02)
    return "first"


def second_answer(work: Work) -> str:
    return "second"


@pytest.mark.parametrize("second_function", [second_answer, first_answer])
def test_two_runs_on_one_scheduler_do_not_share_results(
    cluster_address: str,
    client: Client,
    tmp_path: Path,
    second_function: Callable[[Work], str],
) -> None:
    items = scripted(tmp_path, *[("ok",)] * 8)
    with Client(cluster_address, set_as_default=False) as other:
        one = run_tasks(client, "sample", first_answer, items, ignore)
        two = run_tasks(other, "sample", second_function, items, ignore)
        pairs = list(zip(one, two, strict=True))
    assert {o.value for o, _ in pairs} == {"first"}
    assert {o.value for _, o in pairs} == {second_function(items[0])}
    for outcomes in zip(*pairs, strict=True):
        assert {o.name for o in outcomes} == {item.name for item in items}


def test_two_runs_of_the_same_items_both_do_the_work(client: Client, tmp_path: Path) -> None:
    items = scripted(tmp_path, ("ok",), ("ok",))
    for _ in range(2):
        list(run_tasks(client, "sample", follow_script, items, ignore))
    assert [item.calls() for item in items] == [2, 2]
