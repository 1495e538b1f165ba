"""Splits of a dataset manifest: their worksheets, and index manifests of their subsets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.datasets import SUBSETS
from amos_dask.errors import ManifestError
from amos_dask.root.layout import MANIFEST_SHEET
from amos_dask.tables.assignments import assignment_hash
from amos_dask.tables.workbook import require_columns, require_title

STANDARD_SUBSETS: tuple[tuple[str, ...], ...] = (("train", "val"), ("train",), ("val",), ("test",))
# The worksheet that says how each split was made, where there are others than the official one.
SPLITS_SHEET = "Splits"

_NUMBERED = re.compile(r"split(\d{1,9})_", re.IGNORECASE)


@dataclass(frozen=True)
class SplitRecipe:
    """How a split was made: what gives the same split of the same manifest again.

    Parameters
    ----------
    kind : str
        ``official``, ``kfold`` or ``holdout``.
    parts : str
        Number of folds, or fractions with commas.
    seed : int or None
        Seed of the shuffling.
    stratify : str
        By what, with commas.
    group : str
        What stays together: ``patient`` or nothing.
    samples : str
        ``labelled`` or ``all``.
    """

    kind: str
    parts: str = ""
    seed: int | None = None
    stratify: str = ""
    group: str = ""
    samples: str = "all"


_RECIPE_COLUMNS = tuple(SplitRecipe.__dataclass_fields__)
SPLIT_COLUMNS = ("name", *_RECIPE_COLUMNS, "n_samples", "sha256")


def require_split_name(split_name: str) -> None:
    """Raise `ManifestError` when a name cannot be a worksheet's title and part of a file name."""
    require_title(split_name)
    if split_name.casefold() == MANIFEST_SHEET.casefold():
        raise ManifestError(f"a split cannot be named {split_name!r}, as the main worksheet is.")
    if split_name.casefold() == SPLITS_SHEET.casefold():
        raise ManifestError(f"a split cannot be named {split_name!r}, as the list of splits is.")


def next_split_name(recipe: SplitRecipe, listed: pd.DataFrame, titles: Iterable[str]) -> str:
    """Return the name of a split that was made in this way before, else the next free one.

    Parameters
    ----------
    recipe : SplitRecipe
        How it is to be made.
    listed : DataFrame
        Worksheet ``Splits``, without splits that somebody removed.
    titles : iterable of str
        All worksheets of the workbook.

    Returns
    -------
    str
        Such as ``split02_kfold5``; number 01 is the official split's.
    """
    asked = _as_cells(asdict(recipe))
    for row in listed.to_dict("records"):
        if _as_cells(row) == asked:
            return str(row["name"])
    numbers = [int(match[1]) for match in map(_NUMBERED.match, titles) if match is not None]
    n_folds = recipe.parts if recipe.kind == "kfold" else ""
    return f"split{max([1, *numbers]) + 1:02d}_{recipe.kind}{n_folds}"


def _as_cells(row: dict[Any, Any]) -> list[str]:
    return ["" if pd.isna(row[name]) else str(row[name]) for name in _RECIPE_COLUMNS]


def list_split(
    listed: pd.DataFrame, split_name: str, recipe: SplitRecipe, split: pd.DataFrame
) -> pd.DataFrame:
    """Return worksheet ``Splits`` with a row of a split, in place of an earlier one of its name.

    Parameters
    ----------
    listed : DataFrame
        The worksheet so far, with `SPLIT_COLUMNS`; may be empty.
    split_name : str
        The split, and the column of ``split`` that tells the parts.
    recipe : SplitRecipe
        How it was made.
    split : DataFrame
        Its worksheet.
    """
    n_samples, sha256 = int(split[split_name].notna().sum()), split_hash(split, split_name)
    row = {"name": split_name, **asdict(recipe), "n_samples": n_samples, "sha256": sha256}
    others = listed[listed["name"].astype(str) != split_name]
    found = pd.DataFrame([row], columns=list(SPLIT_COLUMNS), dtype=object)
    frame = pd.concat([others[list(SPLIT_COLUMNS)], found] if len(others) else [found])
    return frame.sort_values("name", ignore_index=True)


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
    return _with_last_column(manifest, split_name, manifest["subset"], path)


def assigned_split(
    manifest: pd.DataFrame, split_name: str, assignment: Mapping[str, str], path: Path
) -> pd.DataFrame:
    """Return the manifest with a last column of the split's name: the part of each sample.

    Parameters
    ----------
    manifest : DataFrame
        The dataset manifest.
    split_name : str
        The split.
    assignment : mapping of str to str
        ID -> part; the cells of other samples are blank.
    path : Path
        The workbook, for messages.
    """
    parts = [assignment.get(str(sample_id)) for sample_id in manifest["ID"]]
    column = pd.Series(parts, index=manifest.index, dtype=object)
    return _with_last_column(manifest, split_name, column, path)


def _with_last_column(
    manifest: pd.DataFrame, split_name: str, parts: pd.Series[Any], path: Path
) -> pd.DataFrame:
    if split_name in manifest.columns:
        raise ManifestError(f"{path}: a split cannot be named like the column {split_name!r}.")
    return manifest.assign(**{split_name: parts})


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
        f"{split_name}_{'_'.join(combination)}": split[values.isin(list(combination))]
        for combination in subsets
    }


def available_subsets(manifest: pd.DataFrame) -> tuple[tuple[str, ...], ...]:
    """Return the standard combinations of subsets of which the manifest has every one."""
    present = set(manifest["subset"].dropna())
    return tuple(c for c in STANDARD_SUBSETS if present.issuperset(c))


def missing_subsets(manifest: pd.DataFrame) -> tuple[str, ...]:
    """Return the official subsets that have no rows in the manifest."""
    present = set(manifest["subset"].dropna())
    return tuple(name for name in SUBSETS if name not in present)
