"""Leaks: patients, and scans with the same voxels, of which a split has parts on both sides."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from amos_dask.issues import Issue, make_issue

LEAK_COLUMNS = ("leak", "code", "ID", "part")

_SHAPE = ("szx", "szy", "szz")
_WHAT = {
    "patient_crosses_split": "one patient, going by birth date, sex and site, or by the day",
    "duplicate_scan": "the same voxels",
}
_ACTIONS = {
    "patient_crosses_split": "left as it is; 'make-split --group patient' keeps patients together",
    "duplicate_scan": "left as it is; leave out all of them but one",
}


@dataclass(frozen=True)
class Leak:
    """Scans that belong together and are in different parts of a split.

    Parameters
    ----------
    code : str
        ``patient_crosses_split`` or ``duplicate_scan``.
    members : tuple of (str, str)
        ID and part of all scans that belong together, by ID.
    """

    code: str
    members: tuple[tuple[str, str], ...]

    def to_issue(self, file: str = "") -> Issue:
        """Return what there is to say of it; the issue is of the first of its scans."""
        where = ", ".join(f"{sample_id} is in {part}" for sample_id, part in self.members)
        message = f"{_WHAT[self.code]}: {where}"
        sample = self.members[0][0]
        return make_issue(self.code, message, sample=sample, file=file, action=_ACTIONS[self.code])


def find_crossing(code: str, groups: Mapping[str, str], parts: Mapping[str, str]) -> list[Leak]:
    """Return the groups that are in more than one part, by their first ID.

    Parameters
    ----------
    code : str
        What it is when a group crosses.
    groups : mapping of str to str
        ID -> group.
    parts : mapping of str to str
        ID -> part of the split; IDs without a part are in none of the leaks.
    """
    members = defaultdict(list)
    for sample_id, group in sorted(groups.items()):
        if sample_id in parts:
            members[group].append((sample_id, parts[sample_id]))
    found = (Leak(code, tuple(m)) for m in members.values() if len({p for _, p in m}) > 1)
    return sorted(found, key=lambda leak: leak.members)


def find_same_shape(rows: pd.DataFrame) -> list[str]:
    """Return the IDs of rows that are not the only one of their shape: only those can be alike."""
    known = rows[rows[["ID", "volume", *_SHAPE]].notna().all(axis=1)]
    return [str(i) for i in known["ID"][known.duplicated(list(_SHAPE), keep=False)]]


def leaks_frame(leaks: Iterable[Leak]) -> pd.DataFrame:
    """Return a row a scan that takes part in a leak."""
    rows = [
        (number, leak.code, sample_id, part)
        for number, leak in enumerate(leaks, start=1)
        for sample_id, part in leak.members
    ]
    return pd.DataFrame(rows, columns=list(LEAK_COLUMNS))
