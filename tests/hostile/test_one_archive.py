"""All bad images in one archive beside four good samples, from a folder and from a zip."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hostile.bad_images import (
    BAD_MASKS,
    BAD_VOLUMES,
    ODD_MASKS,
    ODD_VOLUMES,
    Bad,
    image,
    mask_voxels,
    volume_voxels,
)
from roots import contents, issues

import amos_dask
from amos_dask.issues import CATALOGUE
from amos_dask.phantom import write_archive

# Of the issue codes, those that say something about an archive as a whole or its names.
ABOUT_NAMES = {"subset_counts", "no_samples", "mr_metadata_offset"}
LABELS = ("unknown_label", "empty_mask")
# Damaged files are damaged alike, so of masks a few and all that only masks can be.
_ALIKE = ("empty", "nii", "flip_voxel", "cut_in_header", "terabytes", "bomb", "affine_nan")
VOLUMES = BAD_VOLUMES | ODD_VOLUMES
MASKS = {
    name: bad
    for name, bad in (BAD_MASKS | ODD_MASKS).items()
    if name in _ALIKE or name not in VOLUMES
}


@dataclass(frozen=True)
class Planted:
    """A bad image in the archive."""

    sample: str
    file: str
    bad: Bad

    @property
    def named(self) -> tuple[str, str]:
        """Sample and code of its issue."""
        return self.sample, self.bad.code


@dataclass(frozen=True)
class Archives:
    """The good samples alone, the same among bad ones, and what is bad."""

    clean: Path
    mixed: Path
    good: tuple[str, ...]
    planted: tuple[Planted, ...]


def plant(folder: Path, numbers: Any, bad: Bad, kind: str) -> Planted:
    """Write a bad volume beside a good mask, or the other way round."""
    sample = f"amos_{next(numbers):04d}"
    volume, mask = f"imagesTr/{sample}.nii.gz", f"labelsTr/{sample}.nii.gz"
    is_volume = kind == "volume"
    (folder / volume).write_bytes(bad.content if is_volume else image(volume_voxels()))
    (folder / mask).write_bytes(image(mask_voxels()) if is_volume else bad.content)
    return Planted(sample, volume if is_volume else mask, bad)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    base = tmp_path_factory.mktemp("one_archive")
    clean = write_archive(base / "clean", n_ct=3, n_mri=1, size="tiny", quirks=False)
    (clean.path / "dataset.json").unlink()  # it would list none of the bad ones
    mixed = base / "mixed"
    shutil.copytree(clean.path, mixed)
    good = tuple(sample.sample_id for sample in clean.samples)
    numbers = (n for n in itertools.count(10) if f"amos_{n:04d}" not in good)
    planted = [
        plant(mixed, numbers, bad, kind)
        for kind, table in (("volume", VOLUMES), ("mask", MASKS))
        for bad in table.values()
    ]
    return Archives(clean.path, mixed, good, tuple(planted))


@pytest.fixture(scope="module")
def clean_root(
    archives: Archives, tmp_path_factory: pytest.TempPathFactory, cluster_address: str
) -> Path:
    root = tmp_path_factory.mktemp("clean_root") / "AMOS22"
    result = amos_dask.run(root, archives.clean, cluster=cluster_address, progress="none")
    assert result.exit_code == 0
    return root


def assert_good_unharmed(root: Path, clean_root: Path, archives: Archives) -> None:
    """Fail where anything of the good samples differs from a run without the bad ones."""
    found, expected = contents(root), contents(clean_root)
    assert set(expected) <= set(found)
    for name, content in expected.items():
        if "statistics" in name:  # of all samples together, the partly good ones included
            continue
        if name == "descriptor/report.html":
            assert told_of(found[name], archives.good) == told_of(content, archives.good)
        elif name.endswith(".xlsx"):
            assert rows_of(found[name], archives.good) == rows_of(content, archives.good), name
        elif not name.endswith("issues.jsonl"):
            assert found[name] == content, name


def told_of(report: Mapping[str, Any], samples: tuple[str, ...]) -> dict[str, Any]:
    """Return what a report tells of some samples, with their pictures."""
    rows = {one["id"]: one for one in report["content"]["samples"]}
    return {name: (rows.get(name), report.get(f"pictures-{name}")) for name in samples}


def rows_of(workbook: Mapping[str, Any], samples: tuple[str, ...]) -> dict[str, Any]:
    """Return the header and the rows of some samples, by worksheet."""
    keys = {*samples, *(sample.removeprefix("amos_") for sample in samples)}
    return {
        title: [rows[0], *(row for row in rows[1:] if keys & set(map(str, row[:3])))]
        for title, rows in workbook.items()
    }


def assert_each_is_told_once(root: Path, planted: tuple[Planted, ...]) -> None:
    """Fail unless each bad image has exactly one issue, which names its file, and no other is."""
    told = [issue for issue in issues(root) if issue["code"] not in ABOUT_NAMES]
    # A scan with another affine, which its mask then takes.
    moved = ("bad_spacing", "forms_disagree", "not_orthonormal")
    follows = {one.sample for one in planted if one.bad.code in moved}
    told = [i for i in told if not (i["code"] == "affine_repaired" and i["sample"] in follows)]
    assert sorted((i["sample"], i["code"]) for i in told) == sorted(one.named for one in planted)
    by_sample = {issue["sample"]: issue for issue in told}
    for one in planted:
        issue = by_sample[one.sample]
        assert one.bad.says in issue["message"]
        if one.bad.code in LABELS:  # about the mask that was written
            assert issue["file"].endswith(f"{one.sample}_mask.nii.gz")
        else:
            assert issue["file"].endswith(one.file)


@pytest.mark.integration
def test_a_folder_of_bad_images_harms_no_good_one_and_says_so_quietly(
    archives: Archives, clean_root: Path, tmp_path: Path
) -> None:
    root = tmp_path / "AMOS22"
    words = ["run", str(root), "--archive", str(archives.mixed), "--quiet"]
    words += ["--workers", "2", "--dashboard_port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "amos_dask", *words], capture_output=True, text=True, check=False
    )
    n_failed = sum(CATALOGUE[one.bad.code] == "error" for one in archives.planted)
    assert done.stderr == ""  # what workers write would be here too
    assert done.returncode == amos_dask.ExitCode.SAMPLES_FAILED
    assert f"{n_failed} samples failed; see the report and the issues." in done.stdout
    assert_good_unharmed(root, clean_root, archives)
    assert_each_is_told_once(root, archives.planted)


# ---------------------------------------------------------------- from a zip

NOT_WHAT_THE_ZIP_SAYS = Bad(b"", "unreadable_volume", "checksum")
ENCRYPTED = Bad(b"", "unreadable_volume", "encrypted")
UNSUPPORTED = Bad(b"", "unreadable_volume", "method 12")
OVERSTATED = Bad(b"", "unreadable_volume", "more than it can hold")
LONGER = Bad(b"", "unreadable_volume", "is longer than")
NO_MEMBER = Bad(b"", "unreadable_volume", "should begin")


@pytest.mark.integration
def test_a_zip_of_bad_images_and_bad_members_harms_no_good_one(
    archives: Archives, clean_root: Path, tmp_path: Path, cluster_address: str
) -> None:
    path = tmp_path / "amos22.zip"
    members = write_zip(path, archives.mixed)
    root = tmp_path / "AMOS22"
    result = amos_dask.run(root, path, cluster=cluster_address, progress="none")
    assert result.exit_code == amos_dask.ExitCode.SAMPLES_FAILED
    assert_good_unharmed(root, clean_root, archives)
    assert_each_is_told_once(root, (*archives.planted, *members))


def write_zip(path: Path, folder: Path) -> tuple[Planted, ...]:
    """Zip a folder, and add members that only a zip can hold; return those."""
    kinds = (NOT_WHAT_THE_ZIP_SAYS, ENCRYPTED, UNSUPPORTED, OVERSTATED, LONGER, NO_MEMBER)
    planted = []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for number, file in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
            method = zipfile.ZIP_STORED if number % 2 else zipfile.ZIP_DEFLATED
            archive.write(file, file.relative_to(folder).as_posix(), method)
        for number, kind in enumerate(kinds, start=490):
            name = f"amos_{number:04d}.nii.gz"
            method = zipfile.ZIP_BZIP2 if kind is UNSUPPORTED else zipfile.ZIP_DEFLATED
            archive.writestr(f"imagesTr/{name}", image(volume_voxels()), method)
            archive.writestr(f"labelsTr/{name}", image(mask_voxels()))
            planted.append(Planted(name.removesuffix(".nii.gz"), f"imagesTr/{name}", kind))
        for one in planted:  # the directory, written when the zip is closed, tells something else
            entry = archive.getinfo(one.file)
            if one.bad is NOT_WHAT_THE_ZIP_SAYS:
                entry.CRC ^= 1
            elif one.bad is ENCRYPTED:
                entry.flag_bits |= 1
            elif one.bad is OVERSTATED:
                entry.file_size = 1 << 50
            elif one.bad is LONGER:
                entry.file_size -= 9
            elif one.bad is NO_MEMBER:
                entry.header_offset += 7
    return tuple(planted)
