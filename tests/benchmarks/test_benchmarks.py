"""Every benchmark at its smallest size: it runs, its sides agree, its tables can be written.

The numbers mean nothing here. Comparisons check by themselves that their sides give the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client
from required import missing

from amos_dask import ClusterOptions
from amos_dask.engine.connect import connect
from benchmarks.harness import REGISTRY, Claim, DifferentResultsError, Report, Side, Table, compare
from benchmarks.machine import describe_machine
from benchmarks.peers import PEERS, missing_peers
from benchmarks.report import claims_table, save, save_summary
from benchmarks.run import load_all, main
from benchmarks.settings import Settings

pytestmark = pytest.mark.integration

NAMES = load_all()


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(tmp_path_factory.mktemp("benchmarks"), tiny=True, repeats=1)


@pytest.fixture(scope="module")
def one_worker(settings: Settings) -> Iterator[Client]:
    """Return a client of one worker, as several benchmarks start it."""
    options = ClusterOptions(
        workers=1, dashboard_port=0, local_directory=str(settings.work), memory="0"
    )
    with connect(options) as found:
        yield found


@pytest.fixture
def shared_clusters(
    one_worker: Client, client: Client, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], None]:
    """Return what has a benchmark take a cluster that is there; starting one takes seconds."""

    @contextmanager
    def take(options: ClusterOptions) -> Iterator[Client]:
        yield {1: one_worker, 2: client}[int(options.workers or 0)]

    def share(name: str) -> None:
        module = REGISTRY[name].__module__
        monkeypatch.setattr(f"{module}.connect", take, raising=False)

    return share


@pytest.mark.parametrize("name", NAMES)
def test_benchmark_runs_at_its_smallest_size(
    name: str, settings: Settings, tmp_path: Path, shared_clusters: Callable[[str], None]
) -> None:
    shared_clusters(name)
    report = REGISTRY[name](settings)
    assert report.tables
    for table in report.tables:
        assert table.rows
        assert {tuple(row) for row in table.rows} == {tuple(table.rows[0])}
    save(name, report, describe_machine(settings.work), tmp_path)
    saved = json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))
    assert [table["title"] for table in saved["tables"]] == [t.title for t in report.tables]
    assert all(t.title in (tmp_path / f"{name}.md").read_text("utf-8") for t in report.tables)
    assert save_summary(tmp_path).read_text(encoding="utf-8").startswith("# Thresholds")


def test_all_peers_are_compared(settings: Settings) -> None:
    if missing_peers():
        missing("bench", f"not installed (extra 'bench'): {', '.join(missing_peers())}")
    rows = [row for table in REGISTRY["components"](settings).tables for row in table.rows]
    assert {"ours", *(peer.name for peer in PEERS)} <= {row.get("side") for row in rows}


def test_sides_run_in_turns_after_one_run_each_that_is_not_timed() -> None:
    calls: list[str] = []
    sides = {name: Side(lambda name=name: calls.append(name)) for name in "AB"}
    found = compare(sides, 3)
    assert "".join(calls) == "ABABABAB"
    assert [len(found[name].seconds) for name in "AB"] == [3, 3]
    assert found["A"].ratios == [1.0, 1.0, 1.0]


def test_slow_side_runs_as_often_as_it_may_and_is_compared_with_its_neighbour() -> None:
    calls: list[str] = []
    sides = {
        "A": Side(lambda: calls.append("A")),
        "B": Side(lambda: calls.append("B"), max_runs=2),
        "C": Side(lambda: calls.append("C"), max_runs=1),
    }
    found = compare(sides, 3)
    assert calls.count("C") == 1
    assert [len(found[name].ratios) for name in "ABC"] == [3, 2, 1]


def test_sides_that_differ_are_not_timed() -> None:
    sides = {"A": Side(lambda: 1), "B": Side(lambda: 2)}
    with pytest.raises(DifferentResultsError, match="'B'"):
        compare(sides, 1, lambda a, b: a == b)
    beside = {"A": Side(lambda: 1), "B": Side(lambda: 2, peer=False)}
    assert len(compare(beside, 1, lambda a, b: a == b)) == 2


def test_preparation_comes_before_every_run() -> None:
    calls: list[str] = []
    side = Side(lambda: calls.append("run"), prepare=lambda: calls.append("prepare"))
    compare({"A": side}, 2)
    assert calls == ["prepare", "run"] * 3


def test_threshold_that_is_missed_is_shown() -> None:
    claims = [Claim("fast", 2.0, 1.1, at_most=True), Claim("faster", 2.0, 1.1)]
    lines = claims_table(claims).splitlines()[2:]
    assert ["**no**" in line for line in lines] == [True, False]


def test_command_saves_what_it_prints(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(REGISTRY, "voxelwise", lambda _: Report([Table("Things", [{"a": 1.5}])]))
    work = ["--work", str(tmp_path / "work"), "--output", str(tmp_path / "out")]
    assert main(["--only", "voxelwise", "--tiny", *work]) == 0
    assert capsys.readouterr().out.strip() in (tmp_path / "out" / "voxelwise.md").read_text("utf-8")
