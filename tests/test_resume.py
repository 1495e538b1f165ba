"""``run`` again: what is complete stays untouched, the rest is done, and the end is the same."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
from distributed import Client
from openpyxl import load_workbook
from roots import (
    assert_same,
    besides_replaced,
    change_sex,
    contents,
    ct_archive,
    errors,
    program,
    put_back,
    sample_dir,
    snapshot,
    truncate,
)

import amos_dask
from amos_dask import AmosDaskError, RunResult, Selection
from amos_dask.commands import make_split
from amos_dask.engine import session
from amos_dask.engine.events import Event, Notice, TaskEnded, WorkStarted
from amos_dask.phantom import METADATA_NAME
from amos_dask.root.layout import Layout
from amos_dask.root.staging import Journal
from amos_dask.root.working import hold_lock
from amos_dask.tables import own_workbooks

ALL = ["amos_0001", "amos_0004", "amos_0009", "amos_0500"]
MASKED = ["amos_0001", "amos_0004", "amos_0009"]
AREA = 100.0  # of denoising, seen on 16x14 slices
WHOLE: dict[str, Any] = {"report": True, "statistics": True}  # which cost half of a run
VOLUME_1, MASK_1 = "imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz"
VOLUME_4, MASK_4 = "imagesTr/amos_0004.nii.gz", "labelsTr/amos_0004.nii.gz"
MASK_9 = "labelsTr/amos_0009.nii.gz"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that no test changes: 1 (F), 4 (M), 9 (F) and, without a mask, 500."""
    return ct_archive(tmp_path_factory.mktemp("source"), 4)


class Place:
    """A ROOT_DIR and an archive that a test may change, and what the last run told."""

    def __init__(self, folder: Path, client: Client) -> None:
        self.root = folder / "AMOS22"
        self.archive = folder / "archive"
        self.state = self.root / ".amos-dask"
        self.told: list[Event] = []
        self._client = client

    def run(self, **asked: Any) -> RunResult:
        """Run, on the shared cluster and without report and statistics unless asked otherwise."""
        self.told.clear()
        defaults = {"cluster": self._client, "progress": self.told.append}
        defaults |= {"report": False, "statistics": False, "region_area_thresh": AREA}
        return amos_dask.run(self.root, self.archive, **(defaults | asked))

    def plan(self, **asked: Any) -> dict[str, tuple[str, str]]:
        """Return what a dry run says: sample -> reason and what, of those with something to do."""
        asked = {"region_area_thresh": AREA, **asked}
        rows = amos_dask.plan_run(self.root, self.archive, **asked).samples.to_dict("records")
        return {row["ID"]: (row["reason"], row["todo"]) for row in rows if row["todo"]}

    def processed(self) -> list[str]:
        """Return the samples that the last run processed."""
        ended = [e for e in self.told if isinstance(e, TaskEnded) and e.work == "sample"]
        return sorted(event.name for event in ended)

    def phases(self) -> list[str]:
        return [event.work for event in self.told if isinstance(event, WorkStarted)]

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Return path -> inode and time of writing of every file."""
        return {
            path.relative_to(self.root).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.root.rglob("*")
            if path.is_file()
        }

    def written_since(self, before: dict[str, tuple[int, int]]) -> set[str]:
        """Return the files that were written, or removed, since."""
        return {path for path, _ in before.items() ^ self.stamps().items()}

    def images_written_since(self, before: dict[str, tuple[int, int]]) -> set[str]:
        """Return the names of the images and info files among them."""
        names = {Path(path).name for path in self.written_since(before)}
        return {name for name in names if name.endswith((".nii.gz", ".yaml"))}

    def file(self, seq: str, name: str) -> Path:
        """Return a file of an organised sample."""
        return sample_dir(self.root / "grouped", seq) / f"amos_{seq}_{name}"

    def assert_tidy(self) -> None:
        """Fail when a temporary file or a lock is left."""
        assert list(self.root.rglob("*~")) == []
        assert not Layout(self.root).lock.exists()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that places after a run are in; what was made remembers it."""
    return tmp_path_factory.mktemp("made") / "work"


@pytest.fixture(scope="module")
def made(source: Path, work: Path, client: Client) -> Path:
    """Return a copy of an archive and a ROOT_DIR after a run, which was in a folder beside it."""
    place = Place(shutil.rmtree(work, ignore_errors=True) or work, client)
    shutil.copytree(source, place.archive)
    assert place.run().reasons == {"new": 4}
    assert place.processed() == ALL
    return Path(shutil.copytree(work, work.with_name("kept")))


@pytest.fixture(scope="module")
def whole_run(source: Path, work: Path, client: Client) -> tuple[Path, RunResult]:
    """Return such a copy with report and statistics, and what the run returned."""
    place = Place(shutil.rmtree(work, ignore_errors=True) or work, client)
    shutil.copytree(source, place.archive)
    result = place.run(**WHOLE)
    return Path(shutil.copytree(work, work.with_name("kept whole"))), result


@pytest.fixture
def empty(source: Path, tmp_path: Path, client: Client) -> Place:
    """Return a place with an archive and nothing else."""
    shutil.copytree(source, tmp_path / "archive")
    return Place(tmp_path, client)


@pytest.fixture
def place(made: Path, work: Path, client: Client) -> Place:
    """Return a place after a run."""
    return Place(put_back(made, work), client)


@pytest.fixture
def whole(whole_run: tuple[Path, RunResult], work: Path, client: Client) -> Place:
    """Return a place after a run that made report and statistics too."""
    return Place(put_back(whole_run[0], work), client)


class NoCluster:
    """A client that must not be used."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the cluster was asked for {name}")


# ---------------------------------------------------------------- nothing to do


def test_a_finished_root_with_its_archive_elsewhere_makes_no_sample(
    made: Path, empty: Place
) -> None:
    shutil.copytree(made / "AMOS22", empty.root)
    empty.run()
    assert empty.processed() == []


def test_a_finished_root_is_not_touched_and_the_same_is_returned(
    whole: Place, whole_run: tuple[Path, RunResult]
) -> None:
    before, stamps = snapshot(whole.root), whole.stamps()
    result = whole.run(cluster=NoCluster(), **WHOLE)
    assert result.reasons == {"complete": 4}
    assert whole.stamps() == stamps
    assert snapshot(whole.root) == before
    assert whole.phases() == []
    assert [event.message for event in whole.told if isinstance(event, Notice)] == [
        "4 samples: 4 complete"
    ]
    _, first = whole_run
    for name in ("counts", "issues", "n_processed", "n_failed", "n_changed_voxels", "outputs"):
        assert getattr(result, name) == getattr(first, name), name
    assert result.dataset_manifest.equals(first.dataset_manifest)
    assert result.n_changed_voxels > 0


def test_no_cluster_is_started_for_a_finished_root(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(options: object) -> NoReturn:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(session, "connect", refuse)
    place.run(cluster=None)
    assert place.processed() == []


def test_the_same_label_map_again_writes_nothing(place: Place, tmp_path: Path) -> None:
    same = tmp_path / "map.yaml"
    shutil.copyfile(place.root / "descriptor" / "label_map.yaml", same)
    before = place.stamps()
    place.run(cluster=NoCluster(), label_explanation=same)
    assert place.stamps() == before


def test_a_killed_runs_lock_and_temporary_files_do_not_matter(place: Place) -> None:
    before = place.stamps()
    Layout(place.root).lock.write_text("since yesterday by process 1 on elsewhere")
    half = place.file("0004", "volume.nii.gz").parent / ".a.nii.gz.0123abcd.part~"
    Journal(Layout(place.root), "amos_0004").add_temporaries([half])
    half.write_bytes(b"half")
    place.run(cluster=NoCluster())
    assert place.stamps() == before
    assert not half.exists()


# ---------------------------------------------------------------- changed


def test_a_new_threshold_makes_masks_and_no_volume(place: Place, made: Path) -> None:
    before = place.stamps()
    asked = {"region_volume_thresh": (100.0, 300.0)}
    assert place.plan(**asked) == dict.fromkeys(MASKED, ("changed", "masks"))
    result = place.run(**asked)
    assert place.processed() == MASKED
    assert result.reasons == {"complete": 1, "changed": 3}
    written = place.images_written_since(before)
    assert [name for name in written if "_mask" not in name] == []
    assert {name[:9] for name in written} == set(MASKED)
    tree = contents(place.root)
    assert [t for t, _, _ in result.counts.n_regions] == [100.0, 300.0]
    shutil.rmtree(place.root)
    place.run(**asked)
    assert_same(tree, contents(place.root))


def test_other_denoising_and_back_gives_the_same_tree(place: Place) -> None:
    before, stamps = contents(place.root), place.stamps()
    place.run(region_area_thresh=300.0)
    assert contents(place.root) != before
    place.run()
    assert place.processed() == MASKED
    assert_same(before, contents(place.root))
    volumes = [name for name in place.images_written_since(stamps) if "volume" in name]
    assert volumes == []


def test_another_file_or_row_of_the_csv_costs_its_sample_only(place: Place) -> None:
    change_sex(place.archive / METADATA_NAME, 9, "M")
    shutil.copyfile(place.archive / VOLUME_1, place.archive / VOLUME_4)
    shutil.copyfile(place.archive / MASK_4, place.archive / MASK_1)
    before = place.stamps()
    todo = {"amos_0001": "masks", "amos_0004": "volume+masks", "amos_0009": "volume+masks"}
    other = {"switch_archive": True}  # for so few files make an archive
    assert place.plan(**other) == {name: ("changed", what) for name, what in todo.items()}
    place.run(**other)
    assert place.processed() == list(todo)
    assert sample_dir(place.root / "grouped", "0009").name == "amos_0009_M"
    written = place.images_written_since(before)
    assert {name[:9] for name in written} == todo.keys()
    assert {n[:9] for n in written if "_mask" not in n} == {"amos_0004", "amos_0009"}
    again = besides_replaced(contents(place.root))
    shutil.rmtree(place.root)
    place.run()
    assert_same(again, besides_replaced(contents(place.root)))


def damage(path: Path) -> None:
    path.write_bytes(b"not an image")


@pytest.mark.parametrize(
    ("spoilt", "code"),
    [
        ([("*/amos_0500.nii.gz", Path.unlink), (MASK_4, Path.unlink)], "source_missing"),
        ([(VOLUME_4, truncate)], "unreadable_volume"),
        ([(MASK_9, damage)], "unreadable_mask"),
    ],
)
def test_what_was_made_of_a_file_that_is_gone_or_damaged_stays(
    place: Place, made: Path, spoilt: list[tuple[str, Callable[[Path], None]]], code: str
) -> None:
    before = besides_replaced(contents(place.root))
    concerned = set()
    for name, spoil in spoilt:
        (path,) = place.archive.glob(name)
        spoil(path)
        concerned.add((path.name[:9], code))
    for _ in range(2):
        assert place.run().exit_code == 3
        assert errors(place.root) >= concerned
        told = besides_replaced(contents(place.root))
        told.pop("descriptor/archive_manifest.xlsx")
        assert_same({n: c for n, c in before.items() if n in told}, told)
    put_back(made / "archive", place.archive)
    assert place.run().exit_code == 0
    assert_same(before, besides_replaced(contents(place.root)))
    assert not (place.root / "replaced").exists()


def test_another_label_map_in_the_root_makes_masks_and_no_volume(place: Place) -> None:
    path = place.root / "descriptor" / "label_map.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("spleen", "milt"), encoding="utf-8")
    before = place.stamps()
    assert place.plan() == dict.fromkeys(MASKED, ("changed", "masks"))
    place.run()
    assert place.processed() == MASKED
    assert [n for n in place.images_written_since(before) if "_mask" not in n] == []
    assert list(place.root.rglob("*spleen*")) == []


# ---------------------------------------------------------------- repaired


def unlink(path: Path) -> None:
    path.unlink()


def other_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


OUTPUTS = {
    "amos_0001_volume.nii.gz": "volume",
    "amos_0004_mask.nii.gz": "masks",
    "amos_0009_mask_06_liver.nii.gz": "masks",
    "amos_0500_info.yaml": "volume",
}


@pytest.mark.parametrize("alter", [unlink, other_end])
def test_an_altered_output_is_made_again_with_its_output(
    place: Place, alter: Callable[[Path], None]
) -> None:
    before = contents(place.root)
    for name in OUTPUTS:
        alter(place.file(name[5:9], name[10:]))
    stamps = place.stamps()
    todo = {name[:9]: output for name, output in OUTPUTS.items()}
    assert place.plan() == {name: ("repaired", output) for name, output in todo.items()}
    assert place.run().reasons == {"repaired": 4}
    assert place.processed() == ALL
    assert_same(besides_replaced(before), besides_replaced(contents(place.root)))
    assert sorted(path.name for path in replaced(place.root)) == (
        [] if alter is unlink else list(OUTPUTS)
    )
    written = place.images_written_since(stamps)
    assert written >= OUTPUTS.keys()
    assert all((todo[n[:9]] == "masks") == ("_mask" in n) for n in written)
    if alter is unlink:  # else that it had to make way is told
        assert not [n for n in place.written_since(stamps) if n.endswith(".xlsx")]


def test_deleted_restore_data_and_a_deleted_sample_are_made_again(place: Place) -> None:
    before, stamps = snapshot(place.root), place.stamps()
    (restore,) = (place.state / "restore").glob("amos_0004-*")
    restore.unlink()
    shutil.rmtree(sample_dir(place.root / "grouped", "0001"))
    assert place.plan() == {
        "amos_0001": ("repaired", "volume+masks"),
        "amos_0004": ("repaired", "masks"),
    }
    assert place.run().reasons == {"complete": 2, "repaired": 2}
    assert place.processed() == ["amos_0001", "amos_0004"]
    assert {n[:9] for n in place.images_written_since(stamps)} == {"amos_0001", "amos_0004"}
    assert snapshot(place.root) == before


def edit(path: Path) -> None:
    """Change a cell, or a line, as a user might."""
    if path.suffix == ".xlsx":
        book = load_workbook(path)
        book.worksheets[0]["B2"] = "edited"
        book.save(path)
    else:
        path.write_text(path.read_text(encoding="utf-8").replace("a", "b"), encoding="utf-8")


MANIFESTS = [
    "descriptor/archive_manifest.xlsx",
    "descriptor/small_connected_region_100_manifest.xlsx",
    "descriptor/issues.xlsx",
    "descriptor/issues.jsonl",
    "descriptor/statistics.xlsx",
    "descriptor/statistics.json",
    "descriptor/report.html",
    "grouped/dataset_manifest.xlsx",
    "grouped/AMOS-CT/splits/split01_standard/split01_standard_train.xlsx",
]


def test_manifests_that_are_gone_are_written_again(whole: Place) -> None:
    before = contents(whole.root)
    for names in (MANIFESTS[::3], MANIFESTS[1::3], MANIFESTS[2::3]):
        for name in names:
            unlink(whole.root / name)
        whole.run(cluster=NoCluster(), **WHOLE)
        assert_same(before, contents(whole.root))
    stamps = whole.stamps()
    whole.run(cluster=NoCluster(), **WHOLE)
    assert whole.stamps() == stamps


def test_edited_manifests_are_written_again_and_kept(whole: Place) -> None:
    told = {"descriptor/issues.xlsx", "descriptor/issues.jsonl", "descriptor/report.html"}
    before = contents(whole.root)
    for names in (MANIFESTS[::3], MANIFESTS[1::3], MANIFESTS[2::3]):
        for name in names:
            edit(whole.root / name)
        edited = {name: (whole.root / name).read_bytes() for name in names}
        result = whole.run(cluster=NoCluster(), **WHOLE)
        after = contents(whole.root)
        assert {n for n in before if before[n] != after[n]} <= told
        said = [issue for issue in result.issues if issue.code == "replaced"]
        assert sorted(issue.file for issue in said) == sorted(names)
        for name in names:
            (kept,) = (whole.root / "replaced").glob(f"*/{name}")
            assert kept.read_bytes() == edited[name]
    stamps = whole.stamps()
    whole.run(cluster=NoCluster(), **WHOLE)
    assert whole.stamps() == stamps


@pytest.mark.parametrize("name", ["tables.json", "issues.jsonl", "receipts"])
def test_state_that_was_lost_is_made_again(place: Place, name: str) -> None:
    before = contents(place.root)
    issues = place.run(cluster=NoCluster()).issues
    state = snapshot(place.state)
    lost = place.state / name
    shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
    assert place.run().issues == issues
    assert place.processed() == (ALL if name == "receipts" else [])
    assert_same(before, contents(place.root))
    assert state.keys() == snapshot(place.state).keys()


@pytest.mark.parametrize("alter", ["cut", "cut at a line", "emptied", "zeros"])
def test_a_damaged_log_of_issues_costs_nothing_else(place: Place, alter: str) -> None:
    before = contents(place.root)
    (place.state / "tables.json").unlink()
    issues = place.run(cluster=NoCluster()).issues  # with the log in the order of later runs
    path = place.state / "issues.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    assert len(lines) > 2
    cuts = {
        "cut": [whole[:n] for n in (1, len(whole) // 2, len(whole) - 2)],
        "cut at a line": [b"".join(lines[:n]) for n in (1, len(lines) // 2, -1)],
        "emptied": [b""],
        "zeros": [whole[: len(whole) // 2] + bytes(len(whole) // 2)],
    }
    for damaged in cuts[alter]:
        path.write_bytes(damaged)
        assert place.run(cluster=NoCluster()).issues == issues
        assert path.read_bytes() == whole
        assert_same(before, contents(place.root))
        stamps = place.stamps()
        place.run(cluster=NoCluster())
        assert place.stamps() == stamps


# ---------------------------------------------------------------- failed, forced


def test_failed_samples_are_tried_again_until_they_are_mended(made: Path, empty: Place) -> None:
    truncate(empty.archive / VOLUME_4)
    truncate(empty.archive / MASK_9)
    assert empty.run().n_failed == 2
    before = contents(empty.root)
    assert list(empty.plan()) == ["amos_0004", "amos_0009"]
    assert empty.run().exit_code == 3
    assert empty.processed() == ["amos_0004", "amos_0009"]
    assert_same(before, contents(empty.root))
    put_back(made / "archive", empty.archive)
    assert empty.run().exit_code == 0
    assert empty.processed() == ["amos_0004", "amos_0009"]
    assert errors(empty.root) == set()
    assert_same(contents(made / "AMOS22"), contents(empty.root))


def test_force_does_everything_again_with_the_same_bytes(place: Place) -> None:
    before, stamps = snapshot(place.root), place.stamps()
    assert place.plan(force=True) == {
        name: ("forced", "volume+masks" if name in MASKED else "volume") for name in ALL
    }
    assert place.run(force=True).reasons == {"forced": 4}
    assert place.processed() == ALL
    assert snapshot(place.root) == before
    images = {
        p.name for p in (place.root / "grouped").rglob("amos_*") if p.suffix in (".gz", ".yaml")
    }
    assert place.images_written_since(stamps) == images


# ---------------------------------------------------------------- some of the samples


def test_some_of_the_samples_are_done_alone(made: Path, empty: Place) -> None:
    assert empty.run(selection=Selection(["1", "4"])).reasons == {"new": 2}
    assert empty.processed() == ["amos_0001", "amos_0004"]
    first = {**empty.stamps()}
    assert empty.run(selection=Selection(None, "train")).reasons["complete"] == 2
    assert empty.run().n_failed == 0
    again = [n for n in empty.images_written_since(first) if n[:9] in ("amos_0001", "amos_0004")]
    assert again == []
    assert_same(contents(made / "AMOS22"), contents(empty.root))


def test_some_samples_of_a_finished_root_are_not_touched(place: Place) -> None:
    before = place.stamps()
    result = place.run(cluster=NoCluster(), selection=Selection(["1", "4"]))
    assert result.reasons == {"complete": 2}
    assert place.stamps() == before


OTHERWISE = "were denoised with other parameters; run without a choice of samples to make all alike"


def test_other_parameters_for_some_are_told(place: Place) -> None:
    def notices() -> list[str]:
        found = (event.message for event in place.told if isinstance(event, Notice))
        return [message for message in found if "other parameters" in message]

    place.run(selection=Selection(["1"]))
    assert notices() == []
    place.run(selection=Selection(["1"]), region_area_thresh=AREA / 2)
    assert notices() == [f"2 other samples {OTHERWISE}"]
    place.run(selection=Selection(["4"]), exclude=None)
    assert notices() == ["1 other sample was" + OTHERWISE.removeprefix("were")]
    place.run(region_area_thresh=AREA / 2)
    assert notices() == []
    place.run(selection=Selection(["500"]), region_area_thresh=AREA / 2)
    assert notices() == []


def test_force_of_some_does_those(place: Place) -> None:
    before = snapshot(place.root)
    place.run(selection=Selection(["4"]), force=True)
    assert place.processed() == ["amos_0004"]
    assert snapshot(place.root) == before


# ---------------------------------------------------------------- dry run


def test_a_dry_run_says_what_is_done_and_writes_nothing(place: Place) -> None:
    shutil.copyfile(place.archive / MASK_4, place.archive / MASK_9)
    place.file("0001", "volume.nii.gz").unlink()
    (place.state / "receipts" / "amos_0500.json").unlink()
    truncate(place.archive / MASK_4)
    place.run(selection=Selection(["4"]), switch_archive=True)
    folders = sorted(path for path in place.root.rglob("*") if path.is_dir())
    before, stamps = snapshot(place.root), place.stamps()
    times = [folder.stat().st_mtime_ns for folder in folders]
    planned = place.plan(switch_archive=True)
    assert planned == {
        "amos_0001": ("repaired", "volume"),
        "amos_0004": ("failed before", "volume+masks"),
        "amos_0009": ("changed", "masks"),
        "amos_0500": ("new", "volume"),
    }
    assert (snapshot(place.root), place.stamps()) == (before, stamps)
    assert [folder.stat().st_mtime_ns for folder in folders] == times
    result = place.run(switch_archive=True)
    assert place.processed() == sorted(planned)
    reasons = [reason for reason, _ in planned.values()]
    assert result.reasons == {**dict.fromkeys(reasons, 1)}


def test_a_dry_run_waits_for_no_run(place: Place) -> None:
    with hold_lock(Layout(place.root)), pytest.raises(AmosDaskError, match="in use since"):
        place.plan()
    with hold_lock(Layout(place.root), shared=True):
        assert place.plan() == {}


# ---------------------------------------------------------------- interrupted


class Interrupting:
    """A listener that interrupts when so many samples have ended."""

    def __init__(self, after: int) -> None:
        self.ended: list[str] = []
        self.notices: list[str] = []
        self._after = after

    def __call__(self, event: Event) -> None:
        if isinstance(event, Notice):
            self.notices.append(event.message)
        if isinstance(event, TaskEnded) and event.work == "sample":
            self.ended.append(event.name)
            if len(self.ended) == self._after:
                raise KeyboardInterrupt


@pytest.mark.parametrize("after", [1, 4])
def test_an_interrupted_run_goes_on_where_it_was(made: Path, empty: Place, after: int) -> None:
    listener = Interrupting(after)
    with pytest.raises(KeyboardInterrupt):
        empty.run(progress=listener)
    assert listener.notices[-1].startswith("interrupted; what is complete stays")
    empty.assert_tidy()
    receipts = {path.stem for path in (empty.state / "receipts").iterdir()}
    assert receipts >= set(listener.ended)
    before = empty.stamps()
    assert list(empty.plan()) == sorted(set(ALL) - receipts)
    assert empty.run().n_failed == 0
    assert empty.processed() == sorted(set(ALL) - receipts)
    assert not [n for n in empty.images_written_since(before) if n[:9] in receipts]
    read = [e.name for e in empty.told if isinstance(e, TaskEnded) and e.work == "headers"]
    assert sorted(read) == empty.processed()  # receipts tell the others
    assert_same(contents(made / "AMOS22"), contents(empty.root))
    empty.assert_tidy()


def test_a_run_interrupted_before_its_manifests_writes_them_later(
    made: Path, empty: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Path] = []
    write = own_workbooks.save_workbook

    def full(path: Path, sheets: Any) -> None:
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        write(path, sheets)

    with monkeypatch.context() as patched:
        patched.setattr(own_workbooks, "save_workbook", full)
        with pytest.raises(OSError, match="No space"):
            empty.run()
    empty.assert_tidy()
    empty.run(cluster=NoCluster())
    assert_same(contents(made / "AMOS22"), contents(empty.root))


def test_sigterm_ends_a_run_in_order(made: Path, empty: Place) -> None:
    words = ["run", empty.root, "--archive", empty.archive, "--region_area_thresh", AREA, "--json"]
    words += ["--workers", "1", "--dashboard_port", "0"]
    words += ["--no_report", "--no_statistics"]
    command = [sys.executable, "-m", "amos_dask", *(str(word) for word in words)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "TaskEnded" and event["phase"] == "sample":
                break
        process.send_signal(signal.SIGTERM)
        told = [json.loads(line) for line in process.stdout]
        said = process.stderr.read().splitlines()
    assert process.returncode == 143, said
    assert said == ["amos-dask: interrupted; run the same command again"]
    notices = [event["message"] for event in told if event["event"] == "Notice"]
    assert notices[-1].startswith("interrupted; what is complete stays")
    assert "Result" not in {event["event"] for event in told}
    empty.assert_tidy()
    done = {path.stem for path in (empty.state / "receipts").iterdir()}
    assert event["name"] in done
    empty.run()
    assert empty.processed() == sorted(set(ALL) - done)
    assert_same(contents(made / "AMOS22"), contents(empty.root))


# ---------------------------------------------------------------- one run at a time


def test_a_second_run_is_refused_in_one_line(place: Place) -> None:
    with hold_lock(Layout(place.root)):
        before = snapshot(place.root)
        said = program("run", place.root, "--archive", place.archive, "--quiet", exit_code=1)
        assert said.stderr.count("\n") == 1
        assert f"process {os.getpid()} on {socket.gethostname()}" in said.stderr
        assert said.stdout == ""
        assert snapshot(place.root) == before


def single_commands(place: Place, cluster: str | None = None) -> dict[str, list[Any]]:
    """Return the command lines of every command that writes below a ROOT_DIR."""
    on = ["--cluster", cluster] if cluster else []
    grouped, descriptor = place.root / "grouped", place.root / "descriptor"
    root, manifest = ["--root_dir", grouped], grouped / "dataset_manifest.xlsx"
    read, table = ["--root_dir", place.archive], descriptor / "archive_manifest.xlsx"
    index = ["--output_index_manifest_dir", grouped / "splits" / "own", "--subsets", "train"]
    pairs = ["--output_dir", grouped / "AMOS-CT", "--archive_manifest", table, "--modality", "ct"]
    regions = ["--region_volume_thresh", "50", "--output_manifest", descriptor / "own.xlsx"]
    return {
        "archive-manifest": [*read, "--output_manifest_file", table, *on],
        "confirm-pairs": [*read, *pairs, *on],
        "split-prostate-uterus": [*root, *on],
        "binary-masks": [*root, *on],
        "small-regions": [*root, *regions, *on],
        "denoise": [*root, "--output_dir", grouped, *on],
        "dataset-manifest": [*root, "--output_manifest_file", manifest, *on],
        "restore": [*root, *on],
        "stats": [place.root, *on],
        "report": [place.root, *on],
        "leaks": [place.root, *on],
        "make-split": ["--manifest_file", manifest],
        "index-manifests": ["--manifest_file", manifest, *index],
    }


def test_single_commands_refuse_while_a_run_works(place: Place) -> None:
    with hold_lock(Layout(place.root)):
        before = snapshot(place.root)
        for command, words in single_commands(place).items():
            said = program(command, *words, exit_code=1)
            assert said.stderr.count("\n") == 1
            assert f"process {os.getpid()} on" in said.stderr
            assert snapshot(place.root) == before


def test_a_run_is_refused_while_a_single_command_works(
    place: Place, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    half = place.file("0004", "volume.nii.gz").with_name(".a.nii.gz.0123abcd.part~")

    def run_meanwhile() -> None:
        half.write_bytes(b"of a task that works on it")
        with pytest.raises(AmosDaskError) as error:
            place.run(cluster=NoCluster())
        refused.append(str(error.value))
        half.unlink()  # it is still there

    def with_a_run_meanwhile(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any, **options: Any) -> Any:
            run_meanwhile()
            return function(*words, **options)

        return called

    monkeypatch.setattr(session.Session, "map", with_a_run_meanwhile(session.Session.map))
    for name in ("add_worksheets", "put_workbook"):
        monkeypatch.setattr(make_split, name, with_a_run_meanwhile(getattr(make_split, name)))
    for command, words in single_commands(place, cluster_address).items():
        refused.clear()
        program(command, *words)
        assert refused, command
        assert all("\n" not in said for said in refused)
        assert f"process {os.getpid()} on" in refused[0]
        place.assert_tidy()


def test_single_commands_go_on_where_there_are_no_locks(
    place: Place, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int, operation: int) -> NoReturn:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    for command, words in single_commands(place, cluster_address).items():
        assert "--no_lock" in program(command, *words, exit_code=1).stderr
        program(command, *words, "--no_lock")


def test_a_single_command_that_cannot_begin_leaves_nothing(tmp_path: Path) -> None:
    grouped = tmp_path / "data" / "AMOS22" / "grouped"
    grouped.mkdir(parents=True)
    for command in ("split-prostate-uterus", "binary-masks", "restore"):
        program(command, "--root_dir", grouped, exit_code=1)
    program("stats", grouped.parent, exit_code=1)
    program("leaks", grouped.parent, exit_code=1)
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "AMOS22", "grouped"]


def test_a_single_command_that_fails_leaves_no_folder_for_its_lock(
    source: Path, tmp_path: Path
) -> None:
    archive = shutil.copytree(source, tmp_path / "a" / "archive")
    output = tmp_path / "b" / "AMOS22" / "descriptor" / "archive_manifest.xlsx"
    with pytest.raises(AmosDaskError, match="progress"):
        amos_dask.archive_manifest(archive, output, progress="unknown")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["archive"]


def test_a_split_of_a_workbook_anywhere_leaves_the_workbook_alone(
    place: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "elsewhere" / "tables"
    folder.mkdir(parents=True)
    shutil.copyfile(place.root / "grouped" / "dataset_manifest.xlsx", folder / "own.xlsx")
    program("make-split", "--manifest_file", folder / "own.xlsx")
    assert [path.name for path in folder.parent.rglob("*")] == ["tables", "own.xlsx"]


def test_sigterm_ends_a_single_command_in_order(place: Place, cluster_address: str) -> None:
    """What was complete stays, and what a killed task left half goes."""
    words = ["confirm-pairs", *single_commands(place, cluster_address)["confirm-pairs"], "--json"]
    command = [sys.executable, "-m", "amos_dask", *(str(word) for word in words)]
    half = place.root / "grouped/AMOS-CT/train/.a.nii.gz.0123abcd.part~"
    Journal(Layout(place.root), "amos_0004").add_temporaries([half])
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "PhaseStarted":
                break
        assert Layout(place.root).lock.exists()
        half.write_bytes(b"half")
        process.send_signal(signal.SIGTERM)
        process.stdout.read()
        said = process.stderr.read().splitlines()
    assert process.returncode == 143, said
    assert said == ["amos-dask: interrupted; run the same command again"]
    place.assert_tidy()


def test_an_input_that_changes_after_planning_is_read_again_as_a_whole(place: Place) -> None:
    place.run()
    planned = amos_dask.plan_run(place.root, place.archive, region_area_thresh=AREA / 2)
    assert set(planned.samples["todo"]) == {"masks", ""}

    def swap(event: Event) -> None:
        if isinstance(event, WorkStarted) and event.work == "sample":
            scan = place.archive / VOLUME_4
            scan.write_bytes((place.archive / "imagesTr/amos_0001.nii.gz").read_bytes())

    place.run(region_area_thresh=AREA / 2, progress=swap)
    once_more = place.plan(region_area_thresh=AREA / 2)
    assert "amos_0004" not in once_more
    volume = sample_dir(place.root / "grouped", "0004") / "amos_0004_volume.nii.gz"
    other = sample_dir(place.root / "grouped", "0001") / "amos_0001_volume.nii.gz"
    assert volume.read_bytes() == other.read_bytes()


def test_damaged_workbooks_stay_until_they_are_adopted(whole: Place) -> None:
    before = contents(whole.root)
    books = [name for name in MANIFESTS if name.endswith(".xlsx")]
    for name in books:
        truncate(whole.root / name)
    damaged = {name: (whole.root / name).read_bytes() for name in books}
    result = whole.run(cluster=NoCluster(), **WHOLE)
    assert {i.file for i in result.issues if i.code == "foreign_file"} == set(books)
    assert {name: (whole.root / name).read_bytes() for name in books} == damaged
    whole.run(cluster=NoCluster(), adopt=True, **WHOLE)
    after = contents(whole.root)
    told = ("descriptor/issues.xlsx", "descriptor/issues.jsonl", "descriptor/report.html")
    assert {name for name in before if before[name] != after[name]} <= set(told)
    kept = {p.relative_to(whole.root / "replaced/1").as_posix(): p for p in replaced(whole.root)}
    assert {name: path.read_bytes() for name, path in kept.items()} == damaged


def replaced(root: Path) -> list[Path]:
    return [path for path in (root / "replaced").rglob("*") if path.is_file()]
