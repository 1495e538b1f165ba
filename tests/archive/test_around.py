"""No command writes into an archive: a folder in which scans would be found."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from roots import BARE, ct_archive, program, snapshot

from amos_dask.archive.recognise import EXPORT_MARK, require_outside_archives
from amos_dask.datasets import find_definition
from amos_dask.errors import AmosDaskError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "scan",
    [
        "imagesTr/amos_0001.nii.gz",
        "imagesVa/amos_0010.nii.gz",
        "imagesTs/amos_0300_0000.nii.gz",
        "labelsTr/amos_0001.nii.gz",
        "imagesTr/spleen_2.nii.gz",  # of the Decathlon
        "imagesTr/anything.nii.gz",
        "images/FLARE22_Tr_0001_0000.nii.gz",
        "img/img0001.nii.gz",
    ],
)
@pytest.mark.parametrize("below", ["", "new", "new/deep/file.xlsx", "imagesTr/x", "imagesTr"])
def test_folders_with_scans_are_archives(scan: str, below: str, tmp_path: Path) -> None:
    archive = make(tmp_path / "amos22" / "amos22", scan)
    with pytest.raises(AmosDaskError, match=r"lies inside the archive .*amos22/amos22; write"):
        require_outside_archives(archive / below)


def test_what_lies_beside_or_above_an_archive_is_free(tmp_path: Path) -> None:
    make(tmp_path / "ROOT" / "archive", "imagesTr/amos_0001.nii.gz")
    for name in ("ROOT", "ROOT/grouped", "ROOT/descriptor/a.xlsx", "elsewhere/imagesTr"):
        require_outside_archives(tmp_path / name)
    make(tmp_path / "mine", "imagesTr/notes.txt", "imagesTr/.amos_0001.nii.gz", "amos_1.nii.gz")
    make(tmp_path / "mine", "images/scan.nii.gz", "img/1.nii.gz", "labels/scan.nii.gz")
    require_outside_archives(tmp_path / "mine" / "out")


def test_an_export_is_no_archive(tmp_path: Path) -> None:
    export = make(tmp_path, "imagesTr/amos_0001_0000.nii.gz")
    with pytest.raises(AmosDaskError, match="inside the archive"):
        require_outside_archives(export / "x")
    (export / EXPORT_MARK).touch()
    require_outside_archives(export / "x")


def test_a_dataset_without_folders_of_its_own(tmp_path: Path) -> None:
    make(tmp_path, "volume-0.nii.gz")
    require_outside_archives(tmp_path / "out")
    with pytest.raises(AmosDaskError, match="inside the archive"):
        require_outside_archives(tmp_path / "out", find_definition("ct-org"))


def test_links_are_seen_through(tmp_path: Path) -> None:
    archive = make(tmp_path / "disk" / "amos22", "imagesTr/amos_0001.nii.gz")
    (tmp_path / "link").symlink_to(archive / "imagesTr")
    with pytest.raises(AmosDaskError, match="inside the archive"):
        require_outside_archives(tmp_path / "link" / "out")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a folder with an archive and the ROOT_DIR made of it."""
    folder = tmp_path_factory.mktemp("made")
    archive = ct_archive(folder, 1)
    words = ("--archive", archive, "--cluster", cluster_address, "--quiet", *BARE)
    program("run", folder / "AMOS22", *words)
    shutil.copytree(archive, folder / "other")
    return folder


@pytest.mark.parametrize(
    "words",
    [
        "export nnunet other --root_dir AMOS22",
        "export nnunet other/raw --root_dir AMOS22",
        "export monai other/a.json --root_dir AMOS22",
        "export monai amos22/imagesTr/a.json --root_dir AMOS22",
        "phantom other",
        "phantom --form zip other/imagesTr",
        "demo other/demo",
        "download other",
        "denoise --root_dir AMOS22/grouped --output_dir other/denoised",
        "confirm-pairs --modality ct --root_dir amos22 --output_dir other --archive_manifest a",
        "archive-manifest --root_dir amos22 --output_manifest_file other/a.xlsx",
        "run other --archive amos22",
        "run other/AMOS22 --archive amos22",
    ],
)
def test_commands_refuse_to_write_into_an_archive(
    words: str, made: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    before = snapshot(made)
    on_dask = () if words.startswith(("phantom", "download")) else ("--cluster", cluster_address)
    said = program(*words.split(), *on_dask, exit_code=1)
    (line,) = said.stderr.strip().splitlines()
    assert "inside the archive" in line
    assert said.stdout == ""
    assert snapshot(made) == before
