"""What a notebook shows of results: complete, short, and never markup from names."""

from __future__ import annotations

from pathlib import Path

import amos_dask
from amos_dask import CommandResult
from amos_dask.issues import make_issue


def test_a_command_is_shown_with_its_errors_and_files() -> None:
    errors = [
        make_issue("unreadable_mask", f"<b>{n}</b>", sample=f"amos_{n:04d}") for n in range(12)
    ]
    info = [make_issue("affine_repaired", "differs")] * 3
    result = CommandResult((Path("a&b.xlsx"),), 12, "12 <samples>", (*errors, *info))
    shown = result._repr_html_()
    assert "<b>" not in shown
    assert "12 &lt;samples&gt;" in shown
    assert "a&amp;b.xlsx" in shown
    assert "amos_0009" in shown
    assert "amos_0010" not in shown
    assert "and 2 more" in shown
    assert "affine_repaired 3" in shown


def test_a_run_is_shown_with_its_report(processed_root: Path, cluster_address: str) -> None:
    result = amos_dask.run(processed_root, cluster=cluster_address, progress="none")
    shown = result._repr_html_()
    assert f"{result.n_processed} of {result.n_processed} samples complete" in shown
    assert "issues.xlsx" in shown
    assert "dataset_manifest.xlsx" in shown
