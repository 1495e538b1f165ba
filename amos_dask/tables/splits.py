"""Splits of a dataset manifest: the split's worksheet, and index manifests of its subsets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from amos_dask.errors import ManifestError
from amos_dask.records import SUBSETS
from amos_dask.store.layout import MANIFEST_SHEET
from amos_dask.tables.workbook import require_columns, require_title

STANDARD_SUBSETS: tuple[tuple[str, ...], ...] = (("train", "val"), ("train",), ("val",), ("test",))


def require_split_name(split_name: str) -> None:
    """Raise `ManifestError` when a name cannot be a worksheet's title and part of a file name."""
    require_title(split_name)
    if split_name.casefold() == MANIFEST_SHEET.casefold():
        raise ManifestError(f"a split cannot be named {split_name!r}, as the main worksheet is.")


def official_split(manifest: pd.DataFrame, split_name: str, path: Path) -> pd.DataFrame:
    """Return the manifest with a last column of the split's name that repeats ``subset``.

    Raises
    ------
    ManifestError
        When the manifest has no column ``subset`` or has one of the split's name.
    """
    require_columns(manifest, ("ID", "subset"), path)
    if split_name in manifest.columns:
        raise ManifestError(f"{path}: a split cannot be named like the column {split_name!r}.")
    return manifest.assign(**{split_name: manifest["subset"]})


def index_frames(
    split: pd.DataFrame, split_name: str, subsets: Sequence[Sequence[str]], path: Path
) -> dict[str, pd.DataFrame]:
    """Return file stem -> rows of the split that belong to each combination of subsets.

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
