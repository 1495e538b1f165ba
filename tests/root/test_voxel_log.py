"""What is remembered of voxels holds for the same files only, and is never in the way."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from amos_dask.leak_finding.voxel_log import VoxelLog

NAMES = ["grouped/a.nii.gz", "grouped/b.nii.gz"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a ROOT_DIR with two volumes of which everything is remembered."""
    (tmp_path / "grouped").mkdir()
    for name in NAMES:
        (tmp_path / name).write_bytes(gzip.compress(name.encode()))
    log = opened(tmp_path)
    for name in NAMES:
        log.keep(name, "checksum", f"crc of {name}")
        log.keep(name, "digest", f"sha of {name}")
    log.save(NAMES)
    return tmp_path


def opened(root: Path, version: int = 1) -> VoxelLog:
    return VoxelLog(root / "state" / "voxels.json", root, version)


def test_what_was_kept_is_known(root: Path) -> None:
    log = opened(root)
    assert log.known(NAMES[0], "checksum") == f"crc of {NAMES[0]}"
    assert log.known(NAMES[1], "digest") == f"sha of {NAMES[1]}"
    assert log.known(NAMES[0], "other") is None
    assert log.known("grouped/c.nii.gz", "checksum") is None


def test_of_a_file_that_changed_nothing_is_known(root: Path) -> None:
    (root / NAMES[0]).write_bytes(gzip.compress(b"another"))
    log = opened(root)
    assert log.known(NAMES[0], "checksum") is None
    log.keep(NAMES[0], "checksum", "new")
    log.save(NAMES)
    assert opened(root).known(NAMES[0], "checksum") == "new"
    assert opened(root).known(NAMES[0], "digest") is None  # that of the file before
    assert opened(root).known(NAMES[1], "digest") is not None


def test_what_changes_while_it_is_read_is_kept_as_it_was_before(root: Path) -> None:
    log = opened(root)
    (root / NAMES[0]).write_bytes(gzip.compress(b"second"))
    assert log.known(NAMES[0], "checksum") is None
    (root / NAMES[0]).write_bytes(gzip.compress(b"third"))
    log.keep(NAMES[0], "checksum", "of the second, or the third")
    log.save(NAMES)
    assert opened(root).known(NAMES[0], "checksum") is None


def test_a_file_out_of_reach_is_neither_known_nor_kept(root: Path) -> None:
    (root / NAMES[0]).unlink()
    log = opened(root)
    assert log.known(NAMES[0], "checksum") is None
    log.keep(NAMES[0], "checksum", "x")
    log.save([NAMES[1]])
    assert opened(root).known(NAMES[0], "checksum") is None


def test_other_volumes_are_forgotten(root: Path) -> None:
    opened(root).save([NAMES[1]])
    assert opened(root).known(NAMES[0], "checksum") is None
    assert opened(root).known(NAMES[1], "checksum") is not None


def test_the_same_is_not_written_again(root: Path) -> None:
    path = root / "state" / "voxels.json"
    before = path.stat().st_mtime_ns, path.stat().st_ino
    log = opened(root)
    for name in reversed(NAMES):
        log.keep(name, "digest", f"sha of {name}")
    log.save(NAMES)
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_nothing_to_remember_makes_no_file(tmp_path: Path) -> None:
    opened(tmp_path).save([])
    assert list(tmp_path.iterdir()) == []


def test_another_version_knows_nothing(root: Path) -> None:
    assert opened(root, version=2).known(NAMES[0], "checksum") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"[]", b"5", b'{"version": 1}', b'{"version": 1, "volumes": [1]}',
     b'{"version": 1, "volumes": {"a": 5}}'],
)  # fmt: skip
def test_a_damaged_log_knows_nothing_and_is_replaced(root: Path, content: bytes) -> None:
    path = root / "state" / "voxels.json"
    path.write_bytes(content)
    log = opened(root)
    assert log.known(NAMES[0], "checksum") is None
    log.keep(NAMES[0], "checksum", "x")
    log.save(NAMES)
    assert json.loads(path.read_text())["version"] == 1
