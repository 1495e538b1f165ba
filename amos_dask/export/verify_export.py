"""Whether an export is as it was written, and what of it is outdated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from amos_dask.archive.recognise import EXPORT_MARK
from amos_dask.errors import AmosDaskError
from amos_dask.export.choose import choose_scans
from amos_dask.export.monai import find_base
from amos_dask.export.place import RESULT_VERSION
from amos_dask.issues import Issue, in_order, make_issue
from amos_dask.records import sample_number
from amos_dask.results import CommandResult
from amos_dask.root.export_mark import (
    ExportMark,
    find_exports,
    identity_of,
    is_export,
    path_told,
    read_mark,
)
from amos_dask.root.identity import AlteredFile, Change, identity
from amos_dask.root.layout import Layout, find_root
from amos_dask.root.working import reading_from
from amos_dask.sample.selection import Selection
from amos_dask.sample.soundness import find_damaged, issue_of


def find_export(path: Path) -> Path | None:
    """Return the folder with the mark of an export: a dataset's folder, or beside a datalist."""
    base = find_base(path) if path.suffix == ".json" else path
    return base if is_export(base) else None


def verify_export(base: Path, *, full: bool = False) -> CommandResult:
    """Hold an export against what it was made from and how it was written.

    Parameters
    ----------
    base : Path
        The folder with its mark.
    full : bool
        Decode its images.

    Returns
    -------
    CommandResult
        Files that are missing, altered or outdated are errors.

    Raises
    ------
    AmosDaskError
        When somebody is writing to the export or to its ROOT_DIR.
    """
    with ExitStack() as reading:
        reading.enter_context(reading_from(Layout(base)))
        mark = read_mark(base)
        exported = path_told(base, mark.root_dir)
        root, has_root = find_root(exported), bool(mark.root_dir) and exported.is_dir()
        if has_root:
            reading.enter_context(reading_from(Layout(root)))
        issues = [*_find_altered(base, mark, full=full)]
        issues += _find_outdated(base, mark) if has_root else ()
    if not mark.files:
        message = "an earlier version made it, or it was never finished; export again"
        issues.append(make_issue("outdated_export", message, file=EXPORT_MARK))
    n_errors = sum(issue.severity == "error" for issue in issues)
    against = f"as {root} is" if has_root else f"as written; {mark.root_dir} is not here to compare"
    state = f"sound: {len(mark.files)} files, {against}."
    if n_errors:
        state = (
            f"not sound or outdated, {n_errors} finding{'s' if n_errors > 1 else ''} (see above); "
            "the same 'amos-dask export' again brings it up to date, but for files that somebody "
            "changed, which stay without --adopt."
        )
    n_samples = len(mark.samples) - len(mark.left_out)
    return CommandResult((), n_samples, f"{base}: export, {state}", tuple(in_order(issues)))


def with_outdated_exports(result: CommandResult, layout: Layout) -> CommandResult:
    """Return the result of a ROOT_DIR with a warning for each of its exports that is outdated."""
    outdated = []
    for base in find_exports(layout):
        with suppress(AmosDaskError):  # somebody is writing to it
            codes = {issue.code for issue in verify_export(base).issues}
            outdated += [base] if "outdated_export" in codes else []
    if not outdated:
        return result
    message = "was made from other files than there are now"
    issues = [
        replace(_outdated(message, layout.shown(base)), severity="warning") for base in outdated
    ]
    summary = f"{result.summary} Outdated exports: {', '.join(map(str, outdated))}."
    return replace(result, summary=summary, issues=(*result.issues, *issues))


def _find_altered(base: Path, mark: ExportMark, *, full: bool) -> Iterator[Issue]:
    """Yield an issue for each file that is not as it was written."""
    intact = set()
    for key, own in mark.files.items():
        path = path_told(base, key)
        if not path.exists():
            yield issue_of(AlteredFile(key, Change.GONE, "is gone"))
        elif identity_of(path) != own.identity:
            yield issue_of(AlteredFile(key, Change.OTHER, "is not as the export wrote it"))
        else:
            intact.add(key)
    if full:
        for altered in find_damaged(base, intact):
            yield issue_of(altered)


def _find_outdated(base: Path, mark: ExportMark) -> Iterator[Issue]:
    """Yield an issue for each way in which ROOT_DIR is not what the export was made from."""
    for key, own in mark.files.items():
        if own.is_link and not mark.changes_labels:
            continue  # it is what ROOT_DIR has
        if own.source and _identity(path_told(base, own.source), key) != own.source_identity:
            yield _outdated(f"{Path(own.source).name} is another now, or gone", key)
    if mark.result_version != RESULT_VERSION:
        yield _outdated("another version of this program would make it otherwise", EXPORT_MARK)
    for listed in _find_listed(base, mark):
        if not listed.exists():
            yield _outdated(f"lists {listed.name}, which is gone", f"../{_datalist(base).name}")
    given = mark.label_explanation
    try:
        request = choose_scans(
            path_told(base, mark.root_dir),
            path_told(base, given) if given else None,
            Selection(mark.ids, mark.subset, mark.modality),
            mark.merge_prostate_uterus,
            mark.mr_without_14_16,
        )
    except AmosDaskError as error:
        yield _outdated(f"could not be made again: {error}", EXPORT_MARK)
        return
    now = request.mark(base, mark.form)
    if (now.label_values, now.label_names) != (mark.label_values, mark.label_names):
        yield _outdated("the label map is another now", EXPORT_MARK)
    for sample in sorted(set(now.samples) ^ set(mark.samples), key=sample_number):
        is_new = sample in now.samples
        message = "is in ROOT_DIR and not in the export" if is_new else "is in ROOT_DIR no more"
        yield replace(_outdated(message, EXPORT_MARK), sample=sample)


def _find_listed(base: Path, mark: ExportMark) -> Iterator[Path]:
    """Yield the files that a datalist names."""
    if mark.form != "monai":
        return
    try:
        content = json.loads(_datalist(base).read_text(encoding="utf-8"))
        entries = [*content["training"], *content["testing"]]
        named = [entry[key] for entry in entries for key in ("image", "label") if key in entry]
    except (OSError, ValueError, LookupError, TypeError):
        return  # altered, which is said
    for path in named:
        yield path_told(base.parent, str(path))


def _datalist(base: Path) -> Path:
    return base.with_name(f"{base.name.removesuffix('_labels')}.json")


def _identity(source: Path, key: str) -> str:
    try:
        return identity(source, Path(key).name)
    except OSError:
        return ""


def _outdated(message: str, file: str) -> Issue:
    return make_issue("outdated_export", message, file=file)
