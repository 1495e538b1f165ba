"""Whether an export is as it was written, and what of it is outdated."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from amos_dask.archive.recognise import EXPORT_MARK
from amos_dask.errors import AmosDaskError, number_of
from amos_dask.export.programs import find_base
from amos_dask.export.wanted import RESULT_VERSION, find_wanted
from amos_dask.issues import Issue, in_order, make_issue
from amos_dask.records import by_number
from amos_dask.results import CommandResult
from amos_dask.root.export_mark import (
    ExportMark,
    find_exports,
    identity_of,
    is_export,
    path_told,
    read_mark,
)
from amos_dask.root.layout import Layout, find_root
from amos_dask.root.staging import identity
from amos_dask.root.working import reading_from
from amos_dask.sample.soundness import find_damaged, issue_of

_ADVICE = "the same 'amos-dask export' again brings it up to date"
_CHANGED = ", but for files that somebody changed, which stay without --adopt"
_ADOPT = "stays at the next export, unless --adopt moves it to replaced/ in the export"


def find_exports_at(path: Path) -> list[Path]:
    """Return the folders with the marks of the exports that a path stands for.

    It is a dataset's folder, a datalist, or ``nnUNet_raw``, which holds exports and is neither a
    ROOT_DIR nor where a downloaded zip lies.
    """
    base = find_base(path) if path.suffix == ".json" else path
    if is_export(base):
        return [base]
    if base != path or Layout(path).receipts.is_dir() or any(path.glob("*.zip")):
        return []
    return [folder for folder in sorted(path.glob("Dataset*")) if is_export(folder)]


def verify_exports(path: Path, bases: Sequence[Path], *, full: bool = False) -> CommandResult:
    """Hold exports against what they were made from and how they were written.

    Parameters
    ----------
    path : Path
        What was asked for.
    bases : sequence of Path
        The folders with the marks; of one, or of all in a folder.
    full : bool
        Decode their images.

    Raises
    ------
    AmosDaskError
        When somebody is writing to an export or to its ROOT_DIR.
    """
    issues, results = list[Issue](), [_verify_export(base, full=full) for base in bases]
    for base, result in zip(bases, results, strict=True):
        inside = base.relative_to(path) if base.is_relative_to(path) else Path()
        issues += [replace(i, file=(inside / i.file).as_posix()) for i in result.issues]
    summary = " ".join(result.summary for result in results)
    n_samples = sum(result.n_samples for result in results)
    return CommandResult((), n_samples, summary, tuple(in_order(issues)))


def _verify_export(base: Path, *, full: bool = False) -> CommandResult:
    with ExitStack() as reading:
        reading.enter_context(reading_from(Layout(base)))
        mark = read_mark(base)
        exported = Path(mark.root_dir)
        root, has_root = find_root(exported), bool(mark.root_dir) and exported.is_dir()
        if has_root:
            reading.enter_context(reading_from(Layout(root)))
        issues = [*_find_altered(base, mark, full=full)]
        issues += _find_outdated(base, mark) if has_root else ()
    if not mark.files:
        message = "an earlier version made it, or it was never finished; export again"
        issues.append(_outdated(message))
    against = f"as {root} is" if has_root else f"as written; {mark.root_dir} is not here to compare"
    state = f"sound: {number_of(len(mark.files), 'file')}, {against}"
    if errors := [issue for issue in issues if issue.severity == "error"]:
        findings = f"{number_of(len(errors), 'finding')} (see above)"
        advice = _ADVICE + (_CHANGED if any(issue.action == _ADOPT for issue in errors) else "")
        state = f"not sound or outdated, {findings}; {advice}"
    n_samples = len(mark.samples) - len(mark.left_out)
    return CommandResult((), n_samples, f"{base}: export, {state}.", tuple(issues))


def with_outdated_exports(result: CommandResult, layout: Layout) -> CommandResult:
    """Return the result of a ROOT_DIR with a warning for each of its exports that is outdated."""
    issues, outdated = list(result.issues), []
    for base in find_exports(layout):
        with suppress(AmosDaskError):  # somebody is writing to it
            if any(issue.code == "outdated_export" for issue in _verify_export(base).issues):
                outdated.append(str(base))
                message = "was made from other files than there are now"
                issues.append(replace(_outdated(message, layout.shown(base)), severity="warning"))
    if not outdated:
        return result
    summary = f"{result.summary} Outdated exports: {', '.join(outdated)}."
    return replace(result, summary=summary, issues=tuple(issues))


def _find_altered(base: Path, mark: ExportMark, *, full: bool) -> Iterator[Issue]:
    """Yield an issue for each file that is not as it was written."""
    intact = set()
    for key, own in mark.files.items():
        path = path_told(base, key)
        if not path.exists():
            yield make_issue("missing_output", "is gone", file=key)
        elif identity_of(path) != own.identity:
            message = "is not as the export wrote it"
            yield make_issue("altered_output", message, file=key, action=_ADOPT)
        else:
            intact.add(key)
    if full:
        yield from map(issue_of, find_damaged(base, intact))


def _find_outdated(base: Path, mark: ExportMark) -> Iterator[Issue]:
    """Yield an issue for each way in which ROOT_DIR is not what the export was made from."""
    for key, own in mark.files.items():
        if own.is_link and not mark.changes_labels:
            continue  # it is what ROOT_DIR has
        for source, known in _sources(base, mark, key).items():
            path = path_told(base, source)
            with suppress(OSError):
                if identity(path) == known:
                    continue
            yield _outdated(f"{path.name} is another now, or gone", key)
    if mark.result_version != RESULT_VERSION:
        yield _outdated("another version of this program would make it otherwise")
    datalist = base.with_name(f"{base.name.removesuffix('_labels')}.json")
    for listed in _find_listed(datalist) if mark.form == "monai" else ():
        if not listed.exists():
            yield _outdated(f"lists {listed.name}, which is gone", f"../{datalist.name}")
    try:
        now, _ = find_wanted(mark)
    except AmosDaskError as error:
        yield _outdated(f"could not be made again: {error}")
        return
    if (now.label_values, now.label_names) != (mark.label_values, mark.label_names):
        yield _outdated("the label map is another now")
    if now.arrays != mark.arrays:
        yield _outdated("the median spacing is another now")
    if now.parts != mark.parts:
        yield _outdated(f"{mark.split_name} has other parts now")
    for sample in sorted(set(now.samples) ^ set(mark.samples), key=by_number):
        is_new = sample in now.samples
        message = "is in ROOT_DIR and not in the export" if is_new else "is in ROOT_DIR no more"
        yield replace(_outdated(message), sample=sample)


def _sources(base: Path, mark: ExportMark, key: str) -> dict[str, str]:
    """Return the files of ROOT_DIR that a file was made from, with their identities then.

    Of arrays, the record that lies beside them tells all.
    """
    own = mark.files[key]
    found = {own.source: own.source_identity} if own.source else {}
    if mark.form == "arrays" and own.source and key.endswith(".json"):
        with suppress(OSError, ValueError, LookupError, TypeError):
            found |= json.loads((base / key).read_bytes())["made_from"]["sources"]
    return found


def _find_listed(datalist: Path) -> list[Path]:
    """Return the files that a datalist names; of one that was altered, which is said, a part."""
    named = list[str]()
    with suppress(OSError, ValueError, LookupError, TypeError):
        content = json.loads(datalist.read_text(encoding="utf-8"))
        for entry in (*content["training"], *content["testing"]):
            images = entry["image"]
            named += [images] if isinstance(images, str) else images
            named += [entry["label"]] if "label" in entry else []
    return [path_told(datalist.parent, str(path)) for path in named]


def _outdated(message: str, file: str = EXPORT_MARK) -> Issue:
    return make_issue("outdated_export", message, file=file)
