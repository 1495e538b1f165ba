"""Closing lines on stdout: for people, or one JSON object with ``--json``."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import click

from amos_dask.errors import number_are, number_of
from amos_dask.issues import SEVERITIES

if TYPE_CHECKING:
    import pandas as pd

    from amos_dask.cluster_check import ClusterReport
    from amos_dask.issues import Issue
    from amos_dask.phantom import Archive
    from amos_dask.results import CommandResult, RunPlan, RunResult

_COLOURS = {"error": "red", "warning": "yellow"}
_CODE = re.compile(r"^\| <a id=\"\w+\"></a>`(\w+)` \| (\w+) \| (.*) \|$", re.MULTILINE)
_INDENT = "    "
_LAST_COLUMN = re.compile(r"^(.*\S) {2,}(\S.*)$")
_SHOWN_ERRORS = 20
_SHOWN_NOTES = 50
# Warnings that are told one by one: something of the data is gone.
_SHOWN_WARNINGS = frozenset({"label_vanished", "empty_mask"})


def show_datasets(datasets: pd.DataFrame, *, as_json: bool) -> None:
    """Print the datasets that are known."""
    if as_json:
        click.echo(datasets.to_json(orient="records", indent=2))
        return
    for name, title, *told in datasets.itertuples(index=False):
        click.echo(f"{name}: {title}")
        rows = zip(datasets.columns[2:], told, strict=True)
        for line in _rows(*((what, text) for what, text in rows if text)):
            click.echo(f"  {line}")
        click.echo()


def show_codes(codes: Sequence[str]) -> None:
    """Print what codes of issues mean, as the documents have it; without any, all.

    Raises
    ------
    click.UsageError
        When there is no such code.
    """
    page = files("amos_dask.cli").joinpath("issue_codes.md").read_text(encoding="utf-8")
    meanings = {code: (severity, meaning) for code, severity, meaning in _CODE.findall(page)}
    for code in map(str.casefold, codes or meanings):
        if code not in meanings:
            near = get_close_matches(code, meanings, 1)
            hint = f"did you mean {near[0]}?" if near else "'amos-dask explain' lists all."
            raise click.UsageError(f"there is no code {code}; {hint}")
        severity, meaning = meanings[code]
        _echo(f"{severity}: {code}: {meaning}")
        if codes:
            _echo(f"  in the documents: reference/issues.md#{code}")


def close_run(result: RunResult, arguments: Mapping[str, Any]) -> int:
    """Say how a run ended; return its exit code."""
    counts = ("n_processed", "n_failed", "n_failed_others", "n_changed_voxels")
    content = {
        "exit_code": int(result.exit_code),
        "root_dir": result.root_dir,
        **{name: getattr(result, name) for name in counts},
        "reasons": dict(result.reasons),
        "seconds": round(result.seconds, 3),
        "issues": _codes(result.issues),
        "outputs": result.outputs,
        "replaced_bytes": result.replaced_bytes,
    }
    good, n_before = result.n_processed - result.n_failed, result.reasons.get("complete", 0)
    report = result.root_dir / "descriptor" / "report.html"
    places = "the report and the issues" if report in result.outputs else "the issues"
    remarks = (
        (n_before, "complete before; --force does them again"),
        (result.n_failed, f"failed; see {places}"),
        (result.n_failed_others, "of earlier runs with errors"),
    )
    lines = [
        "",
        *_table(
            ("files in the archive manifest", str(result.counts.n_files)),
            ("samples in the dataset manifest", str(result.counts.n_samples)),
            ("voxels changed by denoising", f"{result.n_changed_voxels:,}"),
            *(
                (f"regions below {threshold:g} mm3", f"{n_before:,} -> {n_after:,}")
                for threshold, n_before, n_after in result.counts.n_regions
            ),
        ),
        # Where a sample is named, its file need not be: issues.xlsx has it.
        *_issue_lines([replace(i, file="") if i.sample else i for i in result.issues]),
        *_rows(
            *((("report", report),) if report in result.outputs else ()),
            ("issues", result.root_dir / "descriptor" / "issues.xlsx"),
            ("manifests", f"{result.root_dir / 'grouped' / 'dataset_manifest.xlsx'} and beside it"),
        ),
        f"{good} of {number_of(result.n_processed, 'sample')} complete in {result.seconds:.1f} s.",
        *(f"{number_of(number, 'sample')} {remark}." for number, remark in remarks if number),
        *([_replaced_line(result.replaced_bytes)] if result.replaced_bytes else ()),
    ]
    return _close(arguments, result.exit_code, content, lines)


def _replaced_line(n_bytes: int) -> str:
    return f"replaced/ holds {_size(n_bytes)} that had to make way; it is yours to empty."


def close_plan(plan: RunPlan, arguments: Mapping[str, Any]) -> int:
    """Say what a run would do; return 0."""
    todo = plan.samples[plan.samples["todo"] != ""]
    n_absent = int((plan.samples["reason"] == "absent").sum())
    content = {
        "archive": plan.archive,
        "changes": plan.changes,
        "n_samples": len(plan.samples),
        "n_todo": len(todo),
        "n_bytes_to_read": plan.n_bytes_to_read,
        "n_bytes_to_write": plan.n_bytes_to_write,
        "peak_memory_bytes": plan.peak_memory_bytes,
        "startup_seconds": round(plan.startup_seconds, 1),
        "cpu_seconds": round(plan.cpu_seconds, 1),
        "samples": plan.samples.to_dict("records"),
    }
    width = max(map(len, todo["reason"]), default=0)
    samples = (
        f"  {row['ID']}  {row['reason']:<{width}}  {row['todo']:<12} "
        f"{row['read_bytes'] / 1e6:6.1f} MB  {row['folder']}"
        for row in todo.to_dict("records")
    )
    rows = _rows(
        ("archive", plan.archive),
        *((("would change", plan.changes),) if plan.changes else ()),
        ("would process", _number_to_do(len(todo), len(plan.samples))),
        *((("not in the archive", number_of(n_absent, "finished sample")),) if n_absent else ()),
        ("would read", _size(plan.n_bytes_to_read)),
        ("would write", f"about {_size(plan.n_bytes_to_write)} to {plan.root_dir}"),
        ("would take", _duration(plan, arguments["cluster"].cluster or "local")),
        ("memory", f"{plan.peak_memory_bytes / 1e9:.1f} GB a worker"),
    )
    return _close(arguments, 0, content, [*samples, *rows], is_answer=True)


def _number_to_do(n_todo: int, n_samples: int) -> str:
    others = n_samples - n_todo
    rest = f"; {number_are(others, 'other')} complete" if others else ""
    return f"{n_todo} of {number_of(n_samples, 'sample')}{rest}"


def _duration(plan: RunPlan, cluster: str) -> str:
    if not plan.startup_seconds:
        return "a moment, without workers"
    start = f"about {plan.startup_seconds:.0f} s to start"
    if not plan.are_kernels_compiled:
        start += " and compile"
    if cluster != "local":
        start = "what workers take to come"
    seconds = plan.cpu_seconds
    whole = f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} minutes"
    return f"{start}, then about {whole} of one core"


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:,.1f} MB" if n_bytes < 1e9 else f"{n_bytes / 1e9:,.1f} GB"


def close_check(report: ClusterReport, arguments: Mapping[str, Any]) -> int:
    """Say what a cluster is like; return 1 when something stands in the way."""
    workers = report.workers.to_dict("records")
    content = {
        "dashboard": report.dashboard,
        "ssh": report.ssh,
        "problems": report.problems,
        "workers": workers,
    }
    machines = (
        f"  {row['host']}  {row['address']}  "
        + (f"{row['memory_bytes'] / 1e9:.1f} GB of memory" if row["memory_bytes"] else "")
        for row in workers
    )
    rows = _rows(
        ("workers", f"{len(workers)} on {number_of(report.workers['host'].nunique(), 'machine')}"),
        ("dashboard", report.dashboard),
        ("from your own machine", report.ssh),
        *(("problem", problem) for problem in report.problems),
    )
    verdict = "not usable yet" if report.problems else "ready"
    lines = [*machines, *rows, verdict]
    return _close(arguments, bool(report.problems), content, lines, is_answer=True)


def close_command(result: CommandResult, arguments: Mapping[str, Any]) -> int:
    """Say how a single command ended; return its exit code."""
    return _close_result(result, arguments, _issue_lines(result.issues), outputs=result.outputs)


def close_search(
    result: CommandResult, arguments: Mapping[str, Any], *, with_notes: bool = False
) -> int:
    """Say what was found; as JSON all of it, as it may be written down nowhere else."""
    notes = [f"{i.code}: {i.message}" for i in result.issues if i.severity == "info" and with_notes]
    lines = [*notes, *_issue_lines(result.issues)]
    return _close_result(result, arguments, lines, is_answer=True, found=_all(result))


def close_export(result: CommandResult, arguments: Mapping[str, Any]) -> int:
    """Say how an export ended; what was outdated, or is not its own, is written down nowhere."""
    others = (issue for issue in result.issues if issue.severity != "error")
    notes = [f"{_described(issue)}; {issue.action}" for issue in others]
    notes = _first(notes, _SHOWN_NOTES, "note", "; --json lists all")
    lines = [*_errors(result.issues), *notes, *_counts(result.issues)]
    return _close_result(result, arguments, lines, outputs=result.outputs, found=_all(result))


def _close_result(
    result: CommandResult,
    arguments: Mapping[str, Any],
    lines: Sequence[str],
    *,
    is_answer: bool = False,
    **told: Any,
) -> int:
    content = {
        "exit_code": int(result.exit_code),
        "n_samples": result.n_samples,
        "summary": result.summary,
        "issues": _codes(result.issues),
        **told,
    }
    lines = [*lines, result.summary, *(f"  {path}" for path in result.outputs)]
    return _close(arguments, result.exit_code, content, lines, is_answer=is_answer)


def close_phantom(archive: Archive, arguments: Mapping[str, Any]) -> int:
    """Say where a phantom archive is; return 0."""
    samples = f"{number_of(len(archive.samples), 'sample')} in {archive.path}"
    return _close(arguments, 0, {}, [f"{samples}, metadata {archive.metadata_path}"])


def close_failure(message: str, exit_code: int) -> None:
    """Say as JSON why a command could not run; people read it on stderr."""
    _close({"progress": "json"}, exit_code, {"exit_code": int(exit_code), "message": message}, ())


def _close(
    arguments: Mapping[str, Any],
    exit_code: int,
    content: Mapping[str, Any],
    lines: Iterable[str],
    *,
    is_answer: bool = False,
) -> int:
    """Print what there is to say in the form that a command's options ask for.

    With ``--quiet`` and when all went well that is what is gone of the data; or all of it, where it
    is what was asked for.
    """
    is_json = arguments.get("progress") == "json"
    if is_json:
        severity = "error" if exit_code else "info"
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        told = {"event": "Result", "time": now, "severity": severity, **content}
        lines = [json.dumps(told, default=str)]  # paths are text
    is_quiet = arguments.get("progress") == "none" and not (exit_code or is_answer)
    for line in filter(_is_of_loss, lines) if is_quiet else lines:
        click.echo(line) if is_json else _echo(line)
    return int(exit_code)


def _echo(line: str) -> None:
    """Print a line with its severity in colour, in parts where the terminal is narrow."""
    first, *rest = fitted(line)
    for part in (_coloured(first), *rest):
        click.echo(part, color=False if os.environ.get("NO_COLOR") else None)


def _is_of_loss(line: str) -> bool:
    """Return whether a line tells of something that is gone, or not known, of the data."""
    return line.startswith(tuple(f"{severity}: " for severity in _COLOURS))


def _coloured(line: str) -> str:
    """Return a line with its severity in colour, which click leaves out but on a terminal."""
    start = len(line) - len(line.lstrip())
    word = line[start:].partition(":")[0].partition(" ")[0]
    if word not in _COLOURS:
        return line
    return line[:start] + click.style(word, fg=_COLOURS[word]) + line[start + len(word) :]


def _all(result: CommandResult) -> list[dict[str, Any]]:
    return [asdict(issue) for issue in result.issues]


def _codes(issues: Iterable[Issue]) -> dict[str, int]:
    return dict(Counter(issue.code for issue in issues))


def _issue_lines(issues: Sequence[Issue]) -> list[str]:
    """Return the first errors and losses, then how many issues of each kind there are."""
    losses = [_described(issue) for issue in issues if issue.code in _SHOWN_WARNINGS]
    warnings = (issue for issue in issues if issue.severity == "warning")
    of_dataset = [_described(issue) for issue in warnings if not issue.sample]
    lines = _errors(issues)
    lines += _first(of_dataset, _SHOWN_ERRORS, "warning", " of the dataset")
    lines += _first(losses, _SHOWN_ERRORS, "warning", " of what is gone")
    return [*lines, *_counts(issues)]


def _errors(issues: Iterable[Issue]) -> list[str]:
    errors = [_described(issue) for issue in issues if issue.severity == "error"]
    return _first(errors, _SHOWN_ERRORS, "error")


def _counts(issues: Iterable[Issue]) -> list[str]:
    """Return how many issues of each kind there are."""
    kinds = Counter((SEVERITIES.index(issue.severity), issue.code) for issue in issues)
    rows = [
        (f"{SEVERITIES[rank]:<7}  {code}", f"{n:,}") for (rank, code), n in sorted(kinds.items())
    ]
    if not rows:
        return []
    _, most = min(kinds, key=lambda kind: (kind[0], -kinds[kind]))  # of the worst
    return [*_table(*rows)[:-1], f"  amos-dask explain {most}  says what that means", ""]


def _first(lines: Sequence[str], most: int, what: str, which: str = "") -> list[str]:
    """Return the first lines, then how many more there are."""
    n_more = len(lines) - most
    more = [f"… and {number_of(n_more, f'more {what}')}{which}"] if n_more > 0 else []
    return [*lines[:most], *more]


def _described(issue: Issue) -> str:
    where = " ".join(filter(None, (issue.sample, issue.file)))
    return ": ".join(filter(None, (issue.severity, where, issue.code, issue.message)))


def _table(*rows: tuple[str, str]) -> list[str]:
    """Return a line for each label and number, and a blank one."""
    width = max(len(label) for label, _ in rows)
    return [*(f"  {label:<{width}}  {number:>12}" for label, number in rows), ""]


def _rows(*rows: tuple[str, object]) -> list[str]:
    """Return a line for each label and value."""
    width = max((len(label) for label, _ in rows), default=0) + 1
    return [f"{label + ':':<{width}} {value}" for label, value in rows]


def fitted(line: str) -> list[str]:
    """Return a line as it is or, where stdout is a terminal, in parts for which it has room.

    No word is broken, so that a path, though too long for the terminal, can be copied.

    Parameters
    ----------
    line : str
        Without its end.
    """
    width = shutil.get_terminal_size().columns
    if not sys.stdout.isatty() or len(line) <= width:
        return [line]
    columns = _LAST_COLUMN.match(line)
    parts = [line] if columns is None else [columns[1], _INDENT + columns[2]]
    if max(map(len, parts)) <= width:
        return parts
    wrapper = textwrap.TextWrapper(
        width, subsequent_indent=_INDENT, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.wrap(line)
