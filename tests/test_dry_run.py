"""What a run would take: start-up where workers start, compiling where it is left to do."""

from __future__ import annotations

from pathlib import Path

import pytest

import amos_dask
from amos_dask import dry_run
from amos_dask.phantom import Archive


@pytest.mark.parametrize("is_compiled", [True, False])
def test_start_up_counts_compiling_where_it_is_left_to_do(
    is_compiled: bool, phantom: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dry_run, "are_compiled", lambda: is_compiled)
    plan = amos_dask.plan_run(tmp_path / "R", phantom.path)
    assert plan.are_kernels_compiled == is_compiled
    assert (plan.startup_seconds > 10) == (not is_compiled)
    assert plan.startup_seconds > 1
    assert plan.cpu_seconds > 0.05 * len(plan.samples)
    assert not (tmp_path / "R").exists()


def test_where_nothing_is_to_do_nothing_is_started(processed_root: Path) -> None:
    plan = amos_dask.plan_run(processed_root)
    assert (plan.startup_seconds, plan.cpu_seconds) == (0.0, 0.0)
