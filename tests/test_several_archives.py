"""An archive in several files and folders is read as one and remembered; odd ones are named."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from distributed import Client
from mini import QUIET, Own, mask, write
from roots import assert_same, contents, issues, program, snapshot

import amos_dask
from amos_dask.errors import AmosDaskError

DEFINITION = """labels: {0: background, 1: first, 2: second}
subsets: train
volumes: "{id}_ct"
masks: "{id}_seg"
with_masks: [train]
denoise: none"""


class Parts:
    """A dataset in a tar, a zip and a folder."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.own, self.folder = Own(folder, client, DEFINITION), folder
        for part, names in {"one": "ab", "two": "cd", "three": "ef"}.items():
            for name in names:
                write(folder / part, f"{name}_ct.nii.gz")
                # The mask of b lies in another part than its scan.
                where = "three" if name == "b" else part
                write(folder / where, f"{name}_seg.nii.gz", mask((1, 2)))
        self.pack()

    def pack(self) -> None:
        for part, form in (("one", "tar"), ("two", "zip")):
            shutil.make_archive(str(self.folder / part), form, self.folder / part)

    @property
    def places(self) -> list[Path]:
        return [self.folder / name for name in ("one.tar", "two.zip", "three")]


@pytest.fixture
def parts(tmp_path: Path, client: Client) -> Parts:
    return Parts(tmp_path, client)


def test_a_tar_a_zip_and_a_folder_are_one_archive(parts: Parts, tmp_path: Path) -> None:
    own = parts.own
    done = own.run(parts.places)
    assert done.exit_code == amos_dask.ExitCode.DONE
    assert issues(own.root) == []
    paths = done.archive_manifest["file_path"].tolist()
    assert paths[:4] == [
        *("one.tar/a_ct.nii.gz", "one.tar/a_seg.nii.gz"),
        *("one.tar/b_ct.nii.gz", "three/b_seg.nii.gz"),
    ]
    whole = shutil.copytree(tmp_path / "one", tmp_path / "whole")
    for part in ("two", "three"):
        shutil.copytree(tmp_path / part, whole, dirs_exist_ok=True)
    (whole / "b_seg.nii.gz").write_bytes((tmp_path / "three" / "b_seg.nii.gz").read_bytes())
    how = {"dataset": own.definition, "cluster": own.client} | QUIET
    amos_dask.run(tmp_path / "of the whole", whole, **how)
    assert_same(contents(own.root, "grouped"), contents(tmp_path / "of the whole", "grouped"))


def test_all_of_them_are_remembered_in_any_order(parts: Parts) -> None:
    own = parts.own
    own.run(parts.places)
    before = snapshot(own.root)
    again = amos_dask.run(own.root, cluster=own.client, **QUIET)
    assert again.reasons == {"complete": 6}
    assert own.run(parts.places[::-1]).reasons == {"complete": 6}
    assert snapshot(own.root) == before
    write(parts.folder / "three", "g_ct.nii.gz")
    write(parts.folder / "three", "g_seg.nii.gz", mask(1))
    assert amos_dask.run(own.root, cluster=own.client, **QUIET).reasons == {"complete": 6, "new": 1}


def test_one_that_is_gone_is_named(parts: Parts) -> None:
    own = parts.own
    own.run(parts.places)
    before = snapshot(own.root)
    parts.places[1].rename(parts.folder / "elsewhere.zip")
    with pytest.raises(AmosDaskError, match=r"its archive .*two\.zip is gone") as error:
        amos_dask.run(own.root, cluster=own.client, **QUIET)
    assert "one.tar" not in str(error.value)
    with pytest.raises(AmosDaskError, match=r"two\.zip: there is no such zip file"):
        own.run(parts.places)
    assert snapshot(own.root) == before
    # Without it: its samples stay, and are said to be missing; they are a third of all.
    done = own.run([parts.places[0], parts.places[2]])
    assert done.exit_code == amos_dask.ExitCode.SAMPLES_FAILED
    assert [(s, code) for s, code, _ in own.found()] == [
        ("own_c", "not_in_archive"),
        ("own_d", "not_in_archive"),
    ]
    assert own.there() == [f"own_{name}_UND" for name in "abcdef"]
    elsewhere = [parts.places[0], parts.folder / "elsewhere.zip", parts.places[2]]
    assert own.run(elsewhere).reasons == {"complete": 6}
    assert own.found() == []


def test_a_file_that_two_of_them_hold_is_said(parts: Parts) -> None:
    write(parts.folder / "three", "a_ct.nii.gz")
    parts.own.run(parts.places)
    assert parts.own.found() == [("own_a", "duplicate_file", "three/a_ct.nii.gz")]
    assert "one.tar/a_ct.nii.gz" in parts.own.said("duplicate_file")


def test_two_of_one_name_are_refused(parts: Parts) -> None:
    other = shutil.copytree(parts.folder / "three", parts.folder / "other" / "three")
    with pytest.raises(AmosDaskError, match="three: 2 archives have this name; rename all but one"):
        parts.own.run([*parts.places, other])


def test_on_the_command_line(parts: Parts, cluster_address: str) -> None:
    own = parts.own
    archives = [word for place in parts.places for word in ("--archive", place)]
    how = ("--cluster", cluster_address, "--quiet", "--no_report", "--no_statistics")
    program("run", own.root, *archives, "--dataset", own.definition, *how)
    before = contents(own.root)
    program("run", own.root, *how)
    assert_same(before, contents(own.root))
    other = parts.folder / "another"
    for name in "abcdef":
        write(other, f"{name}_ct.nii.gz", mask(ord(name)))
        write(other, f"{name}_seg.nii.gz", mask((2, 1)))
    said = program("run", own.root, "--archive", other, *how, exit_code=1).stderr
    assert "give --switch_archive to go on with this archive" in said
    assert_same(before, contents(own.root))
    program("run", own.root, "--archive", other, "--switch_archive", *how)
    assert {code for _, code, _ in own.found("empty_slices")} == {"replaced"}
