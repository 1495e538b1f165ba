"""Splits of a dataset manifest: worksheets and index manifests; one's own are kept up to date."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.errors import ManifestError, number_are
from amos_dask.issues import Issue, make_issue
from amos_dask.root.layout import MANIFEST_SHEET, SPLIT_NAME
from amos_dask.root.own_files import OwnFiles
from amos_dask.tables.cells import COLUMNS_SHEET
from amos_dask.tables.own_workbooks import put_workbook
from amos_dask.tables.workbook import (
    read_sheet,
    require_columns,
    require_title,
    sheet_names,
)

STANDARD_SUBSETS: tuple[tuple[str, ...], ...] = (("train", "val"), ("train",), ("val",), ("test",))
# The worksheet that says how each split was made, where there are others than the official one.
SPLITS_SHEET = "Splits"

_NUMBERED = re.compile(r"split(\d{1,9})_", re.IGNORECASE)


@dataclass(frozen=True)
class SplitMethod:
    """How a split is made: what gives the same split of the same manifest again."""

    kind: str = "official"  # or ``kfold``, ``holdout``
    # Part -> its share of the samples; empty where the manifest's subsets are the parts.
    shares: Mapping[str, Fraction] = field(default_factory=dict)
    parts: str = ""  # number of folds, or fractions with commas
    seed: int | None = None  # of the shuffling
    stratify: tuple[str, ...] = ()  # by what
    group: str = ""  # what stays together: ``patient`` or nothing
    samples: str = "all"  # or ``labelled``

    def cells(self) -> dict[str, Any]:
        """Return its cells of worksheet ``Splits``."""
        values = (self.kind, self.parts, self.seed, ",".join(self.stratify), self.group)
        return dict(zip(_METHOD_COLUMNS, (*values, self.samples), strict=True))


_METHOD_COLUMNS = ("kind", "parts", "seed", "stratify", "group", "samples")
SPLIT_COLUMNS = ("name", *_METHOD_COLUMNS, "n_samples", "sha256")


def require_split_name(split_name: str) -> None:
    """Raise `ManifestError` when a name cannot be a worksheet's title and part of a file name."""
    require_title(split_name)
    taken = {
        MANIFEST_SHEET: "main worksheet",
        SPLITS_SHEET: "list of splits",
        COLUMNS_SHEET: "list of columns",
    }
    for title, what in taken.items():
        if split_name.casefold() == title.casefold():
            raise ManifestError(f"a split cannot be named {split_name!r}, as the {what} is.")


def is_own_split(path: Path, split_name: str, listed: pd.DataFrame) -> bool:
    """Return whether a worksheet is a split that was made here, and its parts are as they were.

    Parameters
    ----------
    path : Path
        The workbook.
    split_name : str
        The worksheet.
    listed : DataFrame
        Worksheet ``Splits``, as of `read_splits`.

    Raises
    ------
    ManifestError
        When it is a worksheet of somebody else's.
    """
    row = next((r for r in listed.to_dict("records") if str(r["name"]) == split_name), None)
    try:
        split = read_sheet(path, split_name)
        require_columns(split, ("ID", "subset", split_name), path)
        is_official = split[split_name].equals(split["subset"])
    except ManifestError:
        split, is_official = pd.DataFrame(), False
    if row is None and not is_official:
        why = "is none that make-split made; choose another name"
        if split_name in split:
            why = "does not say what column 'subset' says; rename it to keep it"
        raise ManifestError(
            f"{path}: worksheet {split_name!r} {why}, or give --adopt to have it replaced."
        )
    if row is None:
        return True
    return split_name in split and split_hash(split, split_name) == row["sha256"]


def read_splits(path: Path) -> pd.DataFrame:
    """Return worksheet ``Splits`` without splits that somebody removed; no rows without it."""
    titles = sheet_names(path)
    title = next((name for name in titles if name.casefold() == SPLITS_SHEET.casefold()), None)
    if title is None:
        return pd.DataFrame(columns=list(SPLIT_COLUMNS), dtype=object)
    listed = read_sheet(path, title)
    require_columns(listed, SPLIT_COLUMNS, path)
    return listed[listed["name"].isin(titles)]


def next_split_name(method: SplitMethod, listed: pd.DataFrame, titles: Iterable[str]) -> str:
    """Return the name of a split that was made in this way before, else the next free one.

    Parameters
    ----------
    method : SplitMethod
        How it is to be made.
    listed : DataFrame
        Worksheet ``Splits``, as of `read_splits`.
    titles : iterable of str
        All worksheets of the workbook.

    Returns
    -------
    str
        Such as ``split02_kfold5``; number 01 is the official split's.
    """
    if not method.shares:
        return SPLIT_NAME
    asked = _as_texts(method.cells())
    for row in listed.to_dict("records"):
        if _as_texts(row) == asked:
            return str(row["name"])
    numbers = [int(match[1]) for match in map(_NUMBERED.match, titles) if match is not None]
    n_folds = method.parts if method.kind == "kfold" else ""
    return f"split{max([1, *numbers]) + 1:02d}_{method.kind}{n_folds}"


def _as_texts(row: Mapping[Any, Any]) -> list[str]:
    return ["" if pd.isna(row[name]) else str(row[name]) for name in _METHOD_COLUMNS]


def list_split(
    listed: pd.DataFrame, split_name: str, method: SplitMethod, split: pd.DataFrame
) -> pd.DataFrame:
    """Return worksheet ``Splits`` with a row of a split, in place of an earlier one of its name.

    Parameters
    ----------
    listed : DataFrame
        The worksheet so far, as of `read_splits`.
    split_name : str
        The split, and the column of ``split`` that tells the parts.
    method : SplitMethod
        How it was made.
    split : DataFrame
        Its worksheet.
    """
    n_samples, sha256 = int(split[split_name].notna().sum()), split_hash(split, split_name)
    row = {"name": split_name, **method.cells(), "n_samples": n_samples, "sha256": sha256}
    others = listed[listed["name"].astype(str) != split_name].to_dict("records")
    frame = pd.DataFrame([*others, row], columns=list(SPLIT_COLUMNS), dtype=object)
    return frame.sort_values("name", ignore_index=True)


def assignment_hash(assignment: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of an assignment: of its sorted lines ``ID,part``, each with a newline."""
    lines = sorted(f"{sample_id},{part}\n" for sample_id, part in assignment)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def split_hash(split: pd.DataFrame, split_name: str) -> str:
    """Return the SHA-256 of a split's assignment; samples in no part are not in it."""
    given = split[split[split_name].notna()]
    return assignment_hash(zip(given["ID"].astype(str), given[split_name].astype(str), strict=True))


def official_split(manifest: pd.DataFrame, split_name: str, path: Path) -> pd.DataFrame:
    """Return the manifest with a last column of the split's name that repeats ``subset``.

    Raises
    ------
    ManifestError
        When the manifest has no column ``subset`` or has one of the split's name.
    """
    require_columns(manifest, ("ID", "subset"), path)
    return with_split(manifest, split_name, manifest["subset"], path)


def with_split(
    manifest: pd.DataFrame, split_name: str, parts: Iterable[Any], path: Path
) -> pd.DataFrame:
    """Return the manifest with a last column of the split's name: the part of each row.

    Parameters
    ----------
    manifest : DataFrame
        The dataset manifest.
    split_name : str
        The split.
    parts : iterable of str or None
        One a row; None for samples in no part.
    path : Path
        The workbook, for messages.

    Raises
    ------
    ManifestError
        When the manifest has a column of the split's name.
    """
    if split_name in manifest.columns:
        raise ManifestError(f"{path}: a split cannot be named like the column {split_name!r}.")
    column = pd.Series(list(parts), index=manifest.index, dtype=object)
    return manifest.assign(**{split_name: column})


def index_frames(
    split: pd.DataFrame, split_name: str, subsets: Sequence[Sequence[str]], path: Path
) -> dict[str, pd.DataFrame]:
    """Return file stem -> rows of the split that belong to each combination of subsets.

    Parameters
    ----------
    split : DataFrame
        Its worksheet.
    split_name : str
        The column that tells the parts.
    subsets : sequence of sequence of str
        The combinations, such as ``[["train", "val"], ["test"]]``.
    path : Path
        The workbook, for messages.

    Raises
    ------
    ManifestError
        When a subset has no rows in the split.
    """
    require_columns(split, (split_name,), path)
    values = split[split_name].astype(str).where(split[split_name].notna())
    known = set(values.dropna())
    if not all(subsets):
        raise ManifestError("an index manifest needs at least one subset; nothing was written.")
    for name in (name for combination in subsets for name in combination):
        if name not in known:
            raise ManifestError(
                f"{path}: worksheet {split_name!r} has no rows of subset {name!r} "
                f"(it has {', '.join(sorted(known)) or 'none'}); nothing was written."
            )
    return {
        index_stem(split_name, combination): split[values.isin(list(combination))]
        for combination in subsets
    }


def index_stem(split_name: str, combination: Iterable[str]) -> str:
    """Return the file stem of an index manifest, such as ``split01_standard_train_val``."""
    return "_".join((split_name, *combination))


def available_subsets(manifest: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """Return the standard combinations of subsets of which the manifest has every one."""
    present = set(manifest["subset"].dropna())
    return tuple(c for c in STANDARD_SUBSETS if present.issuperset(c))


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
    """Write the index workbooks anew that `index_manifests` made of a workbook's splits."""
    for file, known in list(own.files.items()):
        index = known.index_of
        if index is None or index.manifest != own.layout.key(path) or not file.exists():
            continue
        split = sheets.get(index.split)
        if split is not None:
            values = split[index.split].astype(str).where(split[index.split].notna())
            rows = split[values.isin(index.subsets)]
            put_workbook(own, file, {MANIFEST_SHEET: rows}, index_of=index)
