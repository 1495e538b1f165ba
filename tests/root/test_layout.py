"""Names and paths under ROOT_DIR."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from samples import amos_sample

from amos_dask.datasets import AMOS22, find_definition
from amos_dask.records import Metadata, Sample
from amos_dask.root.layout import (
    Layout,
    SampleFolder,
    find_root,
    find_root_beside_archive,
    find_sample_folders,
    find_samples_of,
    safe_name,
)

quick = settings(max_examples=150, deadline=None, derandomize=True, database=None)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=120)
nasty = st.text(st.sampled_from('./\\ :*?"<>|\0\n\t~-aÄ'), max_size=120)


def sample_of(sex: str = "F", scanner: str = "Aquilion ONE", subset: str = "train") -> Sample:
    return amos_sample("0001", subset, "ct", scanner, Metadata(sex=sex), None, None)


def make_sample(folder: Path, *files: str) -> Path:
    folder.mkdir(parents=True)
    for name in files:
        (folder / name).touch()
    return folder


# ---------------------------------------------------------------- names


@quick
@given(name=text | nasty)
@example(name="..")
@example(name=".")
@example(name="")
@example(name="../../etc/passwd")
@example(name="a" * 99 + " . .")
@example(name="/")
@example(name="C:\\Windows")
def test_a_safe_name_is_one_folder_inside(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    safe = safe_name(name)
    base = tmp_path_factory.getbasetemp()
    assert safe
    assert not set(safe) & set('/\\:*?"<>|\0\n\r\t')
    assert not safe.startswith((".", " "))
    assert not safe.endswith((".", " "))
    assert (base / safe).resolve().parent == base.resolve()
    assert safe_name(safe) == safe


@pytest.mark.parametrize("name", ["F", "UND", "Aquilion ONE", "SIGNA HDe", "größer", "058Y"])
def test_an_ordinary_name_stays_as_it_is(name: str) -> None:
    assert safe_name(name) == name


@pytest.mark.parametrize("name", ["", " ", ".", "..", "...", " . "])
def test_a_name_of_which_nothing_is_left_is_UND(name: str) -> None:
    assert safe_name(name) == "UND"


@pytest.mark.parametrize("character", ["a", "ä", "漢", "😀"])
def test_a_sample_folder_can_be_made_however_long_the_text(tmp_path: Path, character: str) -> None:
    folder = Layout(tmp_path).folder_for(tmp_path, sample_of(sex=character * 300))
    folder.path.mkdir(parents=True)
    assert folder.path.is_dir()


def test_a_sample_lies_below_subset_and_scanner(tmp_path: Path) -> None:
    folder = Layout(tmp_path).folder_for(tmp_path / "AMOS-CT", sample_of())
    base = tmp_path / "AMOS-CT/train/Aquilion ONE/amos_0001_F"
    assert folder.path == base
    assert folder.info == base / "amos_0001_info.yaml"
    assert folder.volume == base / "amos_0001_volume.nii.gz"
    assert folder.mask == base / "amos_0001_mask.nii.gz"
    columns = AMOS22.label_map.columns()
    assert folder.binary_mask(columns[2]) == base / "amos_0001_mask_02_right_kidney.nii.gz"


@quick
@given(sex=text | nasty, scanner=text | nasty)
def test_a_sample_never_leaves_its_group(sex: str, scanner: str) -> None:
    group = Path("/data/grouped/AMOS-CT")
    path = Layout(Path("/data")).folder_for(group, sample_of(sex, scanner)).path
    assert path.relative_to(group).parts[0] == "train"
    assert len(path.relative_to(group).parts) == 3
    assert path.name.startswith("amos_0001_")
    assert ".." not in path.parts


# ---------------------------------------------------------------- the tree


def test_the_tree_is_the_specified_one() -> None:
    layout = Layout(Path("/r"))
    expected = {
        "/r/descriptor/archive_manifest.xlsx": layout.archive_manifest,
        "/r/descriptor/label_map.yaml": layout.label_map,
        "/r/descriptor/small_connected_region_100_manifest.xlsx": layout.regions_manifest(
            100.0, after=False
        ),
        "/r/descriptor/small_connected_region_300_manifest.xlsx": layout.regions_manifest(
            300, after=False
        ),
        "/r/descriptor/small_connected_region_100_after_modification_manifest.xlsx": (
            layout.regions_manifest(100.0, after=True)
        ),
        "/r/grouped/dataset_manifest.xlsx": layout.dataset_manifest(),
        "/r/grouped/AMOS-CT/dataset_manifest_amos_ct.xlsx": layout.dataset_manifest("ct"),
        "/r/grouped/splits/split01_standard": layout.splits(),
        "/r/grouped/AMOS-CT/splits/split01_standard": layout.splits("ct"),
        "/r/grouped/AMOS-CT": layout.group("ct"),
        "/r/grouped/AMOS-MRI": layout.group("mri"),
        "/r/.amos-dask": layout.state,
    }
    assert {name: path.as_posix() for name, path in expected.items()} == {
        name: name for name in expected
    }
    assert layout.dataset_manifest("mri").parent == layout.group("mri")


@pytest.mark.parametrize("pair", [(100.0, 100.5), (0.1, 0.2), (1e6, 1e6 + 1)])
def test_two_thresholds_never_share_a_manifest(pair: tuple[float, float]) -> None:
    layout = Layout(Path("/r"))
    assert len({layout.regions_manifest(value, after=False) for value in pair}) == 2


# ---------------------------------------------------------------- finding samples


def test_samples_are_found_anywhere_below_by_number_then_path(tmp_path: Path) -> None:
    b = make_sample(tmp_path / "ct/train/s/amos_0012_F", "amos_0012_volume.nii.gz")
    c = make_sample(tmp_path / "mri/val/s/amos_12345_UND", "amos_12345_mask.nii.gz")
    a = make_sample(tmp_path / "mri/x/amos_0002_M", "amos_0002_volume.nii.gz")
    twin = make_sample(tmp_path / "ct/val/s/amos_0012_M", "amos_0012_volume.nii.gz")
    found = find_sample_folders(tmp_path, AMOS22)
    assert [(f.path, f.seq) for f in found] == [
        (a, "0002"),
        (b, "0012"),
        (twin, "0012"),
        (c, "12345"),
    ]


@pytest.mark.parametrize(
    ("folder", "file"),
    [
        ("amos_0001_F", "amos_0002_volume.nii.gz"),
        ("amos_0001_F", ".amos_0001_volume.nii.gz.12345678.part~"),
        ("amos_0001", "amos_0001_volume.nii.gz"),
        ("amos_0001_", "amos_0001_volume.nii.gz"),
        ("amos_1_F", "amos_1_volume.nii.gz"),
        ("other_0001_F", "amos_0001_volume.nii.gz"),
        (".amos-dask/amos_0001_F", "amos_0001_volume.nii.gz"),
    ],
)
def test_other_folders_are_no_samples(tmp_path: Path, folder: str, file: str) -> None:
    make_sample(tmp_path / folder, file)
    assert find_sample_folders(tmp_path, AMOS22) == []


def test_the_folder_itself_may_be_a_sample(tmp_path: Path) -> None:
    folder = make_sample(tmp_path / "amos_0001_F", "amos_0001_mask.nii.gz")
    assert find_sample_folders(folder, AMOS22) == [SampleFolder(folder, "0001", "amos")]


def test_a_sample_folder_knows_its_binary_masks(tmp_path: Path) -> None:
    folder = make_sample(
        tmp_path / "amos_0001_F",
        "amos_0001_mask.nii.gz",
        "amos_0001_mask_01_spleen.nii.gz",
        "amos_0001_mask_00_background.nii.gz",
        "amos_0001_volume.nii.gz",
        "amos_0002_mask_00_background.nii.gz",
    )
    assert [path.name for path in SampleFolder(folder, "0001", "amos").binary_masks()] == [
        "amos_0001_mask_00_background.nii.gz",
        "amos_0001_mask_01_spleen.nii.gz",
    ]


# ---------------------------------------------------------------- which ROOT


def folders(base: Path, *names: str) -> None:
    for name in names:
        (base / name).mkdir(parents=True, exist_ok=True)


def test_the_nearest_ancestor_with_a_descriptor_is_the_root(tmp_path: Path) -> None:
    folders(tmp_path, "descriptor", "r/descriptor", "r/grouped/AMOS-CT")
    assert find_root(tmp_path / "r/grouped/AMOS-CT") == tmp_path / "r"
    assert find_root(tmp_path / "r/grouped") == tmp_path / "r"
    assert find_root(tmp_path / "r") == tmp_path / "r"


def test_the_output_tells_the_root_when_root_dir_does_not(tmp_path: Path) -> None:
    folders(tmp_path, "archive", "r/descriptor")
    output = tmp_path / "r/descriptor/archive_manifest.xlsx"
    assert find_root(tmp_path / "archive", output) == tmp_path / "r"


def test_root_dir_comes_before_the_output(tmp_path: Path) -> None:
    folders(tmp_path, "a/descriptor", "a/grouped", "b/descriptor")
    assert find_root(tmp_path / "a/grouped", tmp_path / "b/x.xlsx") == tmp_path / "a"


def test_without_a_descriptor_the_root_is_the_parent(tmp_path: Path) -> None:
    folders(tmp_path, "r/archive", "out")
    assert find_root(tmp_path / "r/archive") == tmp_path / "r"
    assert find_root(tmp_path / "r/archive", tmp_path / "out/x.xlsx") == tmp_path / "r"


def test_a_file_named_descriptor_is_none(tmp_path: Path) -> None:
    folders(tmp_path, "r/descriptor", "r/s/grouped")
    (tmp_path / "r/s/descriptor").touch()
    assert find_root(tmp_path / "r/s/grouped") == tmp_path / "r"


@pytest.mark.parametrize("given", ["archive", "./archive", "archive/", "../r/archive"])
def test_relative_folders_are_taken_from_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    folders(tmp_path, "r/archive")
    monkeypatch.chdir(tmp_path / "r")
    assert find_root(Path(given)).resolve() == tmp_path / "r"


def test_the_parent_of_dots_is_the_real_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders(tmp_path, "r/archive/imagesTr")
    monkeypatch.chdir(tmp_path / "r/archive/imagesTr")
    assert find_root(Path("..")).resolve() == tmp_path / "r"


def test_a_folder_below_is_no_ancestor_of_dots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders(tmp_path, "r/descriptor", "r/grouped", "r/grouped/tool/descriptor")
    monkeypatch.chdir(tmp_path / "r/grouped/tool")
    assert find_root(Path("..")).resolve() == tmp_path / "r"


@pytest.mark.parametrize("archive", ["elsewhere/archive", "https://host/amos22.zip"])
def test_a_root_that_the_output_makes_is_known_before(tmp_path: Path, archive: str) -> None:
    archive = archive if "//" in archive else str(tmp_path / archive)
    output = tmp_path / "AMOS22" / "descriptor" / "archive_manifest.xlsx"
    before = find_root_beside_archive(archive, output)
    output.parent.mkdir(parents=True)
    assert before == find_root_beside_archive(archive, output) == tmp_path / "AMOS22"


# ---------------------------------------------------------------- other datasets


def test_names_below_a_root_dir_are_those_of_the_dataset(tmp_path: Path) -> None:
    assert Layout.of(tmp_path) == Layout(tmp_path)
    kept = tmp_path / "descriptor" / "dataset.yaml"
    kept.parent.mkdir()
    kept.write_text(find_definition("ct-org").to_yaml())
    layout = Layout.of(tmp_path)
    assert layout.dataset == find_definition("ct-org")
    assert list(layout.groups.values()) == ["CTORG-CT", "CTORG-MRI", "CTORG-UND"]
    assert layout.dataset_manifest("ct").name == "dataset_manifest_ctorg_ct.xlsx"
    assert Layout.of(find_root(tmp_path / "grouped")) == layout


def test_only_samples_of_the_dataset_are_found(tmp_path: Path) -> None:
    for sample_id in ("amos_0001", "ctorg_0001", "ctorg_0020"):
        folder = tmp_path / "grouped" / f"{sample_id}_UND"
        folder.mkdir(parents=True)
        (folder / f"{sample_id}_volume.nii.gz").write_bytes(b"")
    layout = Layout(tmp_path, find_definition("ct-org"))
    assert [folder.sample_id for folder in find_samples_of(layout)] == ["ctorg_0001", "ctorg_0020"]
    (ours,) = find_sample_folders(tmp_path, AMOS22)
    assert ours == Layout(tmp_path).sample_folder(ours.path, "amos_0001")
