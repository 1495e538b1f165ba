"""A disk is full, or read-only, in the middle of a run: one clear error, nothing half-written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from roots import assert_same, contents, program

from amos_dask import AmosDaskError, run
from amos_dask.engine.events import Event, TaskEnded
from amos_dask.phantom import Archive


class SmallDisk:
    """A file system in memory whose size can be changed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.path)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A disk of 1 MiB; making one needs root."""
    small = SmallDisk(tmp_path / "disk")
    small.path.mkdir()
    if not small.mount("size=1m"):
        pytest.skip("a small tmpfs cannot be mounted here (root can)")
    yield small
    subprocess.run(["umount", "--lazy", str(small.path)], check=True)


def test_a_full_disk_ends_the_run_and_the_next_one_completes_it(
    disk: SmallDisk, phantom: Archive, processed_root: Path, cluster_address: str
) -> None:
    options = ("--archive", phantom.path, "--cluster", cluster_address, "--quiet")
    root, whole = disk.path / "AMOS22", contents(processed_root)
    said = program("run", root, *options, exit_code=1)
    (line,) = said.stderr.strip().splitlines()
    assert "No space left on device" in line
    assert "run the same command again" in line
    assert said.stdout == ""
    assert list(root.rglob("*~")) == []
    begun = contents(root)
    assert set(begun) < set(whole)
    assert {name for name in begun if begun[name] != whole[name]} == set()
    assert disk.mount("remount,size=256m")
    program("run", root, *options)
    assert_same(whole, contents(root))


def test_workers_need_no_room_on_their_disk(
    disk: SmallDisk, root: Path, phantom: Archive, processed_root: Path
) -> None:
    fill(disk.path)
    options = ("--archive", phantom.path, "--workers", "1", "--quiet")
    program("run", root, *options, "--local_directory", disk.path)
    assert_same(contents(processed_root), contents(root))


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "full").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def test_a_disk_of_workers_without_room_for_a_name_is_said_in_one_line(
    disk: SmallDisk, root: Path, phantom: Archive
) -> None:
    n_used = os.statvfs(disk.path).f_files - os.statvfs(disk.path).f_ffree
    assert disk.mount(f"remount,nr_inodes={n_used + 2}")
    options = ("--archive", phantom.path, "--workers", "1", "--quiet")
    said = program("run", root, *options, "--local_directory", disk.path, exit_code=1)
    (line,) = said.stderr.strip().splitlines()
    assert str(disk.path) in line
    assert "No space left on device" in line
    assert "--local_directory" in line
    assert not (root / "grouped").exists()


def test_a_disk_that_becomes_read_only_ends_the_run_and_the_next_one_completes_it(
    disk: SmallDisk, phantom: Archive, processed_root: Path, cluster_address: str
) -> None:
    assert disk.mount("remount,size=256m")
    root = disk.path / "AMOS22"
    grouped = root / "grouped"

    def protect(event: Event) -> None:
        if isinstance(event, TaskEnded) and event.work == "sample" and not grouped.is_mount():
            # What is mounted over it: with its lock held, the disk itself is busy.
            subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", grouped], check=True)

    try:
        with pytest.raises((AmosDaskError, OSError), match="Read-only file system"):
            run(root, phantom.path, cluster=cluster_address, progress=protect)
    finally:
        subprocess.run(["umount", "--lazy", grouped], check=True)
    run(root, phantom.path, cluster=cluster_address, progress="none")
    assert_same(contents(processed_root), contents(root))
    assert list(root.rglob("*~")) == []
