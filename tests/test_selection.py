"""Which samples --ids, --subset and --modality choose."""

from __future__ import annotations

from pathlib import Path

import pytest
from samples import amos_sample

from amos_dask.errors import AmosDaskError
from amos_dask.records import Metadata, Sample, by_number
from amos_dask.root.layout import SampleFolder
from amos_dask.sample.selection import EVERYTHING, Selection


def sample(number: int, subset: str = "train", modality: str = "ct") -> Sample:
    return amos_sample(f"{number:04d}", subset, modality, "UND", Metadata(), None, None)


SAMPLES = [sample(1), sample(4), sample(20, "val"), sample(507, "train", "mri"), sample(12345)]


def chosen(**arguments: object) -> list[int]:
    return [int(s.seq) for s in Selection(**arguments).choose(SAMPLES)]  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["4", "04", "0004", "amos_0004", "amos_4", "4-4", "2-9", " 4 "])
def test_every_spelling_of_an_id_chooses_its_sample(text: str) -> None:
    assert chosen(ids=[text]) == [4]


@pytest.mark.parametrize(
    "ids", [["1,4"], ["1", "4"], ["1-4"], ["1, amos_0004"], ["4,1"], ["1-4", "4"], ["1,,4"]]
)
def test_several_ids_are_joined_in_the_order_of_the_samples(ids: list[str]) -> None:
    assert chosen(ids=ids) == [1, 4]


def test_an_id_with_five_digits_is_one_id() -> None:
    assert chosen(ids=["12345"]) == [12345]


def test_a_range_takes_both_ends() -> None:
    assert chosen(ids=["4-20"]) == [4, 20]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        ({"subset": "val"}, [20]),
        ({"modality": "mri"}, [507]),
        ({"subset": "train", "modality": "ct"}, [1, 4, 12345]),
        ({"subset": "train", "ids": ["1-600"]}, [1, 4, 507]),
        ({}, [1, 4, 20, 507, 12345]),
    ],
)
def test_all_conditions_must_hold(arguments: dict[str, object], numbers: list[int]) -> None:
    assert chosen(**arguments) == numbers


@pytest.mark.parametrize(("text", "shown"), [("3", "amos_0003"), ("5-9", "amos_0005-0009")])
def test_an_id_without_sample_is_an_error_that_names_it(text: str, shown: str) -> None:
    with pytest.raises(AmosDaskError, match=shown):
        chosen(ids=["1", text])


@pytest.mark.parametrize("text", ["four", "1-", "-1", "1.5", "amos_", "1:3", "amos_0001_F"])
def test_what_is_no_id_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(AmosDaskError, match="neither a number") as caught:
        chosen(ids=[text])
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("ids", [[""], [","]])
def test_ids_that_name_nothing_never_choose_silently_nothing(ids: list[str]) -> None:
    try:
        numbers = chosen(ids=ids)
    except AmosDaskError:
        return
    assert numbers, "no error, and no sample chosen either"


def folder(path: str) -> SampleFolder:
    return SampleFolder(Path(path), Path(path).name.split("_")[1], "amos")


FOLDERS = [
    folder("/r/grouped/AMOS-CT/train/Aquilion ONE/amos_0001_F"),
    folder("/r/grouped/AMOS-CT/val/Brilliance16/amos_0020_M"),
    folder("/r/grouped/AMOS-MRI/train/Prisma/amos_0507_M"),
    folder("/r/grouped/AMOS-UND/test/UND/amos_0700_UND"),
]


@pytest.mark.parametrize(
    ("selection", "numbers"),
    [
        (EVERYTHING, [1, 20, 507, 700]),
        (Selection(subset="train"), [1, 507]),
        (Selection(modality="ct"), [1, 20]),
        (Selection(modality="und"), [700]),
        (Selection(("1-600",), "train", "mri"), [507]),
    ],
)
def test_organised_folders_are_chosen_by_their_path(
    selection: Selection, numbers: list[int]
) -> None:
    assert [int(f.seq) for f in selection.choose_folders(FOLDERS)] == numbers


def test_a_folder_id_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AmosDaskError, match="amos_0002"):
        Selection(["2"]).choose_folders(FOLDERS)


def test_only_the_empty_selection_is_everything() -> None:
    assert Selection().is_everything
    assert not Selection(ids=("1",)).is_everything
    assert not Selection(subset="train").is_everything
    assert not Selection(modality="ct").is_everything


def test_ids_are_sorted_as_people_do() -> None:
    ids = ["x_10", "x_9", "x_a", "x_a1b2", "x_a1", "x_B", "x_", "x_09", "x_a10", "x_a9"]
    ordered = ["x_", "x_09", "x_9", "x_10", "x_a", "x_a1", "x_a1b2", "x_a9", "x_a10", "x_B"]
    assert sorted(ids, key=by_number) == ordered


def test_a_folder_near_the_root_of_the_disk_tells_no_modality() -> None:
    folder = SampleFolder(Path("/data/amos_0001_F"), "0001", "amos")
    assert Selection(modality="ct").choose_folders([folder]) == []
    assert Selection(subset="train").choose_folders([folder]) == []
    assert Selection().choose_folders([folder]) == [folder]
