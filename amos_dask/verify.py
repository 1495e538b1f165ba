"""``verify``: whether a download, or what `run` made of it, is complete and sound; writes nothing.

An archive is held against itself: headers, the ends of files, the zip's directory, dataset.json.
A ROOT_DIR is held against what `run` keeps of it: receipts, the record of the manifests.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from amos_dask.archive.discover import discover
from amos_dask.archive.sources import compare_with_published, describe_progress
from amos_dask.datasets import DEFAULT, DatasetDefinition, PublishedFile, find_definition
from amos_dask.engine.events import BytesDone, Listener
from amos_dask.engine.session import Session, open_session
from amos_dask.errors import (
    AmosDaskError,
    ArchiveError,
    DamagedArchiveError,
    ManifestError,
    number_of,
    raise_on_sigterm,
)
from amos_dask.export.verify_export import find_exports_at, verify_exports, with_outdated_exports
from amos_dask.file_refs import file_name, is_url, is_zip, shown
from amos_dask.issues import Issue, in_order, make_issue
from amos_dask.params import Params
from amos_dask.records import by_number
from amos_dask.results import CommandResult, all_issues, step_results
from amos_dask.root.choices import find_archives, find_exclusions, find_label_map, layout_for
from amos_dask.root.layout import Layout, SampleFolder, absolute, find_samples_of
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.receipts import Change, Receipts
from amos_dask.root.staging import find_journals, is_leftover
from amos_dask.root.table_state import TableCounts, read_table_state
from amos_dask.root.working import reading_from
from amos_dask.sample.selection import EVERYTHING, Selection
from amos_dask.sample.soundness import RootSample, Verified, issue_of, verify_outputs, verify_sample
from amos_dask.sample.todo import other_choices
from amos_dask.tables.issue_files import read_issues
from amos_dask.tables.own_workbooks import find_altered_files
from amos_dask.tables.workbook import load

# Of what finding the scans says, that of the files' names; what the csv says is not verified.
_OF_NAMES = (
    {"junk_ignored", "unexpected_file", "duplicate_file", "missing_mask", "mask_without_volume"}
    | {"bad_dataset_json", "not_in_dataset_json", "listed_but_absent"}
    | {"subset_mismatch", "subset_counts", "missing_channel"}
)

_TAKEN_UP = "; run takes up what it says now"
_RECORDED = "recorded by the last run: "
_STAYS = "stays at the next run, unless --adopt moves it to replaced/"


def verify(
    path: str | Path,
    *,
    full: bool = False,
    md5: bool = False,
    dataset: str | Path | None = None,
    selection: Selection = EVERYTHING,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Look whether an archive, a ROOT_DIR made by `run`, or an export is complete and sound.

    Nothing is written anywhere, and no voxel is decoded unless asked for: of an archive, headers
    are read and the ends of every file are held against them; of a ROOT_DIR, every file is held
    against the size and checksum that `run` kept of it; of an export, every file against what its
    mark keeps, and what it was made from against ROOT_DIR.

    Parameters
    ----------
    path : str or Path
        An archive (folder, ``amos22.zip``, tar, or a URL of any), a ROOT_DIR, or an export: a
        dataset's folder or a datalist; of ``nnUNet_raw``, all exports in it.
    full : bool
        Decode everything, so that every checksum is compared.
    md5 : bool
        Compare the archive, a zip file, with the published one first.
    dataset : str or Path, optional
        Name of a packaged dataset, or the path of a definition (YAML); by default what
        ROOT_DIR holds already, else AMOS22.
    selection : Selection
        Which samples; of a ROOT_DIR only their folders are looked at then.
    cluster : ClusterOptions, distributed.Client, str or None
        Where to run; None for a local cluster.
    progress : str or callable
        ``auto``, ``bar``, ``plain``, ``json``, ``none``, or a listener of events.

    Returns
    -------
    CommandResult
        Sound when there is no error among its issues.

    Raises
    ------
    AmosDaskError
        When the path is neither an archive nor a ROOT_DIR nor an export, or a run is at work
        there.

    Examples
    --------
    >>> result = amos_dask.verify("data/AMOS22", progress="none")
    >>> result.exit_code.name, result.n_samples
    ('DONE', 12)
    """
    here = None if is_url(str(path)) else absolute(path)
    with raise_on_sigterm():
        exports = [] if here is None else find_exports_at(here)
        if here is not None and exports:
            if md5 or not selection.is_everything:
                what = "is an export; it is verified as a whole, without --md5"
                raise AmosDaskError(f"{path}: {what}.")
            return verify_exports(here, exports, full=full)
        layout = None if here is None else layout_for(here, dataset)
        if layout is not None and layout.receipts.is_dir():
            if md5:
                raise AmosDaskError(f"{path}: --md5 is for amos22.zip, and this is a ROOT_DIR.")
            with reading_from(layout), open_session(cluster, progress) as session:
                result = _verify_root(session, layout, selection, full=full)
                return with_outdated_exports(result, layout)
        (location,) = (str(path),) if layout is None else find_archives(layout, path)
        definition = find_definition(dataset or DEFAULT) if layout is None else layout.dataset
        published = _require_published(location, definition) if md5 else None
        with open_session(cluster, progress) as session:
            return _verify_archive(session, location, definition, selection, published, full=full)


def _require_published(location: str, definition: DatasetDefinition) -> PublishedFile:
    if not definition.published:
        raise AmosDaskError(f"{location}: of {definition.name} no file with an MD5 is known.")
    is_whole = is_zip(location) and definition.published_zip is not None
    found = definition.published_zip if is_whole else definition.published.get(file_name(location))
    if found is None:
        raise AmosDaskError(
            f"{shown(location)}: --md5 is for {', '.join(definition.published)}, and this is none."
        )
    return found


def _conclude(
    where: str, n_samples: int, issues: list[Issue], sound: str, unsound: str, advice: str
) -> CommandResult:
    issues = in_order(issues)
    n = sum(issue.severity == "error" for issue in issues)
    findings = f"{number_of(n, 'finding')} (see above)"
    state = f"{unsound}, {findings}; {advice}." if n else f"sound: {sound}."
    return CommandResult((), n_samples, f"{where}: {state}", tuple(issues))


# ---------------------------------------------------------------- an archive


def _verify_archive(
    session: Session,
    location: str,
    definition: DatasetDefinition,
    selection: Selection,
    published: PublishedFile | None,
    *,
    full: bool,
) -> CommandResult:
    conclude = partial(
        _conclude, shown(location), unsound="not sound", advice="download those files again"
    )
    issues = []
    if published is not None:
        name = file_name(location)
        found = compare_with_published(
            location, published, lambda *n: session.listener(BytesDone("md5", name, *n))
        )
        issues += [] if found is None else [found]
    try:
        # The csv is not verified: whatever it says of MR must not stop this.
        archive = discover([location], definition, mr_metadata_offset="0")
    except DamagedArchiveError as error:
        # Its size, where that was asked for, says the same and what to do.
        return conclude(0, issues or [_damaged_zip(location, error, definition)], sound="")
    except ArchiveError as error:
        if not str(error).startswith(f"{location}: ") or is_url(location):
            raise  # the csv, or the network
        raise ArchiveError(f"{error} Nor is it a ROOT_DIR that 'amos-dask run' made.") from error
    samples = selection.choose(archive.samples)
    look = partial(verify_sample, full=full, label_values=archive.definition.label_values)
    results = step_results(session.map("verify", look, samples))
    chosen = {"", *(sample.sample_id for sample in samples)}
    issues += [i for i in archive.issues if i.code in _OF_NAMES and i.sample in chosen]
    issues += all_issues(results)
    looked_at = [result.value for result in results if result.value is not None]
    seen = "headers and ends"
    if n_without_end := sum(sample.n_without_end for sample in looked_at):
        seen = f"headers, of {n_without_end} no ends as the zip packs them"
    how = "all voxels decoded" if full else f"{seen}; --full decodes all voxels"
    n_files = sum(sample.n_files for sample in looked_at)
    sound = f"{number_of(len(looked_at), 'sample')}, {number_of(n_files, 'file')} ({how})"
    return conclude(len(samples), issues, sound=sound)


def _damaged_zip(location: str, error: DamagedArchiveError, definition: DatasetDefinition) -> Issue:
    message, published = str(error).removeprefix(f"{shown(location)}: "), definition.published_zip
    if published is not None and (progress := describe_progress(location, published)):
        message += f" If it is the published one, it {progress}."
    return make_issue("damaged_zip", message, file=file_name(location))


# ---------------------------------------------------------------- a ROOT_DIR


def _verify_root(
    session: Session, layout: Layout, selection: Selection, *, full: bool
) -> CommandResult:
    samples = _find_samples(layout, selection)
    results = step_results(session.map("verify", partial(verify_outputs, full=full), samples))
    issues = all_issues(results)
    verified = {r.sample_id: r.value for r in results if r.value is not None}
    issues += _verify_choices(layout, verified)
    if selection.is_everything:
        issues += _verify_manifests(layout, [result.value for result in results])
        issues += _find_leftovers(layout)
    issues = [_say_adopt(layout, issue) for issue in issues]
    is_altered = any(issue.severity == "error" for issue in issues)
    told = {"", *(result.sample_id for result in results)}
    issues += [
        replace(issue, message=f"{_RECORDED}{issue.message}")
        for issue in read_issues(layout.descriptor / "issues.jsonl")
        if issue.severity == "error" and (selection.is_everything or issue.sample in told)
    ]
    written = number_of(sum(s.n_files for s in verified.values()), "file") + " as written"
    if n_edited := sum(sample.n_edited for sample in verified.values()):
        written += f", {n_edited} of them edited by hand"
    how = "all images decoded" if full else "sizes and checksums; --full decodes all images"
    return _conclude(
        str(layout.root),
        len(results),
        issues,
        sound=f"{number_of(len(results), 'sample')}, {written} ({how})",
        unsound="not as it was written" if is_altered else "as it was written, with errors",
        advice=_advise(issues),
    )


def _advise(issues: Sequence[Issue]) -> str:
    """Say what repairs what was found, and what does not."""
    errors = [issue for issue in issues if issue.severity == "error"]
    advice = "running the same command ('amos-dask run') again repairs it"
    if any("--adopt" in issue.action for issue in errors):
        advice += ", but for what is in the way of its files, which stays without --adopt"
    recorded = (issue for issue in errors if issue.message.startswith(_RECORDED))
    if not all(issue.file.startswith(("grouped/", "descriptor/")) for issue in recorded):
        advice += ", but for what it recorded as error before, which is to be mended in the archive"
    return advice


def _say_adopt(layout: Layout, issue: Issue) -> Issue:
    """Say of what the next run does not write over what makes it do so."""
    if issue.code == "no_receipt":
        return replace(issue, action="run takes what is as it would write it; the rest " + _STAYS)
    stays = issue.code == "altered_output" and _is_in_the_way(layout.root / issue.file)
    return replace(issue, action=_STAYS) if stays else issue


def _is_in_the_way(path: Path) -> bool:
    """Return whether what is in the place of a file of ours is none, or no workbook we can read."""
    if path.is_symlink() or path.suffix != ".xlsx":
        return path.is_symlink() or not path.is_file()
    try:
        load(path, read_only=True).close()
    except ManifestError:
        return True
    return False


def _verify_choices(layout: Layout, samples: Mapping[str, Verified]) -> Iterator[Issue]:
    """Yield the choices of people that are not those which samples were made with."""
    changed = partial(make_issue, "changed_choice")
    state = read_table_state(layout)
    if state is not None and state.has_other_definition(layout):
        file = layout.shown(layout.dataset_yaml)
        yield changed(f"is not the definition that tables were made with{_TAKEN_UP}", file=file)
    try:
        label_map = find_label_map(layout, None)
        exclusions = find_exclusions(layout, None, label_map)
    except AmosDaskError as error:
        yield changed(str(error))
        return
    may_be_restored = state is None or not state.has_other_exclusions(layout)
    others: dict[Path, list[str]] = {layout.label_map: [], layout.denoise_exclude: []}
    for name, sample in samples.items():
        params = Params(layout.dataset, label_map, excluded=exclusions.for_sample(name))
        differs = other_choices(sample.masks_made_with, params, may_be_restored=may_be_restored)
        for names, is_other in zip(others.values(), differs, strict=True):
            names += [name] if is_other else []
    for path, names in others.items():
        if names:
            n = f"{number_of(len(names), 'sample')} such as {names[0]}"
            yield changed(f"is not what {n} was made with{_TAKEN_UP}", file=layout.shown(path))


def _find_samples(layout: Layout, selection: Selection) -> list[RootSample]:
    """Return each sample that has a folder, a receipt, or both."""
    receipts = Receipts(layout)
    found = find_samples_of(layout)
    for sample_id in set(receipts.sample_ids()) - {folder.sample_id for folder in found}:
        receipt = receipts.read(sample_id)
        files = None if receipt is None else receipt.record.files
        nowhere = layout.sample_folder(layout.grouped, sample_id)
        found.append(nowhere if files is None else layout.folder_of(files))
    folders = defaultdict[str, list[SampleFolder]](list)
    for folder in selection.choose_folders(found):
        folders[folder.sample_id].append(folder)
    return [
        RootSample(name, layout, tuple(folders[name])) for name in sorted(folders, key=by_number)
    ]


def _verify_manifests(layout: Layout, samples: Sequence[Verified | None]) -> Iterator[Issue]:
    state = read_table_state(layout)
    if state is None:
        file = layout.tables.relative_to(layout.root).as_posix()
        yield make_issue("incomplete_run", "there is no record of the manifests", file=file)
        return
    own = OwnFiles(layout)
    since = own.find_there(layout.card, layout.croissant, *own.find_twins())  # written since
    names = dict.fromkeys((*state.tables, *state.others, *layout.keys(since)))
    for altered in find_altered_files(own, names):
        is_ours = altered.change == Change.GONE or own.find(layout.root / altered.path) is not None
        yield replace(issue_of(altered), action="" if is_ours else _STAYS)
    found = [sample for sample in samples if sample is not None]
    if len(found) == len(samples):
        for message in _compare_counts(state.counts, found):
            yield make_issue("incomplete_run", message)


def _compare_counts(counts: TableCounts, samples: Sequence[Verified]) -> Iterator[str]:
    """Yield what tells that the manifests were made from other samples than there are now."""
    if counts.n_samples != len(samples):
        n_listed = number_of(counts.n_samples, "sample")
        yield f"the manifests list {n_listed}, there are {len(samples)}"
    with_masks = [sample.n_regions for sample in samples if sample.n_regions]
    for threshold, *listed in counts.n_regions:
        if not all(threshold in found for found in with_masks):
            continue  # an earlier run did not count below it
        n = [sum(both) for both in zip(*(f[threshold] for f in with_masks), strict=True)]
        if with_masks and n != listed:
            yield (
                f"the manifests list {listed[0]} and {listed[1]} regions below {threshold:g} mm3 "
                f"before and after denoising, the samples have {n[0]} and {n[1]}"
            )


def _find_leftovers(layout: Layout) -> Iterator[Issue]:
    """Yield temporary files: those that the next run removes, and those that no list knows."""
    ours = {path for journal in find_journals(layout) for path in journal.temporaries()}
    for top in (layout.descriptor, layout.grouped, layout.state):
        for folder, _, names in os.walk(top):
            for path in (Path(folder, name) for name in filter(is_leftover, names)):
                found = make_issue("leftover", "a temporary file of a run that was killed")
                if top != layout.state and path not in ours:
                    message = "named like a temporary file, and in no list of ours; it stays"
                    found = replace(found, message=message, severity="warning")
                yield replace(found, file=layout.key(path))
