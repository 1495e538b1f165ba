"""Values of an export's labels: consecutive, merged or left out on request, names kept."""

from __future__ import annotations

import pytest

from amos_dask.datasets import AMOS22
from amos_dask.export.wanted import plan_labels
from amos_dask.labels import LabelMap

BOTH = {"ct", "mri"}


def test_without_wishes_every_label_keeps_its_value() -> None:
    names, values = plan_labels(AMOS22.label_map, BOTH)
    assert dict(enumerate(names)) == AMOS22.label_map.names()
    same = {label: label for label in range(17)}
    assert values == {"ct": same, "mri": same}


def test_prostate_and_uterus_become_one() -> None:
    names, values = plan_labels(AMOS22.label_map, BOTH, merge_prostate_uterus=True)
    assert names[-1] == "prostate/uterus"
    assert len(names) == 16
    assert values["ct"][15] == values["ct"][16] == 15


def test_mr_alone_loses_the_rare_labels_altogether() -> None:
    names, values = plan_labels(AMOS22.label_map, {"mri"}, mr_without_14_16=True)
    assert names == tuple(AMOS22.label_map.names()[label] for label in range(14))
    assert [values["mri"][label] for label in (13, 14, 15, 16)] == [13, 0, 0, 0]


def test_beside_ct_the_rare_labels_leave_mr_masks_only() -> None:
    names, values = plan_labels(AMOS22.label_map, BOTH, mr_without_14_16=True)
    assert len(names) == 17
    assert [values["mri"][label] for label in (14, 15, 16)] == [0, 0, 0]
    assert [values["ct"][label] for label in (14, 15, 16)] == [14, 15, 16]
    alone = plan_labels(AMOS22.label_map, {"ct"}, mr_without_14_16=True)
    assert alone == plan_labels(AMOS22.label_map, {"ct"})


def test_both_wishes_at_once() -> None:
    wishes = {"merge_prostate_uterus": True, "mr_without_14_16": True}
    names, values = plan_labels(AMOS22.label_map, BOTH, **wishes)
    assert names[14:] == ("bladder", "prostate/uterus")
    assert values["ct"][16] == 15
    assert values["mri"][16] == 0
    assert len(plan_labels(AMOS22.label_map, {"mri"}, **wishes)[0]) == 14


def test_values_have_no_gaps_whatever_the_label_map() -> None:
    label_map = LabelMap(((0, "air"), (3, "liver"), (15, "prostate"), (16, "womb"), (200, "x")))
    names, values = plan_labels(label_map, {"ct"})
    assert names == ("background", "liver", "prostate", "womb", "x")
    assert values["ct"] == {0: 0, 3: 1, 15: 2, 16: 3, 200: 4}
    names, values = plan_labels(label_map, {"ct"}, merge_prostate_uterus=True)
    assert names == ("background", "liver", "prostate/womb", "x")
    assert values["ct"] == {0: 0, 3: 1, 15: 2, 16: 2, 200: 3}


@pytest.mark.parametrize("lacking", [15, 16])
def test_what_is_not_in_the_label_map_is_not_merged(lacking: int) -> None:
    entries = tuple((i, name) for i, name in AMOS22.label_map.names().items() if i != lacking)
    names, _ = plan_labels(LabelMap(entries), {"ct"}, merge_prostate_uterus=True)
    assert "prostate/uterus" not in names
