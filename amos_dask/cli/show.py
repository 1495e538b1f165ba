"""Closing lines on stdout: for people, or one JSON object with ``--json``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
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


def close_run(result: RunResult, json_lines: bool) -> int:
    """Say how a run ended; return its exit code."""
    if json_lines:
        _echo_json(
            exit_code=int(result.exit_code),
            root_dir=str(result.root_dir),
            n_processed=result.n_processed,
            n_failed=result.n_failed,
            n_failed_others=result.n_failed_others,
            n_changed_voxels=result.n_changed_voxels,
            reasons=dict(result.reasons),
            seconds=round(result.seconds, 3),
            issues=dict(Counter(issue.code for issue in result.issues)),
            outputs=[str(path) for path in result.outputs],
        )
        return int(result.exit_code)
    click.echo()
    _echo_table(_found_and_repaired(result))
    _echo_issues(result.issues)
    click.echo(f"manifests: {result.root_dir / 'grouped' / 'dataset_manifest.xlsx'} and beside it")
    click.echo(f"issues:    {result.root_dir / 'descriptor' / 'issues.xlsx'}")
    good = result.n_processed - result.n_failed
    click.echo(f"{good} of {result.n_processed} samples complete in {result.seconds:.1f} s.")
    n_before = result.reasons.get("complete", 0)
    if n_before:
        click.echo(f"{n_before} of them were complete before; --force does them again.")
    if result.n_failed:
        click.echo(f"{result.n_failed} samples failed; see issues.xlsx.")
    if result.n_failed_others:
        click.echo(f"{result.n_failed_others} samples of earlier runs have errors.")
    return int(result.exit_code)


def close_demo(result: RunResult, json_lines: bool) -> int:
    """Say how the demo ended and where to look; return its exit code."""
    code = close_run(result, json_lines)
    if not json_lines:
        click.echo("The manifests:")
        for path in result.outputs:
            click.echo(f"  {path}")
    return code


def _found_and_repaired(result: RunResult) -> list[tuple[str, str]]:
    rows = [
        ("files in the archive manifest", str(result.counts.n_files)),
        ("samples in the dataset manifest", str(result.counts.n_samples)),
        ("voxels changed by denoising", f"{result.n_changed_voxels:,}"),
    ]
    for threshold, n_before, n_after in result.counts.n_regions:
        rows.append((f"regions below {threshold:g} mm3", f"{n_before:,} -> {n_after:,}"))
    return rows


def close_plan(plan: RunPlan, json_lines: bool) -> int:
    """Say what a run would do; return 0."""
    samples = plan.samples
    n_todo = int((samples["todo"] != "").sum())
    if json_lines:
        _echo_json(
            archive=plan.archive,
            n_samples=len(samples),
            n_todo=n_todo,
            n_bytes_to_read=plan.n_bytes_to_read,
            n_bytes_to_write=plan.n_bytes_to_write,
            peak_memory_bytes=plan.peak_memory_bytes,
            cpu_seconds=round(plan.cpu_seconds, 1),
            samples=samples.to_dict("records"),
        )
        return 0
    for row in samples[samples["todo"] != ""].to_dict("records"):
        size = f"{row['read_bytes'] / 1e6:8.1f} MB"
        click.echo(f"  {row['ID']}  {row['reason']:<13}  {row['todo']:<12} {size}  {row['folder']}")
    read, written = plan.n_bytes_to_read / 1e9, plan.n_bytes_to_write / 1e9
    click.echo(f"archive: {plan.archive}")
    click.echo(f"would process {n_todo} of {len(samples)} samples; the others are complete")
    click.echo(f"would read {read:.2f} GB and write about {written:.2f} GB to {plan.root_dir}")
    click.echo(
        f"would take about {plan.cpu_seconds / 60:.1f} minutes of one core, and "
        f"{plan.peak_memory_bytes / 1e9:.1f} GB of memory a worker"
    )
    return 0


def close_check(report: ClusterReport, json_lines: bool) -> int:
    """Say what a cluster is like; return 1 when something stands in the way."""
    workers = report.workers
    if json_lines:
        _echo_json(
            dashboard=report.dashboard,
            ssh=report.ssh,
            problems=list(report.problems),
            workers=workers.to_dict("records"),
        )
    else:
        for row in workers.to_dict("records"):
            memory = f"{row['memory_bytes'] / 1e9:.1f} GB of memory" if row["memory_bytes"] else ""
            click.echo(f"  {row['host']}  {row['address']}  {memory}")
        click.echo(f"workers: {len(workers)}, on machines: {workers['host'].nunique()}")
        click.echo(f"dashboard: {report.dashboard}")
        click.echo(f"from your own machine: {report.ssh}")
        for problem in report.problems:
            click.echo(f"problem: {problem}")
        click.echo("not usable yet" if report.problems else "ready")
    return int(bool(report.problems))


def close_command(result: CommandResult, arguments: Mapping[str, Any]) -> int:
    """Say how a single command ended; return its exit code."""
    code = int(result.exit_code)
    if arguments.get("progress") == "json":
        _echo_json(
            exit_code=code,
            n_samples=result.n_samples,
            summary=result.summary,
            issues=dict(Counter(issue.code for issue in result.issues)),
            outputs=[str(path) for path in result.outputs],
        )
        return code
    _echo_issues(result.issues)
    click.echo(result.summary)
    for path in result.outputs:
        click.echo(f"  {path}")
    return code


def close_leaks(result: CommandResult, arguments: Mapping[str, Any]) -> int:
    """Say what `leaks` found, a line each, or as JSON."""
    if arguments.get("progress") == "json":
        return close_verify(result, arguments)
    for issue in result.issues:
        if issue.severity == "info":
            click.echo(f"{issue.code}: {issue.message}")
    return close_command(result, arguments)


def close_verify(result: CommandResult, arguments: Mapping[str, Any]) -> int:
    """Say what `verify` found; as JSON all of it, as it is written down nowhere else."""
    if arguments.get("progress") != "json":
        return close_command(result, arguments)
    _echo_json(
        exit_code=int(result.exit_code),
        n_samples=result.n_samples,
        summary=result.summary,
        issues=dict(Counter(issue.code for issue in result.issues)),
        found=[asdict(issue) for issue in result.issues],
    )
    return int(result.exit_code)


def close_phantom(archive: Archive) -> int:
    """Say where a phantom archive is; return 0."""
    click.echo(
        f"{len(archive.samples)} samples in {archive.path}, metadata {archive.metadata_path}"
    )
    return 0


def _echo_issues(issues: Iterable[Issue]) -> None:
    issues = list(issues)
    if not issues:
        return
    errors = [issue for issue in issues if issue.severity == "error"]
    for issue in errors[:_SHOWN_ERRORS]:
        where = " ".join(filter(None, (issue.sample, issue.file)))
        click.echo("error: " + ": ".join(filter(None, (where, issue.code, issue.message))))
    if len(errors) > _SHOWN_ERRORS:
        click.echo(f"… and {len(errors) - _SHOWN_ERRORS} more errors")
    kinds = Counter((issue.severity, issue.code) for issue in issues)
    ordered = sorted(kinds.items(), key=lambda item: (_SEVERITIES.index(item[0][0]), item[0][1]))
    _echo_table([(f"{severity}  {code}", str(count)) for (severity, code), count in ordered])


def _echo_table(rows: list[tuple[str, str]]) -> None:
    width = max((len(left) for left, _ in rows), default=0)
    for left, right in rows:
        click.echo(f"  {left:<{width}}  {right:>12}")
    click.echo()


def _echo_json(**content: Any) -> None:
    click.echo(json.dumps({"event": "Result", **content}))
