"""Samples dealt out to the parts of a split: by patient, by stratum, reproducible."""

from __future__ import annotations

import datetime
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from typing import Any

import pandas as pd

from amos_dask.datasets import SUBSETS
from amos_dask.errors import ManifestError
from amos_dask.handwritten import Order, find_days, find_sex, read_dates
from amos_dask.records import UNDEFINED

_MOST_FOLDS = 1000
_SUM_MAY_BE_OFF = Fraction(1, 10**6)
# How much fuller than the emptiest a part may be and still be chosen for the sake of its strata.
_SLACK = 3


def fold_shares(n_folds: int) -> dict[str, Fraction]:
    """Return ``fold0``, ``fold1``, … with equal shares.

    Raises
    ------
    ManifestError
        When there are not at least two.
    """
    if not 2 <= n_folds <= _MOST_FOLDS:
        raise ManifestError(f"a split needs 2 to {_MOST_FOLDS} folds, not {n_folds}.")
    return {f"fold{number}": Fraction(1, n_folds) for number in range(n_folds)}


def holdout_shares(fractions: Sequence[float]) -> dict[str, Fraction]:
    """Return the shares of train and val, or of train, val and test.

    Raises
    ------
    ManifestError
        When these are not two or three positive numbers with the sum 1.
    """
    try:
        shares = [Fraction(str(fraction)) for fraction in fractions]
    except ValueError:  # nan, inf
        shares = []
    is_whole = abs(sum(shares, Fraction(-1))) <= _SUM_MAY_BE_OFF
    if len(shares) not in (2, 3) or min(shares) <= 0 or not is_whole:
        shown = ",".join(f"{fraction:g}" for fraction in fractions)
        raise ManifestError(
            f"fractions are two or three positive numbers with the sum 1, not {shown or 'none'}."
        )
    return dict(zip(SUBSETS, shares, strict=False))


@dataclass(frozen=True)
class _Group:
    """Samples that stay together: their ids, sorted, and how many are of each stratum."""

    ids: tuple[str, ...]
    strata: Counter[str]

    def turn(self, seed: int) -> tuple[int, str, str]:
        """Return what decides when it is dealt: the largest first, then by stratum, shuffled."""
        stratum = min(self.strata, key=lambda name: (-self.strata[name], name))
        shuffled = hashlib.sha256(f"{seed} {self.ids[0]}".encode()).hexdigest()
        return (-len(self.ids), stratum, shuffled)


def assign(
    groups: Mapping[str, str],
    strata: Mapping[str, str],
    shares: Mapping[str, Fraction],
    seed: int,
) -> dict[str, str]:
    """Deal groups of samples out to the parts of a split.

    Groups are dealt one after the other: the largest first, then by stratum, then shuffled by the
    seed. Of the parts that lack most of their share of what has been dealt, give or take three
    samples and in the end none, the one takes it that lacks most of the group's strata. No part
    stays empty.

    So, with ``largest`` the number of samples of the largest group: no part has more than
    ``largest + 3`` samples above its share, and folds differ by at most as many; of the samples
    without others in their group, by at most twice as many in each stratum. When no group has more
    than one sample, folds differ by at most one, in all and in each stratum.

    Parameters
    ----------
    groups : mapping of str to str
        ID -> group.
    strata : mapping of str to str
        ID -> stratum.
    shares : mapping of str to Fraction
        Part -> share of the samples; all of them are positive and their sum is 1.
    seed : int
        Another seed gives another assignment; the order of the mappings does not matter.

    Returns
    -------
    dict of str to str
        ID -> part, by ID.

    Raises
    ------
    ManifestError
        When there are fewer groups than parts.
    """
    dealing = sorted(_groups(groups, strata), key=lambda group: group.turn(seed))
    if len(dealing) < len(shares):
        raise ManifestError(
            f"{len(shares)} parts need a patient or sample each; there are {len(dealing)} "
            "that can be dealt out."
        )
    assignment: dict[str, str] = {}
    total = Counter[str]()  # samples of each stratum that have been dealt, with this group's
    dealt = {part: Counter[str]() for part in shares}
    for n_groups_left, group in zip(range(len(dealing), 0, -1), dealing, strict=True):
        total += group.strata
        empty = [part for part in shares if not dealt[part]]
        parts = empty if n_groups_left <= len(empty) else list(shares)
        lacks = {part: shares[part] * total.total() - dealt[part].total() for part in parts}
        slack = min(Fraction(_SLACK), Fraction(len(groups) - len(assignment), len(shares)))
        least = max(lacks.values()) - slack
        needs = {
            part: (_need(group.strata, total, shares[part], dealt[part]), lack)
            for part, lack in lacks.items()
            if lack >= least
        }
        neediest = max(needs, key=needs.__getitem__)
        assignment |= dict.fromkeys(group.ids, neediest)
        dealt[neediest] += group.strata
    return dict(sorted(assignment.items()))


def _groups(groups: Mapping[str, str], strata: Mapping[str, str]) -> list[_Group]:
    members: dict[str, list[str]] = defaultdict(list)
    for sample_id, group in groups.items():
        members[group].append(sample_id)
    return [
        _Group(tuple(sorted(ids)), Counter(strata[sample_id] for sample_id in ids))
        for ids in members.values()
    ]


def _need(
    strata: Counter[str], total: Counter[str], share: Fraction, dealt: Counter[str]
) -> Fraction:
    """Return how much a part lacks of a group's strata."""
    lacks = (n * (share * total[name] - dealt[name]) for name, n in strata.items())
    return sum(lacks, Fraction(0))


# Scans that agree in all columns of one of these are of one patient.
SAME_PATIENT = (
    ("birth_date", "sex", "site"),
    ("birth_date", "sex", "acquisition_date"),
)
PATIENT_COLUMNS = ("birth_date", "sex", "site", "acquisition_date")

_DATES = frozenset({"birth_date", "acquisition_date"})
# Programs that need a date where none is known write 1 January 1900, or an earlier one.
_LAST_DUMMY_DATE = "19000101"


def find_patients(rows: pd.DataFrame) -> dict[str, str]:
    """Return ID -> patient, named by the first of the patient's IDs.

    Two scans are of one patient when birth date, sex and site are known and the same; or, wherever
    they were made, when birth date, sex and acquisition date are. So are two scans that are both
    of one patient with a third. What is not known is the same as nothing: a scan without birth
    date or sex is a patient of its own. Where no row tells the order of day and month, scans that
    agree in either order are of one patient: rather too much stays together than too little.

    Parameters
    ----------
    rows : DataFrame
        Columns ``ID`` and `PATIENT_COLUMNS`; each ID once.
    """
    rows = rows.assign(ID=rows["ID"].astype(str)).sort_values("ID", ignore_index=True)
    readings = list(_readings(rows))
    # Each scan takes the first number among those it agrees with, until no number changes any more.
    numbers = pd.Series(rows.index, dtype=float)
    while True:
        before = numbers
        for known, key in product(readings, SAME_PATIENT):
            smallest = numbers.groupby([known[name] for name in key]).transform("min")
            numbers = smallest.fillna(numbers)
        if numbers.equals(before):
            break
    patients = rows["ID"].iloc[numbers.astype(int)]
    return dict(zip(rows["ID"], patients, strict=True))


def _readings(rows: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Yield what the rows say by each order of day and month that is possible."""
    texts = {name: [_text(value) for value in rows[name]] for name in PATIENT_COLUMNS}
    columns = {name: read_dates(filter(None, texts[name])) for name in _DATES}
    is_clear = not any(column.ambiguous for column in columns.values())
    for order in list(Order)[: 1 if is_clear else None]:
        known = dict(texts)
        known["sex"] = [find_sex(text) or text for text in texts["sex"]]
        for name, column in columns.items():
            days = column.forms | {text: find_days(text)[order] for text in column.ambiguous}
            known[name] = [days.get(text, "") for text in texts[name]]
            known[name] = [day if day > _LAST_DUMMY_DATE else "" for day in known[name]]
        frame = pd.DataFrame(known, index=rows.index, dtype=object)
        yield frame.where(frame != "", None)


def _text(value: Any) -> str:
    """Return a cell in one form for all that mean the same; empty where nothing is known.

    Spreadsheets make dates and numbers of texts.
    """
    if pd.isna(value):
        return ""
    if isinstance(value, datetime.date):
        return value.isoformat()[:10]
    text = " ".join(str(value).split()).casefold()
    return "" if text == UNDEFINED.casefold() else text
