"""Samples dealt out to the parts of a split: by patient, balanced by stratum, reproducible."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from amos_dask.datasets import SUBSETS
from amos_dask.errors import ManifestError

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


def assignment_hash(assignment: Iterable[tuple[str, str]]) -> str:
    """Return the SHA-256 of an assignment: of its sorted lines ``ID,part``, each with a newline."""
    lines = sorted(f"{sample_id},{part}\n" for sample_id, part in assignment)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
