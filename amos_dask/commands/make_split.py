"""Commands on a dataset manifest's splits: ``make-split`` and ``index-manifests``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from amos_dask.datasets import DatasetDefinition
from amos_dask.errors import AmosDaskError, ManifestError, WorkbookLockedError, number_of
from amos_dask.records import UNDEFINED
from amos_dask.results import CommandResult
from amos_dask.root.layout import MANIFEST_SHEET, SPLIT_NAME, Layout, absolute, find_root
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.table_state import IndexOf
from amos_dask.root.working import working_where_possible
from amos_dask.tables.assignments import (
    PATIENT_COLUMNS,
    assign,
    find_patients,
    fold_shares,
    holdout_shares,
)
from amos_dask.tables.own_workbooks import add_worksheets, put_workbook, require_closed
from amos_dask.tables.splits import (
    SPLITS_SHEET,
    SplitMethod,
    index_frames,
    index_stem,
    is_own_split,
    list_split,
    next_split_name,
    official_split,
    read_splits,
    require_split_name,
    split_hash,
    with_split,
)
from amos_dask.tables.workbook import read_sheet, require_columns, sheet_names

SPLIT_KINDS = ("official", "kfold", "holdout")
STRATA = ("scanner", "sex", "modality")
SPLIT_GROUPS = ("patient",)
# Columns of the manifest that are gone by.
_VALUES = ("ID", "sex", "subset", "manufacturer_model_name", "mask", *PATIENT_COLUMNS)
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
    adopt: bool = False,
    no_lock: bool = False,
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
    adopt : bool
        A worksheet of the split's name that this did not make is replaced; the workbook goes to
        ``replaced/`` of ROOT_DIR first.
    no_lock : bool
        Take no lock, for a file system that has none; see `amos_dask.run`.

    Returns
    -------
    CommandResult
        With the worksheet as ``frame``.

    Raises
    ------
    ManifestError
        When the workbook cannot be used, the name is not possible or that of a worksheet of
        somebody else's, or there are fewer samples or patients than parts.
    AmosDaskError
        When the options do not go together, or a run is at work on the workbook's ROOT_DIR.

    Examples
    --------
    >>> manifest = "data/AMOS22/grouped/dataset_manifest.xlsx"
    >>> result = amos_dask.make_split(manifest, kind="kfold", folds=3, stratify=["sex"])
    >>> result.frame.columns[-1]
    'split02_kfold3'
    """
    path = Path(manifest_file)
    if split_name is not None:
        require_split_name(split_name)
        if kind != "official" and split_name.casefold() == SPLIT_NAME:
            raise ManifestError(f"{SPLIT_NAME!r} is the official split; choose another name.")
    options = {
        "folds": folds,
        "fractions": fractions,
        "seed": seed,
        "stratify": tuple(stratify) or None,
        "group": group or None,
        "unlabelled": unlabelled or None,
    }
    method = _choose_method(kind, {name: v for name, v in options.items() if v is not None})
    with _working_at(path, adopt=adopt, no_lock=no_lock) as own:
        manifest = read_sheet(path, MANIFEST_SHEET, values_of=_VALUES)
        listed, titles = read_splits(path), sheet_names(path)
        if split_name is None:
            split_name = next_split_name(method, listed, titles)
        same = [title for title in titles if title.casefold() == split_name.casefold()]
        try:
            is_theirs, is_edited = False, not all(is_own_split(path, t, listed) for t in same)
        except ManifestError:  # it is not ours
            if not adopt:
                raise
            is_theirs = is_edited = True
        if method.shares:
            assignment = _deal(manifest, method, path, own.layout.dataset)
            parts = [assignment.get(str(sample_id)) for sample_id in manifest["ID"]]
            split = with_split(manifest, split_name, parts, path)
        else:
            split = official_split(manifest, split_name, path)
        keep_copy = is_edited or (split_name in titles and _is_other(path, split_name, split))
        sheets = {split_name: split}
        if method.shares or not listed.empty or split_name != SPLIT_NAME:
            sheets[SPLITS_SHEET] = list_split(listed, split_name, method, split)
        add_worksheets(own, absolute(path), sheets, keep_copy=keep_copy, whole=is_theirs)
    summary = _describe(split, split_name)
    return CommandResult((path,), len(split), summary, tuple(own.issues()), split)


def _is_other(path: Path, split_name: str, split: pd.DataFrame) -> bool:
    """Return whether the split that is there puts samples into other parts."""
    there = read_sheet(path, split_name)
    if not {"ID", split_name} <= set(there.columns):
        return True
    parts = dict(zip(there["ID"], there[split_name], strict=True))
    new = dict(zip(split["ID"], split[split_name], strict=True))
    return any(parts[name] != new[name] for name in parts.keys() & new.keys())


def _choose_method(kind: str, given: Mapping[str, Any]) -> SplitMethod:
    """Return the method that the options given ask for; raise when they do not go together."""
    stratify, group = given.get("stratify", ()), given.get("group", "")
    _require_known("kind", [kind], SPLIT_KINDS)
    _require_known("stratify", stratify, STRATA)
    _require_known("group", [group] if group else [], SPLIT_GROUPS)
    foreign = {"official": set(given), "kfold": {"fractions"}, "holdout": {"folds"}}[kind]
    wrong = [name for name in given if name in foreign]
    if wrong:
        raise AmosDaskError(f"a split of kind {kind!r} takes no {' and no '.join(wrong)}.")
    if kind == "official":
        return SplitMethod()
    if kind == "kfold":
        n_folds = given.get("folds", DEFAULT_FOLDS)
        shares, parts = fold_shares(n_folds), str(n_folds)
    else:
        fractions = given.get("fractions", DEFAULT_FRACTIONS)
        shares, parts = holdout_shares(fractions), ",".join(f"{each:g}" for each in fractions)
    return SplitMethod(
        kind=kind,
        shares=shares,
        parts=parts,
        seed=given.get("seed", 0),
        stratify=tuple(name for name in STRATA if name in stratify),
        group=group,
        samples="all" if "unlabelled" in given else "labelled",
    )


def _require_known(name: str, values: Iterable[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise AmosDaskError(f"{name}: {value!r} is not known; choose from {', '.join(known)}.")


def _deal(
    manifest: pd.DataFrame, method: SplitMethod, path: Path, definition: DatasetDefinition
) -> dict[str, str]:
    """Return ID -> part of the samples that are dealt out."""
    require_columns(manifest, ("ID", "sex", "manufacturer_model_name", "mask"), path)
    is_dealt = manifest["ID"].notna()
    if method.samples == "labelled":
        is_dealt &= manifest["mask"].notna()
    rows = manifest[is_dealt]
    if not rows["ID"].is_unique:
        repeated = rows["ID"][rows["ID"].duplicated()].iloc[0]
        raise ManifestError(f"{path}: {repeated!r} has two rows.")
    strata = {}  # what each is of, such as "Prisma F mri"
    known = rows[["ID", "manufacturer_model_name", "sex"]].fillna(UNDEFINED).astype(str)
    for sample_id, scanner, sex in known.itertuples(index=False):
        modality = definition.modality(sample_id.removeprefix(f"{definition.prefix}_"), scanner)
        found = {"scanner": scanner, "sex": sex, "modality": modality}
        strata[sample_id] = " ".join(found[name] for name in method.stratify)
    groups = {sample_id: sample_id for sample_id in strata}
    if method.group:
        require_columns(manifest, PATIENT_COLUMNS, path)
        groups = find_patients(rows)
    try:
        return assign(groups, strata, method.shares, method.seed or 0)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from error


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
    adopt: bool = False,
    no_lock: bool = False,
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
    adopt : bool
        A file in the way that is not ours goes to ``replaced/`` of ROOT_DIR.
    no_lock : bool
        Take no lock, for a file system that has none; see `amos_dask.run`.

    Returns
    -------
    CommandResult
        ``outputs`` are the files ``{split}_{subsets joined by _}.xlsx``.

    Raises
    ------
    ManifestError
        When the workbook, the split or a subset is missing: nothing is written then.
    ForeignFileError, WorkbookLockedError
        When a file that is not ours and says something else is in the way, or one is open in
        another program: nothing is written then.

    Examples
    --------
    >>> manifest = "data/AMOS22/grouped/dataset_manifest.xlsx"
    >>> result = amos_dask.index_manifests(manifest, "data", subsets=[["train", "val"], ["test"]])
    >>> [path.name for path in result.outputs]
    ['split01_standard_train_val.xlsx', 'split01_standard_test.xlsx']
    """
    path, folder = Path(manifest_file), Path(output_index_manifest_dir)
    require_split_name(split_name)
    with _working_at(path, folder, adopt=adopt, no_lock=no_lock) as own:
        if split_name not in sheet_names(path):
            raise ManifestError(f"{path}: there is no split {split_name!r}; run make-split first.")
        split = read_sheet(path, split_name, values_of=(split_name,))
        frames = index_frames(split, split_name, subsets, path)
        combinations = {index_stem(split_name, names): tuple(names) for names in subsets}
        outputs = {stem: folder / f"{stem}.xlsx" for stem in frames}
        manifest = own.layout.key(absolute(path))
        # All or none: what may be in the way of one is looked at before another is written.
        for stem in sorted(frames, key=lambda stem: _how_free(own, absolute(outputs[stem]))):
            index = IndexOf(manifest, split_name, combinations[stem])
            sheets = {MANIFEST_SHEET: frames[stem]}
            put_workbook(own, absolute(outputs[stem]), sheets, index_of=index)
    summary = number_of(len(frames), "index manifest")
    return CommandResult(tuple(outputs.values()), len(frames), summary, tuple(own.issues()))


def _how_free(own: OwnFiles, path: Path) -> int:
    """Return 0 for a workbook that is open elsewhere, 1 for somebody's file, 2 for other places."""
    try:
        require_closed(path)
    except WorkbookLockedError:
        return 0
    return 1 if os.path.lexists(path) and not own.ownership.lists(path) else 2


@contextmanager
def _working_at(
    manifest: Path, output: Path | None = None, *, adopt: bool, no_lock: bool
) -> Iterator[OwnFiles]:
    """Yield the files of a manifest's ROOT_DIR, where nobody else works meanwhile."""
    _require_workbook(manifest)
    root = find_root(manifest.parent, output)
    with (
        working_where_possible(Layout(root), no_lock=no_lock),
        OwnFiles(Layout.of(root), adopt=adopt) as own,
    ):
        yield own


def _require_workbook(path: Path) -> None:
    """Raise when a manifest is missing, naming the place where the other spelling has it.

    The tutorial writes a modality's manifest to ``grouped/`` and reads it from ``grouped/AMOS-CT``.
    """
    if path.is_file():
        return
    group = path.stem.removeprefix("dataset_manifest_").replace("_", "-").upper()
    others = (path.parent / group / path.name, path.parent.parent / path.name)
    there = [f"did you mean {other}?" for other in others if other.is_file()]
    advice = next(iter(there), "run dataset-manifest first.")
    raise ManifestError(f"{path}: there is no such workbook; {advice}")
