"""What people put under ROOT_DIR beside ours stays, whatever it is called."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from roots import BARE, change_sex, ct_archive, program, sample_dir, snapshot, truncate

from amos_dask.phantom import METADATA_NAME

GROUP = "grouped/AMOS-CT"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that no test changes."""
    return ct_archive(tmp_path_factory.mktemp("source"), 2, seed=1)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a finished ROOT_DIR that no test changes."""
    root = tmp_path_factory.mktemp("made") / "AMOS22"
    program("run", root, "--archive", source, "--cluster", cluster_address, "--quiet", *BARE)
    return root


@pytest.fixture
def planted(source: Path, made: Path, tmp_path: Path) -> tuple[Path, dict[str, bytes]]:
    """Return a folder with archive, ROOT_DIR and another one, and the files that are somebody's."""
    shutil.copytree(source, tmp_path / "archive")
    root = shutil.copytree(made, tmp_path / "AMOS22")
    other = shutil.copytree(made, tmp_path / "OTHER")
    copy = shutil.copytree(root / GROUP, root / "grouped" / "my_copy")
    folder = sample_dir(root / GROUP, "0001")
    predicted = shutil.copytree(folder, folder.parent / "amos_0001_unet")
    (predicted / "notes.txt").write_text("three weeks", encoding="utf-8")
    second = folder / "amos_0001_mask_second_reader.nii.gz"
    shutil.copy(folder / "amos_0001_mask.nii.gz", second)
    (root / "grouped" / "link").symlink_to(other / "grouped")
    (folder.parent / "amos_0001_linked").symlink_to(sample_dir(other / GROUP, "0001"))
    theirs = [*copy.rglob("*"), *predicted.rglob("*"), second, *other.rglob("*")]
    return tmp_path, {str(p): p.read_bytes() for p in theirs if p.is_file()}


def _run(folder: Path, cluster: str, *words: str, exit_code: int = 0) -> None:
    where = ("run", folder / "AMOS22", "--archive", folder / "archive")
    program(*where, *words, "--cluster", cluster, "--quiet", *BARE, exit_code=exit_code)


def _lost(theirs: dict[str, bytes]) -> list[str]:
    return [
        p for p, data in theirs.items() if not Path(p).is_file() or Path(p).read_bytes() != data
    ]


@pytest.mark.parametrize("words", [(), ("--force",), ("--kernel_size", "3", "3")])
def test_a_run_leaves_what_is_not_ours(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str, words: tuple[str, ...]
) -> None:
    folder, theirs = planted
    _run(folder, cluster_address, *words)
    assert _lost(theirs) == []


def test_nothing_is_done_again_for_what_is_not_ours(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str
) -> None:
    folder, _ = planted
    _run(folder, cluster_address)  # the archive's copy has another path than the one it was made of
    before = snapshot(folder / "AMOS22")
    _run(folder, cluster_address)
    assert snapshot(folder / "AMOS22") == before


def test_a_link_or_file_where_a_folder_goes_is_named_and_makes_way(
    source: Path, tmp_path: Path, cluster_address: str
) -> None:
    shutil.copytree(source, tmp_path / "archive")
    root, elsewhere = tmp_path / "AMOS22", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "grouped").mkdir(parents=True)
    place = root / GROUP
    place.symlink_to(elsewhere)
    _run(tmp_path, cluster_address, exit_code=3)
    text = (root / "descriptor/issues.jsonl").read_text(encoding="utf-8")
    assert f'"file": "{GROUP}", "message": "AMOS-CT is a link, which is not followed"' in text
    place.unlink()
    place.write_text("mine", encoding="utf-8")
    _run(tmp_path, cluster_address, exit_code=3)
    assert "AMOS-CT is no folder" in (root / "descriptor/issues.jsonl").read_text(encoding="utf-8")
    _run(tmp_path, cluster_address, "--adopt")
    assert [p.read_text() for p in (root / "replaced").rglob("AMOS-CT")] == ["mine"]
    assert list(elsewhere.iterdir()) == []
    program("verify", root, "--cluster", cluster_address)


@pytest.mark.parametrize("words", [(), ("--adopt",)])
def test_a_command_that_works_behind_a_link_leaves_the_link(
    made: Path, tmp_path: Path, cluster_address: str, words: tuple[str, ...]
) -> None:
    root = shutil.copytree(made, tmp_path / "AMOS22")
    elsewhere = (root / GROUP).rename(tmp_path / "elsewhere")
    (root / GROUP).symlink_to(elsewhere)
    before = snapshot(elsewhere)
    place = root / GROUP
    command = ("denoise", "--root_dir", place, "--output_dir", place, "--kernel_size", "3", "3")
    program(*command, *words, "--cluster", cluster_address, "--quiet", exit_code=3)
    assert (root / GROUP).readlink() == elsewhere
    assert snapshot(elsewhere) == before


@pytest.mark.parametrize("name", ["grouped", "descriptor", ".amos-dask"])
def test_a_file_where_rootdir_has_a_folder_is_one_sentence(
    source: Path, tmp_path: Path, cluster_address: str, name: str
) -> None:
    shutil.copytree(source, tmp_path / "archive")
    (tmp_path / "AMOS22").mkdir()
    (tmp_path / "AMOS22" / name).write_text("mine", encoding="utf-8")
    _run(tmp_path, cluster_address, exit_code=1)
    assert (tmp_path / "AMOS22" / name).read_text(encoding="utf-8") == "mine"


def test_a_sample_that_moves_leaves_what_is_not_ours(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str
) -> None:
    folder, theirs = planted
    old = sample_dir_of_receipt(folder / "AMOS22")
    change_sex(folder / "archive" / METADATA_NAME, 1, "M" if old.name.endswith("F") else "F")
    _run(folder, cluster_address)
    assert _lost(theirs) == []
    assert [path.name for path in old.iterdir()] == ["amos_0001_mask_second_reader.nii.gz"]


def test_a_volume_that_fails_leaves_what_is_not_ours(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str
) -> None:
    folder, theirs = planted
    (volume,) = (folder / "archive").glob("images*/amos_0001.nii.gz")
    truncate(volume)
    _run(folder, cluster_address, exit_code=3)
    assert _lost(theirs) == []


def test_single_commands_leave_what_is_not_ours(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str, tmp_path: Path
) -> None:
    folder, theirs = planted
    group = folder / "AMOS22" / GROUP
    label_map = tmp_path / "labels.yaml"
    label_map.write_text("0: background\n1: milt\n", encoding="utf-8")
    words = ("--root_dir", group, "--cluster", cluster_address, "--quiet", "--label_explanation")
    program("binary-masks", *words, label_map, exit_code=3)
    second = [path for path in theirs if path.endswith("_second_reader.nii.gz")]
    linked = [path for path in theirs if f"{folder}/OTHER/" in path]
    assert _lost({path: theirs[path] for path in (*second, *linked)}) == []


@pytest.mark.parametrize(
    "words",
    [
        ("binary-masks",),
        ("denoise", "--kernel_size", "3", "3"),
        ("restore",),
        ("split-prostate-uterus",),
    ],
)
def test_a_step_on_a_copy_leaves_the_original(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str, words: tuple[str, ...]
) -> None:
    root = planted[0] / "AMOS22"
    train = sample_dir_of_receipt(root).parents[1]
    copy = shutil.copytree(train, train.with_name("train_backup"))
    before = snapshot(train)
    receipts = snapshot(root / ".amos-dask" / "receipts")
    where = ("--root_dir", copy, *(("--output_dir", copy) if words[0] == "denoise" else ()))
    program(words[0], *where, *words[1:], "--cluster", cluster_address, "--quiet")
    assert snapshot(train) == before
    assert snapshot(root / ".amos-dask" / "receipts") == receipts
    backup = snapshot(copy)
    _run(planted[0], cluster_address)
    assert snapshot(copy) == backup


def test_pairs_in_another_folder_leave_the_first_ones(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str
) -> None:
    folder, _ = planted
    root = folder / "AMOS22"
    train = sample_dir_of_receipt(root).parents[1]
    before = snapshot(train)
    second = root / GROUP / "second"
    manifest = ("--archive_manifest", root / "descriptor" / "archive_manifest.xlsx")
    where = (
        "--root_dir",
        folder / "archive",
        *manifest,
        "--output_dir",
        second,
        "--modality",
        "ct",
    )
    program("confirm-pairs", *where, "--cluster", cluster_address, "--quiet")
    assert snapshot(train) == before
    assert list(second.rglob("*_volume.nii.gz"))


def test_what_undoes_denoising_elsewhere_stays(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str
) -> None:
    root = planted[0] / "AMOS22"
    group, cluster = root / GROUP, ("--cluster", cluster_address, "--quiet")
    program("restore", "--root_dir", group, *cluster)
    program("denoise", "--root_dir", group, "--output_dir", root / "denoised", *cluster)
    program("stats", root, *cluster)
    program("restore", "--root_dir", root / "denoised", *cluster)


def test_a_denoised_copy_leaves_what_is_kept_as_it_is(
    planted: tuple[Path, dict[str, bytes]], cluster_address: str
) -> None:
    root = planted[0] / "AMOS22"
    before = snapshot(root / ".amos-dask" / "restore")
    words = ("--root_dir", root / GROUP, "--output_dir", root / "denoised", "--quiet")
    program("denoise", *words, "--cluster", cluster_address)
    assert snapshot(root / ".amos-dask" / "restore") == before


def test_denoised_masks_elsewhere_are_ours_and_others_stay(
    source: Path, made: Path, tmp_path: Path, cluster_address: str
) -> None:
    root = shutil.copytree(made, tmp_path / "AMOS22")
    group, cluster = root / GROUP, ("--cluster", cluster_address, "--quiet")
    program("restore", "--root_dir", group, *cluster)
    words = ("denoise", "--root_dir", group, "--output_dir", tmp_path / "denoised", *cluster)
    for area in (10, 40):  # the second time over what was written the first time
        program(*words, "--region_area_thresh", str(area))
    mask = sample_dir(tmp_path / "denoised", "0001") / "amos_0001_mask.nii.gz"
    shutil.rmtree(root / ".amos-dask" / "journal")
    mask.write_bytes(b"mine")
    said = program(*words, "--region_area_thresh", "20", exit_code=3).stdout
    assert f"foreign_file: {mask.name} is in the way" in said
    assert mask.read_bytes() == b"mine"
    program(*words, "--region_area_thresh", "20", "--adopt")
    (aside,) = (root / "replaced" / "1").rglob(mask.name)
    assert aside.read_bytes() == b"mine"


@pytest.mark.parametrize("command", ["binary-masks", "split-prostate-uterus"])
def test_a_step_that_has_nothing_to_do_leaves_a_sound_result(
    source: Path, made: Path, tmp_path: Path, cluster_address: str, command: str
) -> None:
    root = shutil.copytree(made, tmp_path / "AMOS22")
    program(command, "--root_dir", root / "grouped", "--cluster", cluster_address, "--quiet")
    program("verify", root, "--cluster", cluster_address)


def sample_dir_of_receipt(root: Path) -> Path:
    """Return the folder of sample 1 that `run` made."""
    (folder,) = (
        path
        for path in (root / GROUP).rglob("amos_0001_?")
        if path.is_dir() and not path.is_symlink()
    )
    return folder
