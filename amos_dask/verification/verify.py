"""``verify``: whether a download, or what `run` made of it, is complete and sound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from amos_dask.archive.discover import Discovery, discover
from amos_dask.archive.locations import is_url, is_zip, shown
from amos_dask.archive.published import (
    compare_with_published,
    count_bytes,
    describe_progress,
    file_name,
    is_too_small,
)
from amos_dask.arguments import find_archive
from amos_dask.datasets import DatasetDefinition, find_definition
from amos_dask.engine.events import BytesDone, Listener
from amos_dask.engine.session import Session, open_session
from amos_dask.errors import AmosDaskError, ArchiveError, DamagedZipError
from amos_dask.issues import Issue, make_issue
from amos_dask.reporting import all_issues, step_results
from amos_dask.results import CommandResult
from amos_dask.root.dataset import layout_for
from amos_dask.root.layout import absolute
from amos_dask.selection import EVERYTHING, Selection
from amos_dask.verification.of_archive import ArchiveCheck, Seen, verify_sample
from amos_dask.verification.of_root import count_findings, verify_root

# Issues of the names of files; what the csv says of the patients is not verified.
_OF_FILES = frozenset(
    {
        "junk_ignored",
        "unexpected_file",
        "duplicate_file",
        "bad_dataset_json",
        "subset_mismatch",
        "not_in_dataset_json",
        "listed_but_absent",
        "subset_counts",
        "missing_mask",
        "mask_without_volume",
    }
)


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
    """Look whether an archive, or a ROOT_DIR made by `run`, is complete and sound.

    Nothing is written anywhere, and no voxel is decoded unless asked for: of an archive, headers
    are read and the ends of every file are held against them; of a ROOT_DIR, every file is held
    against the size and checksum that `run` kept of it.

    Parameters
    ----------
    path : str or Path
        An archive (folder, ``amos22.zip``, or a URL of either), or a ROOT_DIR.
    full : bool
        Decode everything, so that every checksum is compared.
    md5 : bool
        Compare the archive, a zip file, with the published one first.
    dataset : str or Path, optional
        ``amos22``, ``ct-org``, ``decathlon``, or the path of a definition (YAML); by default what
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
        When the path is neither an archive nor a ROOT_DIR, or a run is at work there.
    """
    layout = None if is_url(str(path)) else layout_for(absolute(path), dataset)
    if layout is not None and layout.receipts.is_dir():
        if md5:
            raise AmosDaskError(f"{path}: --md5 is for amos22.zip, and this is a ROOT_DIR.")
        with open_session(cluster, progress) as session:
            return verify_root(session, layout, selection, full=full)
    location = str(path) if layout is None else find_archive(layout, path)
    definition = find_definition(dataset or "amos22") if layout is None else layout.dataset
    if md5 and definition.published_zip is None:
        raise AmosDaskError(f"{location}: {definition.name} is not published as one zip file.")
    if md5 and not is_zip(location):
        raise AmosDaskError(f"{shown(location)}: --md5 is for amos22.zip, and this is a folder.")
    with open_session(cluster, progress) as session:
        return _verify_archive(session, location, definition, selection, full=full, md5=md5)


def _verify_archive(
    session: Session,
    location: str,
    definition: DatasetDefinition,
    selection: Selection,
    *,
    full: bool,
    md5: bool,
) -> CommandResult:
    issues = _compare_with_published(session, location, definition) if md5 else []
    try:
        found = _discover(location, definition)
    except DamagedZipError as error:
        # Its size, where that was asked for, says the same and what to do.
        return _result(location, 0, issues or [_damaged_zip(location, error, definition)], "")
    samples = selection.choose(found.samples)
    checks = [ArchiveCheck(sample, full) for sample in samples]
    results = step_results(session.map("verify", verify_sample, checks))
    chosen = {"", *(sample.sample_id for sample in samples)}
    issues += [i for i in found.issues if i.code in _OF_FILES and i.sample in chosen]
    issues += all_issues(results)
    seen = [result.value for result in results if result.value is not None]
    return _result(location, len(samples), issues, _describe(seen, full=full))


def _describe(seen: Sequence[Seen], *, full: bool) -> str:
    """Say what was looked at, and what was not."""
    n_files = sum(sample.n_files for sample in seen)
    n_unseen = sum(sample.n_unseen_ends for sample in seen)
    how = "all voxels decoded" if full else "headers and ends; --full decodes all voxels"
    if n_unseen:
        how = f"headers, of {n_unseen} no ends as the zip packs them; --full decodes all voxels"
    return f"{len(seen)} samples, {n_files} files ({how})"


def _compare_with_published(
    session: Session, location: str, definition: DatasetDefinition
) -> list[Issue]:
    if definition.published_zip is None:
        return []
    name, listener = file_name(location), session.listener
    found = compare_with_published(
        location,
        definition.published_zip,
        lambda n_read, n_bytes: listener(BytesDone("md5", name, n_read, n_bytes)),
    )
    return [] if found is None else [found]


def _discover(location: str, definition: DatasetDefinition) -> Discovery:
    try:
        # The csv is not verified: whatever it says of MR must not stop this.
        return discover(location, mr_metadata_offset="0", definition=definition)
    except DamagedZipError:
        raise
    except ArchiveError as error:
        if not str(error).startswith(f"{location}: ") or is_url(location):
            raise  # the csv, or the network
        raise ArchiveError(f"{error} Nor is it a ROOT_DIR that 'amos-dask run' made.") from error


def _damaged_zip(location: str, error: DamagedZipError, definition: DatasetDefinition) -> Issue:
    message = str(error).removeprefix(f"{shown(location)}: ")
    published, n_bytes = definition.published_zip, count_bytes(location)
    if published is not None and n_bytes is not None and is_too_small(n_bytes, published):
        message += f" If it is the published one, it {describe_progress(n_bytes, published)}."
    return make_issue("damaged_zip", message, file=file_name(location))


def _result(location: str, n_samples: int, issues: list[Issue], looked_at: str) -> CommandResult:
    issues = sorted(issues, key=lambda issue: issue.sort_key)
    n_errors = sum(issue.severity == "error" for issue in issues)
    state = f"sound: {looked_at}."
    if n_errors:
        state = f"not sound, {count_findings(n_errors)}; download those files again."
    return CommandResult((), n_samples, f"{shown(location)}: {state}", tuple(issues))
