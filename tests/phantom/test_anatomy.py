"""The table of organs: is each row one that can be painted?"""

from __future__ import annotations

import pytest

from amos_dask.phantom.anatomy import TISSUES, organs_of


def middle(low: float, high: float) -> float:
    return (low + high) / 2


@pytest.mark.parametrize("n_loops", [0, 3])
@pytest.mark.parametrize("sex", ["F", "M"])
def test_every_row_can_be_painted(sex: str, n_loops: int) -> None:
    for organ in organs_of(sex, n_loops, middle):
        heights = [key[0] for key in organ.keys]
        assert heights == sorted(set(heights))
        assert all(len(key) == 5 and min(key[3:]) > 0 for key in organ.keys)
        assert {organ.tissue, *(layer[0] for layer in organ.inner)} <= set(TISSUES)
        assert organ.covers <= set(TISSUES)


@pytest.mark.parametrize("sex", ["F", "M"])
def test_every_label_is_in_the_smallest_scans_too(sex: str) -> None:
    labels = {TISSUES[organ.tissue].label for organ in organs_of(sex, 0, middle)}
    assert labels == set(range(16))


def test_only_one_sex_has_a_uterus() -> None:
    female, male = (
        [one for one in organs_of(sex, 0, middle) if one.tissue == "prostate or uterus"]
        for sex in "FM"
    )
    assert len(female) == len(male) == 1
    assert female != male


def test_mirrored_organs_lie_on_the_other_side() -> None:
    right, left = (one for one in organs_of("F", 0, middle) if one.tissue == "lung")
    assert [key[1] for key in left.keys] == [-key[1] for key in right.keys]
    assert left.bend_x == -right.bend_x
