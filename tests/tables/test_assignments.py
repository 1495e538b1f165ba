"""Dealing samples out: groups stay together, parts are balanced, nothing depends on order."""

from __future__ import annotations

import hashlib
import random
import subprocess
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from amos_dask.errors import ManifestError
from amos_dask.tables.assignments import assign, fold_shares, holdout_shares
from amos_dask.tables.splits import assignment_hash

many = settings(max_examples=50, deadline=None, derandomize=True, database=None)


@dataclass(frozen=True)
class Samples:
    """Samples with their groups and strata."""

    groups: dict[str, str]
    strata: dict[str, str]

    @property
    def sizes(self) -> Counter[str]:
        """Samples of each group."""
        return Counter(self.groups.values())

    @property
    def largest(self) -> int:
        """Samples of the largest group."""
        return max(self.sizes.values())


@st.composite
def samples(draw: st.DrawFn, *, grouped: bool = True, largest: int = 60) -> Samples:
    n = draw(st.integers(1, largest))
    ids = [f"amos_{number:04d}" for number in draw(st.permutations(range(n)))]
    n_groups = draw(st.integers(1, n)) if grouped else n
    chosen = st.integers(0, n_groups - 1)
    groups = [draw(chosen) for _ in ids] if grouped else range(n)
    n_strata = draw(st.integers(1, 8))
    strata = [f"stratum {draw(st.integers(0, n_strata - 1))}" for _ in ids]
    return Samples(
        {i: f"patient {group}" for i, group in zip(ids, groups, strict=True)},
        dict(zip(ids, strata, strict=True)),
    )


seeds = st.integers(-(2**40), 2**40)
folds = st.integers(2, 7).map(fold_shares)
holdouts = st.sampled_from(
    [(0.7, 0.1, 0.2), (0.5, 0.5), (0.8, 0.2), (0.98, 0.01, 0.01), (0.4, 0.3, 0.3)]
).map(holdout_shares)
shares = st.one_of(folds, holdouts)


def spread(assignment: dict[str, str], parts: dict[str, Fraction], chosen: set[str]) -> int:
    """Return by how many of the chosen samples the fullest and the emptiest part differ."""
    counts = Counter(part for sample_id, part in assignment.items() if sample_id in chosen)
    found = [counts[part] for part in parts]
    return max(found) - min(found)


def deal(s: Samples, parts: dict[str, Fraction], seed: int = 0) -> dict[str, str]:
    assume(len(s.sizes) >= len(parts))
    return assign(s.groups, s.strata, parts, seed)


# ---------------------------------------------------------------- always


@many
@given(samples(), shares, seeds)
def test_no_group_crosses_and_every_sample_is_in_one_part(
    s: Samples, parts: dict[str, Fraction], seed: int
) -> None:
    assignment = deal(s, parts, seed)
    assert list(assignment) == sorted(s.groups)
    for group in s.sizes:
        assert len({assignment[i] for i in s.groups if s.groups[i] == group}) == 1


@many
@given(samples(), shares)
def test_every_part_has_samples(s: Samples, parts: dict[str, Fraction]) -> None:
    assert set(deal(s, parts).values()) == set(parts)


@many
@given(samples(), shares, seeds, st.randoms(use_true_random=False))
def test_neither_the_order_nor_the_names_of_groups_matter(
    s: Samples, parts: dict[str, Fraction], seed: int, shuffle: random.Random
) -> None:
    ids = list(s.groups)
    shuffle.shuffle(ids)
    groups = {i: s.groups[i][::-1] for i in ids}
    strata = {i: s.strata[i] for i in reversed(ids)}
    assert deal(s, parts, seed) == assign(groups, strata, parts, seed)


@pytest.mark.parametrize("n_groups", [0, 1, 4])
def test_fewer_groups_than_parts_are_refused(n_groups: int) -> None:
    groups = {f"amos_{i:04d}": f"{i % max(n_groups, 1)}" for i in range(9 if n_groups else 0)}
    with pytest.raises(ManifestError, match=f"5 parts .*there are {n_groups} "):
        assign(groups, dict.fromkeys(groups, ""), fold_shares(5), 0)


# ---------------------------------------------------------------- the bounds of the docstring


@many
@given(samples(), folds, seeds)
def test_folds_differ_by_little_more_than_the_largest_group(
    s: Samples, parts: dict[str, Fraction], seed: int
) -> None:
    assert spread(deal(s, parts, seed), parts, set(s.groups)) <= s.largest + 3


@many
@given(samples(), shares, seeds)
def test_no_part_exceeds_its_share_by_much_more_than_the_largest_group(
    s: Samples, parts: dict[str, Fraction], seed: int
) -> None:
    counts = Counter(deal(s, parts, seed).values())
    for part, share in parts.items():
        assert counts[part] <= share * len(s.groups) + s.largest + 3


@many
@given(samples(grouped=False), folds, seeds)
def test_folds_of_single_samples_differ_by_one_in_all_and_in_each_stratum(
    s: Samples, parts: dict[str, Fraction], seed: int
) -> None:
    assignment = deal(s, parts, seed)
    assert spread(assignment, parts, set(s.groups)) <= 1
    for stratum in set(s.strata.values()):
        assert spread(assignment, parts, {i for i in s.strata if s.strata[i] == stratum}) <= 1


@many
@given(samples(), folds, seeds)
def test_folds_of_grouped_samples_are_stratified_within_the_bound(
    s: Samples, parts: dict[str, Fraction], seed: int
) -> None:
    assignment = deal(s, parts, seed)
    alone = {i for i, group in s.groups.items() if s.sizes[group] == 1}
    for stratum in set(s.strata.values()):
        chosen = {i for i in alone if s.strata[i] == stratum}
        assert spread(assignment, parts, chosen) <= 2 * (s.largest + 3)


@pytest.mark.parametrize("seed", range(20))
def test_a_holdout_of_single_samples_has_its_shares_in_all_and_in_each_stratum(seed: int) -> None:
    ids = [f"amos_{number:04d}" for number in range(360)]
    scanners = random.Random(seed).choices("ABCDE", (50, 20, 15, 10, 5), k=360)
    strata = dict(zip(ids, scanners, strict=True))
    parts = holdout_shares((0.7, 0.1, 0.2))
    assignment = assign({i: i for i in ids}, strata, parts, seed)
    sizes = Counter(assignment.values())
    for part, n_samples in {"train": 252, "val": 36, "test": 72}.items():
        assert abs(sizes[part] - n_samples) <= 1
    for scanner, n_samples in Counter(scanners).items():
        counts = Counter(assignment[i] for i in ids if strata[i] == scanner)
        for part, share in parts.items():
            assert abs(counts[part] - float(share) * n_samples) <= 2


# ---------------------------------------------------------------- as many as AMOS22 has


def like_amos22(seed: int) -> Samples:
    """Return 360 samples, one in ten of a patient with some others, by five scanners."""
    chance = random.Random(seed)
    ids = [f"amos_{number:04d}" for number in range(360)]
    groups = {i: i if chance.random() > 0.1 else f"p{chance.randrange(12)}" for i in ids}
    strata = chance.choices("ABCDE", (5, 4, 3, 2, 1), k=360)
    return Samples(groups, dict(zip(ids, strata, strict=True)))


@pytest.mark.parametrize("seed", range(20))
def test_five_folds_of_many_patients_are_even(seed: int) -> None:
    s = like_amos22(seed)
    parts = fold_shares(5)
    assignment = assign(s.groups, s.strata, parts, seed)
    assert spread(assignment, parts, set(s.groups)) <= 1
    for stratum in "ABCDE":
        chosen = {i for i in s.strata if s.strata[i] == stratum}
        assert spread(assignment, parts, chosen) <= 4


def test_another_seed_gives_another_split() -> None:
    s = like_amos22(0)
    made = [assign(s.groups, s.strata, fold_shares(5), seed) for seed in range(5)]
    assert len({tuple(sorted(assignment.items())) for assignment in made}) == 5


def test_the_assignment_is_the_same_on_every_machine_and_for_ever() -> None:
    ids = [f"amos_{number:04d}" for number in range(12)]
    assignment = assign({i: i for i in ids}, {i: i[-1] for i in ids}, fold_shares(3), 7)
    assert "".join(part[-1] for part in assignment.values()) == PINNED


PINNED = "121201201200"

# ---------------------------------------------------------------- shares


def test_folds_are_numbered_from_0() -> None:
    assert fold_shares(3) == dict.fromkeys(["fold0", "fold1", "fold2"], Fraction(1, 3))


@pytest.mark.parametrize("n_folds", [-1, 0, 1, 1001])
def test_a_single_fold_is_no_split(n_folds: int) -> None:
    with pytest.raises(ManifestError, match="folds"):
        fold_shares(n_folds)


def test_fractions_are_of_train_val_and_test() -> None:
    assert holdout_shares([0.8, 0.2]) == {"train": Fraction(4, 5), "val": Fraction(1, 5)}
    assert list(holdout_shares([0.7, 0.1, 0.2])) == ["train", "val", "test"]
    holdout_shares([1 / 3, 1 / 3, 1 / 3])


@pytest.mark.parametrize(
    "fractions",
    [[], [1], [0.5, 0.4], [0.6, 0.6], [1, 0], [1.5, -0.5], [0.25] * 4, [float("nan"), 0.5],
     [float("inf"), 0.5]],
)  # fmt: skip
def test_fractions_must_be_parts_of_a_whole(fractions: list[float]) -> None:
    with pytest.raises(ManifestError, match="sum 1"):
        holdout_shares(fractions)


# ---------------------------------------------------------------- hash


def test_the_hash_is_that_of_sorted_lines() -> None:
    text = b"amos_0001,fold1\namos_0002,fold0\n"
    pairs = [("amos_0002", "fold0"), ("amos_0001", "fold1")]
    assert assignment_hash(pairs) == hashlib.sha256(text).hexdigest()
    shell = "printf 'amos_0002,fold0\\namos_0001,fold1\\n' | LC_ALL=C sort | sha256sum"
    said = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert said.stdout.split()[0] == assignment_hash(reversed(pairs))


def test_the_hash_tells_assignments_apart() -> None:
    base = {"amos_0001": "fold0", "amos_0002": "fold1"}
    others = [
        {**base, "amos_0002": "fold0"},
        {**base, "amos_0003": "fold1"},
        {"amos_0001": "fold0"},
        {},
    ]
    hashes = {assignment_hash(assignment.items()) for assignment in [base, *others]}
    assert len(hashes) == 5
