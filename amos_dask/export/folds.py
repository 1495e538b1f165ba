"""Which samples are trained on and validated on: the official split, or one of the user's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from amos_dask.errors import AmosDaskError, ManifestError
from amos_dask.issues import Issue, make_issue
from amos_dask.root.layout import Layout
from amos_dask.tables.workbook import read_sheet, require_columns, sheet_names

_FOLD = re.compile(r"fold(0|[1-9]\d{0,2})")
TRAIN, VAL, TEST = "train", "val", "test"


def read_parts(layout: Layout, split_name: str, modality: str | None) -> dict[str, str]:
    """Return sample -> its part in a split that is a worksheet of the dataset manifest.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    split_name : str
        The worksheet, such as ``split02_kfold5``.
    modality : str, optional
        The only one that is asked for: its own manifest is looked at first.

    Raises
    ------
    AmosDaskError
        When there is no such split, or a part is neither ``fold0``, ``fold1``, … nor ``train``,
        ``val`` or ``test``.
    """
    own = [] if modality is None else [layout.dataset_manifest(modality)]
    path = _find_workbook([*own, layout.dataset_manifest()], split_name)
    try:
        rows = read_sheet(path, split_name, values_of=("ID", split_name))
        require_columns(rows, ("ID", split_name), path)
    except ManifestError as error:
        raise AmosDaskError(str(error)) from error
    rows = rows[rows[split_name].notna()]
    parts = dict(zip(rows["ID"].astype(str), rows[split_name].astype(str), strict=True))
    for sample_id, part in parts.items():
        if part not in (TRAIN, VAL, TEST) and _FOLD.fullmatch(part) is None:
            raise AmosDaskError(
                f"{path}: {sample_id} is in part {part!r} of {split_name}; an export understands "
                "fold0, fold1, … and train, val, test."
            )
    return parts


def _find_workbook(paths: Iterable[Path], split_name: str) -> Path:
    known: dict[str, None] = {}
    for path in paths:
        titles = sheet_names(path) if path.is_file() else []
        if split_name in titles:
            return path
        known |= dict.fromkeys(title for title in titles if title.startswith("split"))
    raise AmosDaskError(
        f"there is no split {split_name!r} in {path}; found {', '.join(known) or 'none'}. "
        "'amos-dask make-split' makes one."
    )


def fold_of(part: str) -> int | None:
    """Return the fold in which a part is validated on; None of one that never is.

    Of a split into ``train`` and ``val`` fold 0 is the validation set.
    """
    found = _FOLD.fullmatch(part)
    if found is not None:
        return int(found[1])
    return 0 if part == VAL else None


def make_folds(parts: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Return what each fold is trained on and validated on.

    Parameters
    ----------
    parts : mapping of str to str
        Case -> part.

    Returns
    -------
    list of dict of str to list of str
        ``train`` and ``val`` of each fold, by its number; none where nothing is validated on, or
        nothing is left to train on. Cases of part ``test`` are in none.

    Examples
    --------
    >>> make_folds({"a": "fold0", "b": "fold1", "c": "test"})
    [{'train': ['b'], 'val': ['a']}, {'train': ['a'], 'val': ['b']}]
    """
    folds = {case: fold_of(part) for case, part in parts.items() if part != TEST}
    numbers = sorted({fold for fold in folds.values() if fold is not None})
    found = [
        {
            "train": [case for case, fold in folds.items() if fold != number],
            "val": [case for case, fold in folds.items() if fold == number],
        }
        for number in numbers
    ]
    return found if all(fold["train"] for fold in found) else []


def check_official(folds: Sequence[Mapping[str, Sequence[str]]]) -> list[Issue]:
    """Return a warning where the official split is the only fold.

    Parameters
    ----------
    folds : sequence of mapping of str to sequence of str
        That it makes of the samples, as `make_folds` has it: one, or none.
    """
    if not folds:
        return []
    told = f"trains on {len(folds[0]['train'])} and validates on {len(folds[0]['val'])}"
    message = f"the official split is fold 0, which {told}; there are no other folds"
    action = "for a cross-validation, make-split --kind kfold and export with its --split_name"
    return [make_issue("only_fold", message, action=action)]


def require_folds(parts: Mapping[str, str], split_name: str) -> None:
    """Raise where nnU-Net would make folds of its own, or count them otherwise than the split.

    Parameters
    ----------
    parts : mapping of str to str
        Sample with a label -> part.
    split_name : str
        The split, for the message.
    """
    numbers = {fold for part in parts.values() if (fold := fold_of(part)) is not None}
    if numbers != set(range(len(numbers))) or not make_folds(parts):
        found = ", ".join(sorted(set(parts.values()))) or "none"
        raise AmosDaskError(
            f"{split_name}: of the chosen samples with labels there are parts {found}; nnU-Net "
            "needs fold0, fold1, … without a gap, or val, and something to train on beside."
        )
