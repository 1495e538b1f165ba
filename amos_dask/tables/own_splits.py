"""Splits of one's own, brought up to date when the manifest that they are of changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from amos_dask.errors import ManifestError, number_are
from amos_dask.issues import Issue, make_issue
from amos_dask.root.layout import MANIFEST_SHEET, SPLIT_NAME
from amos_dask.root.own_files import OwnFiles
from amos_dask.tables.own_workbooks import put_workbook
from amos_dask.tables.splits import (
    SPLITS_SHEET,
    official_split,
    read_splits,
    split_hash,
    with_split,
)
from amos_dask.tables.workbook import read_sheet, require_columns

_MOST_NAMES = 5


def put_manifest(
    own: OwnFiles,
    path: Path,
    manifest: pd.DataFrame,
    splits: Mapping[str, pd.DataFrame] | None = None,
) -> list[Issue]:
    """Have a dataset manifest hold a frame, with its splits and their index workbooks.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR.
    path : Path
        The workbook; absolute.
    manifest : DataFrame
        Worksheet ``Manifest``.
    splits : mapping of str to DataFrame, optional
        Other worksheets of ours; splits of one's own that are there are brought up to date.

    Returns
    -------
    list of Issue
        Samples that are in no part of a split.

    Raises
    ------
    ForeignFileError, WorkbookLockedError
        As `put_workbook` does.
    """
    renewed = renew_splits(own, path, manifest)
    sheets = {MANIFEST_SHEET: manifest, **(splits or {}), **renewed.sheets}
    put_workbook(own, path, sheets)
    renew_indexes(own, path, sheets)
    return renewed.issues


@dataclass
class OwnSplits:
    """The splits of a workbook that `make_split` made, for a new manifest."""

    # Their worksheets, and ``Splits``; no others than the workbook has.
    sheets: dict[str, pd.DataFrame] = field(default_factory=dict)
    # Samples that are in no part, though others like them are.
    issues: list[Issue] = field(default_factory=list)


def renew_splits(own: OwnFiles, path: Path, manifest: pd.DataFrame) -> OwnSplits:
    """Return the splits of one's own in a workbook for a manifest that is to be written there.

    Samples stay in their parts, whatever these are called by now; a new sample is in none.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR.
    path : Path
        The workbook; what cannot be read in it has no splits.
    manifest : DataFrame
        Its worksheet ``Manifest`` to be.
    """
    renewed = OwnSplits()
    known = own.find(path)
    if known is not None and SPLIT_NAME in known.sheets:
        renewed.sheets[SPLIT_NAME] = official_split(manifest, SPLIT_NAME, path)
    if not path.is_file() or (own.is_as_written(path) and known and not known.is_shared):
        return renewed
    try:
        listed = read_splits(path)
    except ManifestError:
        return renewed
    rows = listed.to_dict("records")
    for row in rows:
        name = str(row["name"])
        split = _renew(path, name, manifest)
        if split is None:
            continue
        renewed.sheets[name] = split
        row |= {"n_samples": int(split[name].notna().sum()), "sha256": split_hash(split, name)}
        renewed.issues += _find_unassigned(split, name, row["samples"], own.layout.shown(path))
    if rows:
        frame = pd.DataFrame(rows, columns=listed.columns, dtype=object)
        renewed.sheets[SPLITS_SHEET] = frame.where(frame.notna(), None)
    return renewed


def _renew(path: Path, name: str, manifest: pd.DataFrame) -> pd.DataFrame | None:
    """Return a split's worksheet for a new manifest; None where it is none any more."""
    if name == SPLIT_NAME:
        return official_split(manifest, name, path)
    try:
        before = read_sheet(path, name)
        require_columns(before, ("ID", name), path)
        parts = dict(zip(before["ID"].astype(str), before[name], strict=True))
        return with_split(manifest, name, map(parts.get, manifest["ID"].astype(str)), path)
    except ManifestError:
        return None


def _find_unassigned(split: pd.DataFrame, name: str, samples: object, file: str) -> Iterator[Issue]:
    """Yield an issue of the samples that are in no part; those without masks may be meant so."""
    is_meant = split["mask"].notna() if samples == "labelled" else split["ID"].notna()
    names = split["ID"][split[name].isna() & is_meant].astype(str).tolist()
    if names:
        shown = ", ".join(names[:_MOST_NAMES]) + (", …" if len(names) > _MOST_NAMES else "")
        number = f"{number_are(len(names), 'sample')}"
        yield make_issue(
            "unassigned_sample",
            f"{number} in no part of {name}: {shown}",
            file=file,
            action="blank in its worksheet; fill it in there, or make the split anew",
        )


def renew_indexes(own: OwnFiles, path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write the index workbooks anew that `index_manifests` made of a workbook's splits.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR.
    path : Path
        The workbook.
    sheets : mapping of str to DataFrame
        Its worksheets.
    """
    for file, known in list(own.files.items()):
        index = known.index_of
        if index is None or index.manifest != own.layout.key(path) or not file.exists():
            continue
        split = sheets.get(index.split)
        if split is not None:
            values = split[index.split].astype(str).where(split[index.split].notna())
            rows = split[values.isin(index.subsets)]
            put_workbook(own, file, {MANIFEST_SHEET: rows}, index_of=index)
