"""Dataset definitions: what the packaged ones say, files of one's own, and every mistake."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from phantoms import write_decathlon
from samples import discover_one

from amos_dask.datasets import (
    AMOS22,
    METADATA_FIELDS,
    PACKAGED,
    SUBSETS,
    DatasetDefinition,
    find_definition,
    make_definition,
    read_definition,
)
from amos_dask.datasets.definition import ScanFile
from amos_dask.errors import AmosDaskError, DatasetError
from amos_dask.records import Metadata

OWN = """\
name: Ours
prefix: ours
volumes: {train: images/ours_{number}}
masks: {train: labels/ours_{number}}
with_masks: [train]
labels: {0: background, 1: liver}
modality: ct
"""
OWN = OWN.replace("{train: images/ours_{number}}", '{train: "images/ours_{number}"}')
OWN = OWN.replace("{train: labels/ours_{number}}", '{train: "labels/ours_{number}"}')


def read(folder: Path, text: str) -> DatasetDefinition:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return read_definition(path)


def scan(definition: DatasetDefinition, path: str) -> tuple[Any, ...] | None:
    found = definition.scan_file(path)
    return None if found is None else (int(found.seq), found.kind, found.subset)


# ---------------------------------------------------------------- those that come with the program


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("imagesTr/amos_0001.nii.gz", (1, "volume", "train")),
        ("amos22/amos22/imagesVa/amos_0600.nii.gz", (600, "volume", "val")),
        ("imagesTs/amos_0300_0000.nii.gz", (300, "volume", "test")),
        ("labelsTs/amos_123456789.nii.gz", (123456789, "mask", "test")),
        ("imagesTr/amos_0001.nii", (1, "volume", "train")),
        ("imagesTr/amos_0001.hdr.gz", (1, "volume", "train")),
        ("imagesTr/amos_001.nii.gz", None),
        ("imagesTr/amos_0001_0001.nii.gz", None),
        ("images/amos_0001.nii.gz", None),
        ("amos_0001.nii.gz", None),
        ("imagesTr/AMOS_0001.nii.gz", None),
    ],
)
def test_files_of_amos22(path: str, expected: tuple[Any, ...] | None) -> None:
    assert scan(AMOS22, path) == expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("volume-0.nii.gz", (0, "volume", "test")),
        ("any/folder/volume-20.nii.gz", (20, "volume", "test")),
        ("labels-21.nii.gz", (21, "mask", "train")),
        ("volume-139.nii.gz", (139, "volume", "train")),
        ("volume-140.nii.gz", None),  # none of its numbers
        ("volumes-1.nii.gz", None),
        ("volume-.nii.gz", None),
    ],
)
def test_files_of_ct_org(path: str, expected: tuple[Any, ...] | None) -> None:
    assert scan(find_definition("ct-org"), path) == expected


@pytest.mark.parametrize(
    ("name", "path", "seq", "expected"),
    [
        ("abdomenatlas", "a/BDMAP_00000001/ct.nii.gz", "BDMAP_00000001", ("volume", "train", 0)),
        ("abdomenatlas", "BDMAP_1/segmentations/rectum.nii.gz", "BDMAP_1", ("mask", "train", 25)),
        ("abdomenatlas", "BDMAP_1/combined_labels.nii.gz", "", None),
        ("flare22", "images/FLARE22_Tr_0001_0000.nii.gz", "Tr_0001", ("volume", "train", 0)),
        ("flare22", "labels/FLARE22_Tr_0001.nii.gz", "Tr_0001", ("mask", "train", 0)),
        ("flare22", "Tuning/images/FLARETs_0001_0000.nii.gz", "Ts_0001", ("volume", "val", 0)),
        ("flare22", "Tuning/labels/FLARETs_0001.nii.gz", "Ts_0001", ("mask", "val", 0)),
        ("flare22", "Testing/FLARETs_0001_0000.nii.gz", "", None),
        ("btcv", "RawData/Training/img/img0040.nii.gz", "0040", ("volume", "train", 0)),
        ("btcv", "RawData/Training/label/label0040.nii.gz", "0040", ("mask", "train", 0)),
        ("btcv", "RawData/Testing/img/img0061.nii.gz", "0061", ("volume", "test", 0)),
        ("btcv", "RegData/Training-Training/img/img0001-0002.nii.gz", "", None),
        ("word", "imagesVal/word_0001.nii.gz", "0001", ("volume", "val", 0)),
        ("word", "labelsTs/word_0014.nii.gz", "0014", ("mask", "test", 0)),
    ],
)
def test_files_of_abdominal_ct(
    name: str, path: str, seq: str, expected: tuple[Any, ...] | None
) -> None:
    found = find_definition(name).scan_file(path)
    assert found == (None if expected is None else ScanFile(seq, *expected))


def test_what_amos22_is() -> None:
    assert (AMOS22.name, AMOS22.prefix, AMOS22.subsets) == ("AMOS22", "amos", SUBSETS)
    assert AMOS22.modalities == ("ct", "mri")
    assert [AMOS22.id_modality(f"{n:04d}") for n in (0, 1, 500, 501, 600, 601)] == [
        *(None, "ct", "ct", "mri", "mri", None)
    ]
    assert AMOS22.modality("7000", "Prisma") == "mri"
    assert AMOS22.modality("7000", "unheard of") == "und"
    assert sum(sum(row.values()) for row in AMOS22.official_counts.values()) == 600
    assert AMOS22.unlabelled_mr_scanners == ("Ingenia",)
    assert AMOS22.unlabelled.damaged == {5437, 5514}
    assert AMOS22.splits_prostate_uterus
    assert AMOS22.subsets_with_masks == ("train", "val")
    assert AMOS22.example == "imagesTr/amos_0001.nii.gz"
    assert AMOS22.unlabelled.zips.fullmatch("AMOS22_unlabeled_MRI_7000_8199.zip") is not None
    assert AMOS22.unlabelled.zips.fullmatch("amos22_unlabeled_pet_1_2.zip") is None
    assert all(
        AMOS22.unlabelled.zips.fullmatch(name) or AMOS22.unlabelled.csvs.fullmatch(name)
        for name in AMOS22.unlabelled.published
    )


def test_only_amos22_has_a_label_that_the_sex_splits() -> None:
    split = [name for name in PACKAGED if find_definition(name).splits_prostate_uterus]
    assert split == ["amos22"]


@pytest.mark.parametrize("name", PACKAGED)
def test_a_definition_survives_the_way_to_a_worker_and_to_disk(name: str, tmp_path: Path) -> None:
    definition = find_definition(name)
    assert pickle.loads(pickle.dumps(definition)) == definition
    assert read(tmp_path, definition.to_yaml()) == definition


def test_fields_of_the_metadata_are_those_of_the_record() -> None:
    assert tuple(Metadata.__dataclass_fields__) == METADATA_FIELDS


def test_what_the_archive_has_to_tell_of_a_decathlon_task() -> None:
    for name in ("decathlon", "nnunet"):
        asked = ("name", "prefix", "labels", "modality", "channels")
        assert find_definition(name).open_questions == asked
    assert find_definition("ct-org").open_questions == ()


# ---------------------------------------------------------------- of one's own


def test_a_definition_of_ones_own(tmp_path: Path) -> None:
    own = read(tmp_path, OWN)
    assert own.sample_id(own.find_seq("7") or "") == "ours_0007"
    found = own.scan_file("images/ours_7.nii.gz")
    assert found == ScanFile("0007", "volume", "train", 0)
    assert own.label_map.names() == {0: "background", 1: "liver"}
    assert (own.metadata, own.published_zip, own.nnunet_id) == (None, None, None)
    assert find_definition(tmp_path / "own.yaml") == own


def test_a_metadata_csv_of_ones_own(tmp_path: Path) -> None:
    own = read(
        tmp_path, OWN + "metadata: {files: about*.csv, id: scan, columns: {sex: Sex, age: Years}}\n"
    )
    assert own.metadata is not None
    assert own.metadata.columns == {"sex": "Sex", "age": "Years"}
    assert [own.metadata.is_name_of(n) for n in ("ABOUT_1.CSV", "about.csv.gz")] == [True, False]


MISTAKES = [
    ("name: Ours\n", "", "name is missing"),
    ("name: Ours", "name: a/b", "name: 'a/b' is not made of at most 50 letters"),
    ("prefix: ours", "prefix: our_s", "prefix: 'our_s' is not made of at most 30"),
    ("prefix: ours", "prefix: ../x", "prefix: '../x' is not made of"),
    ('{train: "images/ours_{number}"}', "[a]", "volumes: 'a' needs either {number} or {id}"),
    ('volumes: {train: "images/ours_{number}"}\n', "", "volumes is missing"),
    ('{train: "images/ours_{number}"}', "{}", "volumes are missing"),
    ("images/ours_{number}", "images/ours", "'images/ours' needs either {number} or {id}"),
    ("images/ours_{number}", "../{number}", "'../{number}' leads out of the archive"),
    ("images/ours_{number}", "/a/{number}", "'/a/{number}' is not such as"),
    ("images/ours_{number}", "a/{scan}", "'a/{scan}' is not such as"),
    ("images/ours_{number}", "{id}_{number}", "'{id}_{number}' needs either {number} or {id}"),
    ("images/ours_{number}", "{number}_{label}", "in volumes has {label}, which is for the others"),
    ("images/ours_{number}", "{number}_{channel}", "so channels must say what stands there"),
    ("labels/ours_{number}", "{number}_{channel}", "in masks has {channel}, which is for the"),
    (
        '{train: "labels/ours_{number}"',
        '{train: "{number}/{label}", val: "labels/ours_{number}"',
        "masks have {label} in some places only",
    ),
    (
        "labels/ours_{number}",
        "labels/ours_{id}",
        "volumes and masks have {number} in some places and {id} in others",
    ),
    ("modality: ct", "modality: ct\nchannels: {a: x, b: y}", "in volumes needs {channel}"),
    ("modality: ct", "modality: ct\nchannels: {a: x, b: x}", "channels: 'x' stands for two"),
    ("modality: ct", "modality: ct\nchannels: [a b, A_b]", "channels: 'a_b' stands for two"),
    ("modality: ct", "modality: ct\nchannels: [a/b]", "'a/b' is not made of at most 50 letters"),
    ("modality: ct", "modality: ct\nreport_channel: x", "'x' is none of the channels"),
    ("modality: ct", "modality: ct\nprecedence: [liver, x]", "precedence names 'x', which is none"),
    ("modality: ct", "modality: ct\ncase_names: seq", "case_names: 'seq' should be"),
    ("modality: ct", "modality: ct\nprecedence: last", "precedence: 'last' should be"),
    (
        "modality: ct",
        "modality: ct\ndenoise: [x]",
        "denoise names 'x', which is none",
    ),
    ("modality: ct", "modality: ct\ndenoise: some", "denoise: 'some' should be"),
    ("modality: ct", "modality: ct\nlabel_values: {205: 2}", "name the label 2, which is none"),
    ("modality: ct", "modality: ct\nlabel_values: {a: 1}", "label_values: 'a' should be a whole"),
    ("modality: ct", "modality: ct\nlabel_values: {205: 256}", "'256' should be less than or"),
    ("modality: ct", "modality: ct\nsubset_column: split", "subset_column needs metadata"),
    (
        "modality: ct",
        "modality: ct\nmask_geometry: both",
        "mask_geometry: 'both' should be",
    ),
    (
        '{train: "images',
        '{training: "images',
        "volumes: 'training' should be 'train',",
    ),
    ('{train: "labels/ours_{number}"}', '"labels/ours_{number}"', "masks name one place for all"),
    ("labels/ours_{number}", "images/ours_{number}", "images/ours_1.nii.gz would be two things"),
    ('s/ours_{number}"}\nmasks', 's/a_{number}", val: "images/a_{number}"}\nmasks', "two things"),
    ("with_masks: [train]", "with_masks: [all]", "with_masks: 'all' should be 'train', 'val' or"),
    ("with_masks: [train]", "with_masks: train", "with_masks: 'train' should be a list"),
    ("{0: background, 1: liver}", "{1: liver}", "label 0 (background) is missing"),
    ("{0: background, 1: liver}", "{0: background, 1: a/b}", "the name 'a/b' of label 1"),
    ("{0: background, 1: liver}", "{0: background, 1: A b, 2: a_B}", "used for two labels"),
    ("modality: ct\n", "", "modality is missing"),
    ("modality: ct", "modality: pet", "modality: 'pet' should be 'ct', 'mri' or 'und'"),
    ("modality: ct", "modality: {ct: 5-1}", "modality, ct: '5-1' is not a range"),
    ("modality: ct", "modality: {ct: 1-5, mri: 5-9}", "number 5 of mri is in two ranges"),
    ("modality: ct", "modality: {ct: many}", "modality, ct: 'many' is not a range"),
    ("modality: ct", "modality: ct\nmodality: mri", "key modality occurs twice"),
    ("modality: ct", "modality: ct\ncolour: red", "'colour' is not a key"),
    (
        "modality: ct",
        "modalitty: ct",
        "'modalitty' is not a key of a dataset definition (did you mean modality?)",
    ),
    ("modality: ct", "modality: ct\nsplit_prostate_uterus: yes", "needs the labels 15 and 16"),
    (
        "modality: ct",
        "modality: ct\nsplit_prostate_uterus: perhaps",
        "should be yes or no",
    ),
    ("modality: ct", "modality: ct\ndigits: 0", "digits: '0' should be greater than or equal to 1"),
    ("modality: ct", "modality: ct\ndigits: four", "digits: 'four' should be a whole"),
    ("modality: ct", "modality: ct\nofficial_counts: {train: {ct: x}}", "train, ct: 'x' should be"),
    ("modality: ct", "modality: ct\nmetadata: {files: a.csv}", "metadata: id is missing"),
    ("modality: ct", "modality: ct\nmetadata: {files: a, id: b, columns: {shoe: c}}", "'shoe'"),
    ("modality: ct", "modality: ct\nunlabelled: {damaged: [x]}", "damaged: 'x' should be"),
    (
        "modality: ct",
        "modality: ct\ndataset_json: {training: all}",
        "training: 'all' should be",
    ),
    ("name: Ours", "name: [Ours]", "name: ['Ours'] should be a text"),
    ("{0: background, 1: liver}", "[liver]", "labels: expected lines such as '1: spleen'"),
    ("modality: ct", "modality: ct\nmr_scanners_without_masks: [x]", "'x' in mr_scanners_without"),
    ("modality: ct", "modality: ct\nmetadata: x", "metadata: 'x' should be lines"),
    ("modality: ct", "modality: ct\nunlabelled: {zips: [a]}", "unlabelled, zips: ['a'] should be"),
    (
        "modality: ct",
        "modality: ct\nmetadata: {files: a, id: b, mr_rows_may_be_shifted: yes}",
        "mr_rows_may_be_shifted needs the numbers of mri",
    ),
    (
        "modality: ct",
        "modality: ct\npublished_tasks: {where: https://a.org, md5: {../a.tar: %s}}" % ("0" * 32),
        "'../a.tar' is not the plain name of a file",
    ),
    (
        "modality: ct",
        "modality: ct\npublished_tasks: {where: https://a.org, md5: {}}\n"
        "published_zip: {where: https://a.org, md5: %s, name: a.zip}" % ("0" * 32),
        "published_zip and published_tasks are two downloads",
    ),
    (
        "modality: ct",
        "modality: ct\npublished_tasks: {where: https://a.org, md5: {a.tar: abc}}",
        "a.tar: 'abc' is not an MD5",
    ),
    ("name: Ours", 'name: "\\U99999999"', "not a readable dataset definition"),
    ("name: Ours", "name: &a Ours", None),
    ("modality: ct", "modality: *a", "aliases are not allowed"),
    ("name: Ours", "name: [", "not a readable dataset definition"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_each_mistake_is_said_in_one_sentence(
    old: str, new: str, message: str | None, tmp_path: Path
) -> None:
    assert old in OWN
    text = OWN.replace(old, new)
    if message is None:  # an anchor without an alias does nothing
        assert read(tmp_path, text).name == "Ours"
        return
    with pytest.raises(DatasetError) as error:
        read(tmp_path, text)
    said = str(error.value)
    assert message in said
    assert said.startswith(str(tmp_path / "own.yaml"))
    assert "\n" not in said
    assert said.endswith(".")


@pytest.mark.parametrize("content", [None, [], "text", {"name": ["x"]}, {1: 2}])
def test_what_is_no_definition_at_all_is_said_too(content: object) -> None:
    with pytest.raises(DatasetError):
        make_definition(content, "here")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="'amos23' is not known; choose from amos22, ct-org"):
        find_definition("amos23")
    with pytest.raises(DatasetError, match="not a readable dataset definition"):
        find_definition(tmp_path / "none.yaml")
    (tmp_path / "large.yaml").write_text("#" * (1 << 21))
    with pytest.raises(DatasetError, match="larger than 1 MiB"):
        find_definition(tmp_path / "large.yaml")


def test_files_that_other_yaml_readers_read_alike(tmp_path: Path) -> None:
    kept = yaml.safe_load(find_definition("ct-org").to_yaml())
    assert kept["labels"][6] == "brain"
    assert kept["subsets"] == {"test": "0-20", "train": "21-139"}


@pytest.mark.parametrize(
    ("precedence", "order"),
    [
        ("later", (1, 2, 7, 9)),
        ("earlier", (9, 7, 2, 1)),
        ("[aorta, liver, spleen, Left_kidney]", (9, 7, 1, 2)),
        ("[spleen]", (2, 7, 9, 1)),
        ("[]", (1, 2, 7, 9)),
    ],
)
def test_what_precedence_says(precedence: str, order: tuple[int, ...], tmp_path: Path) -> None:
    labels = "{0: background, 1: spleen, 2: left kidney, 7: liver, 9: aorta}"
    text = OWN.replace("{0: background, 1: liver}", labels) + f"precedence: {precedence}\n"
    assert read(tmp_path, text).painting_order == order


# ---------------------------------------------------------------- what dataset.json tells


def test_an_archive_answers_the_open_questions(tmp_path: Path) -> None:

    archive = write_decathlon(tmp_path, "heart")
    for place in (archive.path, tmp_path):  # the folder around it will do
        found = discover_one(str(place), definition=find_definition("decathlon")).definition
        assert (found.name, found.prefix, found.modalities) == ("Heart", "la", ("mri",))
        assert found.label_map.names() == {0: "background", 1: "left atrium"}
        assert found.open_questions == ()
        assert read(tmp_path, found.to_yaml()) == found


@pytest.fixture(scope="module")
def spleen(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Return an archive, and what its dataset.json says."""
    path = write_decathlon(tmp_path_factory.mktemp("spleen")).path
    return path, json.loads((path / "dataset.json").read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": {"0": "background", "1": "a/b"}}, "the name 'a/b' of label 1"),
        ({"labels": ["background", "spleen"]}, "expected lines such as"),
        ({"labels": {"background": 1}}, "label 0 (background) is missing"),
        ({"training": []}, None),
        ({"training": {}}, None),
        ({"training": 5}, "training is not a list"),
        ({"test": ["./imagesTs/liver_1.nii.gz"]}, "it lists scans of several names"),
        ({"name": None}, None),
        ({"name": "…/Spleen (9)\n"}, None),
        ({"modality": {"0": "PET"}}, None),
    ],
)
def test_a_dataset_json_that_does_not_tell(
    change: dict[str, Any], message: str | None, spleen: tuple[Path, dict[str, Any]]
) -> None:
    path, content = spleen
    (path / "dataset.json").write_text(json.dumps(content | change))
    if message is None:
        found = discover_one(str(path), definition=find_definition("decathlon"))
        assert len(found.samples) == 5
        return
    with pytest.raises(AmosDaskError) as error:
        discover_one(str(path), definition=find_definition("decathlon"))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_two_tasks_at_once_are_refused_and_so_is_none(tmp_path: Path) -> None:

    for task in ("heart", "spleen"):
        write_decathlon(tmp_path / "both", task)
    write_decathlon(tmp_path / "none").path.joinpath("dataset.json").unlink()
    with pytest.raises(AmosDaskError, match=r"Task02_Heart/dataset.json and Task09_Spleen"):
        discover_one(str(tmp_path / "both"), definition=find_definition("decathlon"))
    with pytest.raises(AmosDaskError, match=r"found no dataset.json where one"):
        discover_one(str(tmp_path / "none"), definition=find_definition("decathlon"))


def test_what_is_of_amos22_alone_is_said(tmp_path: Path) -> None:

    ct_org = find_definition("ct-org")
    with pytest.raises(AmosDaskError, match="CT-ORG has no metadata csv"):
        discover_one(str(tmp_path), "a.csv", definition=ct_org)
    with pytest.raises(AmosDaskError, match="--mr_metadata_offset -1 is for AMOS22"):
        discover_one(str(tmp_path), None, "-1", ct_org)
    with pytest.raises(AmosDaskError, match=r"expected files such as volume-1\.nii\.gz"):
        discover_one(str(tmp_path), definition=ct_org)


def test_a_definition_tells_the_same_in_every_process() -> None:
    """Runs compare what manifests were made from by what it looks like as text."""
    code = "from amos_dask.datasets import *; print([find_definition(name) for name in PACKAGED])"
    told = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("0", "3")  # which give sets of two names other orders
    }
    assert len(told) == 1
