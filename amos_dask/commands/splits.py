"""Commands on a dataset manifest's splits: ``make-split`` and ``index-manifests``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pandas as pd

from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import AmosDaskError, ManifestError
from amos_dask.records import UNDEFINED
from amos_dask.results import CommandResult
from amos_dask.root.layout import MANIFEST_SHEET, SPLIT_NAME, Layout, absolute, find_root
from amos_dask.root.table_state import adding_to_table
from amos_dask.root.working import require_unlocked, working_where_possible
from amos_dask.tables.assignments import assign, fold_shares, holdout_shares
from amos_dask.tables.patients import PATIENT_COLUMNS, find_patients
from amos_dask.tables.splits import (
    SPLIT_COLUMNS,
    SPLITS_SHEET,
    SplitRecipe,
    assigned_split,
    index_frames,
    list_split,
    next_split_name,
    official_split,
    require_split_name,
    split_hash,
)
from amos_dask.tables.workbook import (
    read_sheet,
    require_columns,
    sheet_names,
    update_workbook,
    write_workbook,
)

SPLIT_KINDS = ("official", "kfold", "holdout")
STRATA = ("scanner", "sex", "modality")
SPLIT_GROUPS = ("patient",)
DEFAULT_FOLDS = 5
DEFAULT_FRACTIONS = (0.7, 0.1, 0.2)


def make_split(
    manifest_file: str | Path,
    *,
    split_name: str | None = None,
    kind: str = "official",
    folds: int | None = None,
    fractions: Sequence[float] | None = None,
    seed: int | None = None,
    stratify: Sequence[str] = (),
    group: str | None = None,
    unlabelled: bool = False,
) -> CommandResult:
    """Add a worksheet with a split to a dataset manifest (routine 06).

    All columns of the manifest, then one of the split's name. The official split repeats
    ``subset`` there. The others deal the samples that have masks out to folds ``fold0``, ``fold1``,
    …, or to ``train``, ``val`` and ``test``, and say in worksheet ``Splits`` how that was done.
    The same samples and options give the same split on every machine.

    Parameters
    ----------
    manifest_file : str or Path
        A workbook that `dataset_manifest` wrote. Its other worksheets stay.
    split_name : str, optional
        Title of the worksheet and of its last column; an existing one is replaced. By default
        ``split01_standard`` for the official split; for others the one that was made with the
        same options before, else the next free number, such as ``split02_kfold5``.
    kind : {"official", "kfold", "holdout"}
        What to make. What follows is not for the official split.
    folds : int, optional
        Of ``kfold``: how many; 5 by default.
    fractions : sequence of float, optional
        Of ``holdout``: of train and val, or of train, val and test; 0.7, 0.1, 0.2 by default.
    seed : int, optional
        Another seed, another split; 0 by default.
    stratify : sequence of str
        Any of ``scanner``, ``sex``, ``modality``: parts get their share of each combination.
    group : {"patient"}, optional
        Keep the scans of a patient together.
    unlabelled : bool
        Deal out the samples without masks as well; else they are in no part.

    Returns
    -------
    CommandResult
        With the worksheet as ``frame``.

    Raises
    ------
    ManifestError
        When the workbook cannot be used, the name is not possible, or there are fewer samples or
        patients than parts.
    AmosDaskError
        When the options do not go together, or a run is at work on the workbook's ROOT_DIR.
    """
    path = Path(manifest_file)
    if split_name is not None:
        require_split_name(split_name)
    wish = _understand(kind, folds, fractions, seed, stratify, group, unlabelled=unlabelled)
    layout = Layout.of(find_root(path.parent))
    require_unlocked(layout)
    _require_workbook(path)
    with working_where_possible(layout):
        manifest = read_sheet(path, MANIFEST_SHEET)
        listed = _read_listed(path)
        if split_name is None:
            split_name = _choose_name(wish.recipe, listed, path)
        split = _split(manifest, split_name, wish, path, layout.dataset)
        sheets = {split_name: split}
        if wish.shares or not listed.empty:
            sheets[SPLITS_SHEET] = list_split(listed, split_name, wish.recipe, split)
        with adding_to_table(layout, absolute(path)):
            update_workbook(path, sheets)
    return CommandResult((path,), len(split), _describe(split, split_name), (), split)


@dataclass(frozen=True)
class _Wish:
    """What is asked for, understood and found to be possible."""

    recipe: SplitRecipe
    shares: Mapping[str, Fraction]
    stratify: tuple[str, ...]


def _understand(
    kind: str,
    folds: int | None,
    fractions: Sequence[float] | None,
    seed: int | None,
    stratify: Sequence[str],
    group: str | None,
    *,
    unlabelled: bool,
) -> _Wish:
    _require_one_of("kind", [kind], SPLIT_KINDS)
    _require_one_of("stratify", stratify, STRATA)
    _require_one_of("group", [group] if group else [], SPLIT_GROUPS)
    given = {
        "folds": folds is not None,
        "fractions": fractions is not None,
        "seed": seed is not None,
        "stratify": bool(stratify),
        "group": bool(group),
        "unlabelled": unlabelled,
    }
    foreign = {"official": set(given), "kfold": {"fractions"}, "holdout": {"folds"}}[kind]
    wrong = [name for name in given if given[name] and name in foreign]
    if wrong:
        raise AmosDaskError(f"a split of kind {kind!r} takes no {' and no '.join(wrong)}.")
    if kind == "official":
        return _Wish(SplitRecipe(kind), {}, ())
    if kind == "kfold":
        n_folds = DEFAULT_FOLDS if folds is None else folds
        shares, parts = fold_shares(n_folds), str(n_folds)
    else:
        chosen = DEFAULT_FRACTIONS if fractions is None else fractions
        shares, parts = holdout_shares(chosen), ",".join(f"{fraction:g}" for fraction in chosen)
    ordered = tuple(name for name in STRATA if name in stratify)
    samples = "all" if unlabelled else "labelled"
    recipe = SplitRecipe(kind, parts, seed or 0, ",".join(ordered), group or "", samples)
    return _Wish(recipe, shares, ordered)


def _require_one_of(name: str, values: Collection[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise AmosDaskError(f"{name}: {value!r} is not known; choose from {', '.join(known)}.")


def _read_listed(path: Path) -> pd.DataFrame:
    """Return worksheet ``Splits``; without rows where there is none."""
    titles = sheet_names(path)
    for title in titles:
        if title.casefold() == SPLITS_SHEET.casefold():
            listed = read_sheet(path, title)
            require_columns(listed, SPLIT_COLUMNS, path)
            return listed[listed["name"].isin(titles)]
    return pd.DataFrame(columns=list(SPLIT_COLUMNS), dtype=object)


def _choose_name(recipe: SplitRecipe, listed: pd.DataFrame, path: Path) -> str:
    if recipe.kind == "official":
        return SPLIT_NAME
    return next_split_name(recipe, listed, sheet_names(path))


def _split(
    manifest: pd.DataFrame,
    split_name: str,
    wish: _Wish,
    path: Path,
    definition: DatasetDefinition,
) -> pd.DataFrame:
    if not wish.shares:
        return official_split(manifest, split_name, path)
    recipe = wish.recipe
    require_columns(manifest, ("ID", "sex", "manufacturer_model_name", "mask"), path)
    rows = manifest[manifest["ID"].notna()]
    if recipe.samples == "labelled":
        rows = rows[rows["mask"].notna()]
    if not rows["ID"].is_unique:
        repeated = rows["ID"][rows["ID"].duplicated()].iloc[0]
        raise ManifestError(f"{path}: {repeated!r} has two rows.")
    ids = [str(sample_id) for sample_id in rows["ID"]]
    groups = {sample_id: sample_id for sample_id in ids}
    if recipe.group:
        require_columns(manifest, PATIENT_COLUMNS, path)
        groups = find_patients(rows)
    strata = dict(zip(ids, _strata(rows, wish.stratify, definition), strict=True))
    try:
        assignment = assign(groups, strata, wish.shares, recipe.seed or 0)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error
    return assigned_split(manifest, split_name, assignment, path)


def _strata(
    rows: pd.DataFrame, stratify: Sequence[str], definition: DatasetDefinition
) -> list[str]:
    """Return what each row is of, such as ``Prisma F mri``."""
    scanners, sexes = (
        [UNDEFINED if pd.isna(value) else str(value) for value in rows[column]]
        for column in ("manufacturer_model_name", "sex")
    )
    numbers = [str(sample_id).rpartition("_")[2] for sample_id in rows["ID"]]
    values = {
        "scanner": scanners,
        "sex": sexes,
        "modality": [
            definition.modality(int(number) if number.isdecimal() else 0, scanner)
            for number, scanner in zip(numbers, scanners, strict=True)
        ],
    }
    return [" ".join(values[name][i] for name in stratify) for i in range(len(rows))]


def _describe(split: pd.DataFrame, split_name: str) -> str:
    counts = ", ".join(f"{n} {name}" for name, n in split[split_name].value_counts().items())
    n_left_out = int(split[split_name].isna().sum())
    rest = f", {n_left_out} in none" if n_left_out else ""
    return f"{split_name}: {counts}{rest}; sha256 {split_hash(split, split_name)}"


def index_manifests(
    manifest_file: str | Path,
    output_index_manifest_dir: str | Path,
    *,
    subsets: Sequence[Sequence[str]],
    split_name: str = SPLIT_NAME,
) -> CommandResult:
    """Write an index manifest for each combination of subsets of a split (routine 07).

    Parameters
    ----------
    manifest_file : str or Path
        A workbook to which `make_split` added the split.
    output_index_manifest_dir : str or Path
        Folder of the index manifests.
    subsets : sequence of sequence of str
        Combinations, such as ``[["train", "val"], ["test"]]``.
    split_name : str
        The split's worksheet.

    Returns
    -------
    CommandResult
        ``outputs`` are the files ``{split}_{subsets joined by _}.xlsx``.

    Raises
    ------
    ManifestError
        When the workbook, the split or a subset is missing: nothing is written then.
    """
    path, folder = Path(manifest_file), Path(output_index_manifest_dir)
    require_split_name(split_name)
    _require_workbook(path)
    layout = Layout.of(find_root(path.parent, folder))
    require_unlocked(layout)
    if split_name not in sheet_names(path):
        raise ManifestError(f"{path}: there is no split {split_name!r}; run make-split first.")
    frames = index_frames(read_sheet(path, split_name), split_name, subsets, path)
    outputs = []
    with working_where_possible(layout):
        for stem, frame in frames.items():
            outputs.append(folder / f"{stem}.xlsx")
            write_workbook(outputs[-1], {MANIFEST_SHEET: frame})
    return CommandResult(tuple(outputs), len(frames), f"{len(frames)} index manifests")


def _require_workbook(path: Path) -> None:
    """Raise when a manifest is missing, naming the place where the other spelling has it.

    The tutorial writes a modality's manifest to ``grouped/`` and reads it from ``grouped/AMOS-CT``.
    """
    if path.is_file():
        return
    group = path.stem.removeprefix("dataset_manifest_").replace("_", "-").upper()
    others = (path.parent / group / path.name, path.parent.parent / path.name)
    for other in others:
        if other.is_file():
            raise ManifestError(f"{path}: there is no such workbook; did you mean {other}?")
    raise ManifestError(f"{path}: there is no such workbook; run dataset-manifest first.")
