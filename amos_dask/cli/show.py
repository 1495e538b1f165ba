"""Closing lines on stdout: for people, or one JSON object with ``--json``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from amos_dask.cluster_check import ClusterReport
    from amos_dask.issues import Issue
    from amos_dask.phantom import Archive
    from amos_dask.results import CommandResult, RunPlan, RunResult

_SEVERITIES = ("error", "warning", "info")
_SHOWN_ERRORS = 20


def close_run(result: RunResult, arguments: Mapping[str, Any]) -> int:
    """Say how a run ended; return its exit code."""
    content = {
        "exit_code": int(result.exit_code),
        "root_dir": str(result.root_dir),
        "n_processed": result.n_processed,
        "n_failed": result.n_failed,
        "n_failed_others": result.n_failed_others,
        "n_changed_voxels": result.n_changed_voxels,
        "reasons": dict(result.reasons),
        "seconds": round(result.seconds, 3),
        "issues": _counts(result.issues),
        "outputs": [str(path) for path in result.outputs],
    }
    return _close(arguments, result.exit_code, content, _run_lines(result))


def _run_lines(result: RunResult) -> Iterator[str]:
    counts = result.counts
    yield ""
    yield from _table(
        ("files in the archive manifest", str(counts.n_files)),
        ("samples in the dataset manifest", str(counts.n_samples)),
        ("voxels changed by denoising", f"{result.n_changed_voxels:,}"),
        *(
            (f"regions below {threshold:g} mm3", f"{n_before:,} -> {n_after:,}")
            for threshold, n_before, n_after in counts.n_regions
        ),
    )
    yield from _issue_lines(result.issues)
    yield f"manifests: {result.root_dir / 'grouped' / 'dataset_manifest.xlsx'} and beside it"
    yield f"issues:    {result.root_dir / 'descriptor' / 'issues.xlsx'}"
    good = result.n_processed - result.n_failed
    yield f"{good} of {result.n_processed} samples complete in {result.seconds:.1f} s."
    n_before = result.reasons.get("complete", 0)
    for number, what in (
        (n_before, "of them were complete before; --force does them again."),
        (result.n_failed, "samples failed; see issues.xlsx."),
        (result.n_failed_others, "samples of earlier runs have errors."),
    ):
        if number:
            yield f"{number} {what}"


def close_demo(result: RunResult, arguments: Mapping[str, Any]) -> int:
    """Say how the demo ended and where to look; return its exit code."""
    code = close_run(result, arguments)
    lines = ["The manifests:", *_paths(result)]
    return code if arguments["progress"] == "json" else _close(arguments, code, {}, lines)


def close_plan(plan: RunPlan, arguments: Mapping[str, Any]) -> int:
    """Say what a run would do; return 0."""
    samples = plan.samples
    content = {
        "archive": plan.archive,
        "n_samples": len(samples),
        "n_todo": int((samples["todo"] != "").sum()),
        "n_bytes_to_read": plan.n_bytes_to_read,
        "n_bytes_to_write": plan.n_bytes_to_write,
        "peak_memory_bytes": plan.peak_memory_bytes,
        "cpu_seconds": round(plan.cpu_seconds, 1),
        "samples": samples.to_dict("records"),
    }
    return _close(arguments, 0, content, _plan_lines(plan))


def _plan_lines(plan: RunPlan) -> Iterator[str]:
    todo = plan.samples[plan.samples["todo"] != ""]
    for row in todo.to_dict("records"):
        size = f"{row['read_bytes'] / 1e6:8.1f} MB"
        yield f"  {row['ID']}  {row['reason']:<13}  {row['todo']:<12} {size}  {row['folder']}"
    read, written = plan.n_bytes_to_read / 1e9, plan.n_bytes_to_write / 1e9
    minutes = f"{plan.cpu_seconds / 60:.1f} minutes of one core"
    memory = f"{plan.peak_memory_bytes / 1e9:.1f} GB of memory a worker"
    yield f"archive: {plan.archive}"
    yield f"would process {len(todo)} of {len(plan.samples)} samples; the others are complete"
    yield f"would read {read:.2f} GB and write about {written:.2f} GB to {plan.root_dir}"
    yield f"would take about {minutes}, and {memory}"


def close_check(report: ClusterReport, arguments: Mapping[str, Any]) -> int:
    """Say what a cluster is like; return 1 when something stands in the way."""
    content = {
        "dashboard": report.dashboard,
        "ssh": report.ssh,
        "problems": list(report.problems),
        "workers": report.workers.to_dict("records"),
    }
    return _close(arguments, bool(report.problems), content, _check_lines(report))


def _check_lines(report: ClusterReport) -> Iterator[str]:
    for row in report.workers.to_dict("records"):
        memory = f"{row['memory_bytes'] / 1e9:.1f} GB of memory" if row["memory_bytes"] else ""
        yield f"  {row['host']}  {row['address']}  {memory}"
    yield f"workers: {len(report.workers)}, on machines: {report.workers['host'].nunique()}"
    yield f"dashboard: {report.dashboard}"
    yield f"from your own machine: {report.ssh}"
    yield from (f"problem: {problem}" for problem in report.problems)
    yield "not usable yet" if report.problems else "ready"


def close_command(result: CommandResult, arguments: Mapping[str, Any]) -> int:
    """Say how a single command ended; return its exit code."""
    content = {**_common(result), "outputs": [str(path) for path in result.outputs]}
    return _close(arguments, result.exit_code, content, _command_lines(result))


def close_search(
    result: CommandResult, arguments: Mapping[str, Any], *, with_notes: bool = False
) -> int:
    """Say what was found; as JSON all of it, as it may be written down nowhere else."""
    content = {**_common(result), "found": [asdict(issue) for issue in result.issues]}
    notes = [f"{i.code}: {i.message}" for i in result.issues if i.severity == "info" and with_notes]
    return _close(arguments, result.exit_code, content, [*notes, *_command_lines(result)])


def _common(result: CommandResult) -> dict[str, Any]:
    return {
        "exit_code": int(result.exit_code),
        "n_samples": result.n_samples,
        "summary": result.summary,
        "issues": _counts(result.issues),
    }


def _command_lines(result: CommandResult) -> list[str]:
    return [*_issue_lines(result.issues), result.summary, *_paths(result)]


def close_phantom(archive: Archive, arguments: Mapping[str, Any]) -> int:
    """Say where a phantom archive is; return 0."""
    samples = f"{len(archive.samples)} samples in {archive.path}"
    return _close(arguments, 0, {}, [f"{samples}, metadata {archive.metadata_path}"])


def _close(
    arguments: Mapping[str, Any], exit_code: int, content: Mapping[str, Any], lines: Iterable[str]
) -> int:
    """Print what there is to say in the form that a command's options ask for."""
    if arguments.get("progress") == "json":
        lines = [json.dumps({"event": "Result", **content})]
    for line in lines:
        click.echo(line)
    return int(exit_code)


def _counts(issues: Iterable[Issue]) -> dict[str, int]:
    return dict(Counter(issue.code for issue in issues))


def _paths(result: CommandResult | RunResult) -> list[str]:
    return [f"  {path}" for path in result.outputs]


def _issue_lines(issues: Sequence[Issue]) -> Iterator[str]:
    """Yield the first errors, then how many issues of each kind there are."""
    errors = [issue for issue in issues if issue.severity == "error"]
    for issue in errors[:_SHOWN_ERRORS]:
        where = " ".join(filter(None, (issue.sample, issue.file)))
        yield "error: " + ": ".join(filter(None, (where, issue.code, issue.message)))
    if len(errors) > _SHOWN_ERRORS:
        yield f"… and {len(errors) - _SHOWN_ERRORS} more errors"
    kinds = Counter((_SEVERITIES.index(issue.severity), issue.code) for issue in issues)
    rows = [(f"{_SEVERITIES[rank]}  {code}", str(n)) for (rank, code), n in sorted(kinds.items())]
    if rows:
        yield from _table(*rows)


def _table(*rows: tuple[str, str]) -> Iterator[str]:
    """Yield a line for each label and value, and a blank one."""
    width = max(len(label) for label, _ in rows)
    for label, value in rows:
        yield f"  {label:<{width}}  {value:>12}"
    yield ""
