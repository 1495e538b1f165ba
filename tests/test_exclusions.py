"""What denoising changed, what it leaves as it was, and undoing it: from archive to ROOT_DIR."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import reference
from click.testing import Result
from distributed import Client
from mini import QUIET
from numpy.typing import NDArray
from openpyxl import load_workbook
from roots import (
    assert_same,
    contents,
    ct_archive,
    errors,
    issues,
    program,
    put_back,
    sample_dir,
    snapshot,
    voxels,
)

import amos_dask
from amos_dask import RunResult
from amos_dask.engine.events import Event, Notice, TaskEnded

AREA = 100.0  # of denoising, seen on 16x14 slices
ALL = ["amos_0001", "amos_0004", "amos_0009", "amos_0050", "amos_0111", "amos_0500"]
MASKED = ["amos_0001", "amos_0004", "amos_0009", "amos_0111"]
MASKS = {"0001": "labelsTr", "0004": "labelsTr", "0009": "labelsTr", "0111": "labelsTr"}
FEMALE = ("0001", "0009")
ROWS = "4,\n9,stomach\n9,1\n*,aorta\n"
SAME_IN_REFERENCE = [("0004", None), ("0009", 7), ("0009", 1), (None, 8)]
EXCLUDED = {"0001": {8}, "0004": set(range(17)), "0009": {1, 7, 8}, "0111": {8}}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive that no test changes: 1 (F), 4 (M), 9 (F), 111; without masks 50, 500."""
    return ct_archive(tmp_path_factory.mktemp("source"), 6)


class Place:
    """A ROOT_DIR that a test may change, and what the last run told."""

    def __init__(self, folder: Path, archive: Path, client: Client) -> None:
        self.folder = folder
        self.root = folder / "AMOS22"
        self.archive = archive
        self.grouped = self.root / "grouped"
        self.descriptor = self.root / "descriptor"
        self.kept = self.descriptor / "denoise_exclude.csv"
        self.changes_file = self.descriptor / "denoise_changes.xlsx"
        self.receipts = self.root / ".amos-dask" / "receipts"
        self.restore_data = self.root / ".amos-dask" / "restore"
        self.told: list[Event] = []
        self._client = client

    def run(self, **asked: Any) -> RunResult:
        self.told.clear()
        defaults = QUIET | {"cluster": self._client, "progress": self.told.append}
        defaults["region_area_thresh"] = AREA
        return amos_dask.run(self.root, self.archive, **(defaults | asked))

    def plan(self, **asked: Any) -> dict[str, tuple[str, str]]:
        """Return what a dry run says: sample -> reason and parts, of those with something to do."""
        asked = {"region_area_thresh": AREA, **asked}
        rows = amos_dask.plan_run(self.root, self.archive, **asked).samples.to_dict("records")
        return {row["ID"]: (row["reason"], row["todo"]) for row in rows if row["todo"]}

    def command(self, *words: str | Path, exit_code: int = 0) -> Result:
        address = self._client.scheduler_info(n_workers=0)["address"]
        return program(*words, "--cluster", address, exit_code=exit_code)

    def denoise(self, *words: str | Path, exit_code: int = 0) -> Result:
        """Denoise in place."""
        where = ("--root_dir", self.grouped, "--output_dir", self.grouped)
        how = ("--region_area_thresh", str(AREA))
        return self.command("denoise", *where, *how, *words, exit_code=exit_code)

    def undo(self, *words: str | Path, exit_code: int = 0) -> Result:
        """Restore."""
        return self.command("restore", "--root_dir", self.grouped, *words, exit_code=exit_code)

    def exclude(self, rows: str) -> Path:
        """Write a file of exclusions outside ROOT."""
        path = self.folder / "exclude.csv"
        path.write_text(f"sample,label\n{rows}", encoding="utf-8")
        return path

    def processed(self) -> list[str]:
        """Return the samples that the last run processed."""
        ended = [e for e in self.told if isinstance(e, TaskEnded) and e.work == "sample"]
        return sorted(event.name for event in ended)

    def stamps(self) -> dict[str, tuple[int, int]]:
        """Return path -> inode and time of writing of every image and info file."""
        return {
            path.name: (path.stat().st_ino, path.stat().st_mtime_ns)
            for path in self.grouped.rglob("amos_*_*.*")
            if path.name.endswith((".nii.gz", ".yaml"))
        }

    def images_written_since(self, before: dict[str, tuple[int, int]]) -> set[str]:
        return {name for name, _ in before.items() ^ self.stamps().items()}

    def mask(self, seq: str) -> Path:
        return sample_dir(self.grouped, seq) / f"amos_{seq}_mask.nii.gz"

    def mark(self, seq: str) -> str:
        """Return the description in a mask's header."""
        return bytes(nib.load(self.mask(seq)).header["descrip"].item()).decode()

    def undenoised(self, seq: str) -> NDArray[Any]:
        """Return the archive's mask with prostate and uterus apart, read by nibabel."""
        found = voxels(self.archive / MASKS[seq] / f"amos_{seq}.nii.gz").astype(np.uint8)
        if seq in FEMALE:
            found[found == 15] = 16
        return found

    def changes(self) -> list[tuple[Any, ...]]:
        """Return the rows of the table of changes."""
        return [tuple(row) for row in load_workbook(self.changes_file)["Changes"].values][1:]


@pytest.fixture(scope="module")
def made(
    archive: Path, tmp_path_factory: pytest.TempPathFactory, client: Client
) -> dict[str, Path]:
    """Return ROOT_DIRs that no test changes: after a run, and after one with exclusions."""
    roots = {}
    for name, rows in (("plain", None), ("excluded", ROWS)):
        place = Place(tmp_path_factory.mktemp(name), archive, client)
        place.run(exclude=None if rows is None else place.exclude(rows))
        assert place.processed() == ALL
        roots[name] = place.root
    return roots


@pytest.fixture
def place(made: dict[str, Path], archive: Path, client: Client) -> Place:
    """Return a place after a run without exclusions."""
    return put_back_place(made["plain"], archive, client)


@pytest.fixture
def excluded(made: dict[str, Path], archive: Path, client: Client) -> Place:
    """Return a place after a run with exclusions."""
    return put_back_place(made["excluded"], archive, client)


def put_back_place(made: Path, archive: Path, client: Client) -> Place:
    place = Place(made.parent / "work", archive, client)
    shutil.rmtree(place.folder / "elsewhere", ignore_errors=True)
    put_back(made, place.root)
    return place


def images(root: Path) -> dict[str, bytes]:
    """Return the images of the samples."""
    return {k: v for k, v in snapshot(root / "grouped").items() if k.endswith(".nii.gz")}


# ---------------------------------------------------------------- a run with exclusions


@pytest.mark.parametrize(("name", "exclusions"), [("plain", ()), ("excluded", SAME_IN_REFERENCE)])
def test_a_run_gives_what_the_reference_expects(
    made: dict[str, Path], archive: Path, name: str, exclusions: Sequence[Any]
) -> None:
    metadata = reference.find_metadata_csv(archive)
    how = {"region_area_threshold": AREA, "exclusions": exclusions}
    expected = reference.expected(archive, metadata, **how)
    expected.tree |= {"descriptor/denoise_exclude.csv"} if exclusions else set()
    expected.tree -= {f"descriptor/{n}" for n in ("statistics.json", "statistics.xlsx")}
    expected.tree -= {"descriptor/report.html"}
    reference.assert_root_matches(made[name], expected)
    assert len(expected.denoise_changes) > 20


@pytest.mark.parametrize("seq", list(MASKS))
def test_an_excluded_label_is_untouched_and_others_are_denoised(
    excluded: Place, made: dict[str, Path], seq: str
) -> None:
    before, after = excluded.undenoised(seq), voxels(excluded.mask(seq))
    denoised = voxels(sample_dir(made["plain"], seq) / f"amos_{seq}_mask.nii.gz")
    for label in EXCLUDED[seq]:
        np.testing.assert_array_equal(after == label, before == label)
    concerned = np.isin(before, list(EXCLUDED[seq])) | np.isin(denoised, list(EXCLUDED[seq]))
    np.testing.assert_array_equal(after[~concerned], denoised[~concerned])
    assert ((before != denoised) & concerned).any()  # else this shows nothing


def test_the_marks_tell_what_was_excluded(excluded: Place, made: dict[str, Path]) -> None:
    plain = "amos-dask denoise v1 kernel=5x5 halfedge=3 mm2=100.0"
    marks = {seq: excluded.mark(seq) for seq in MASKS}
    assert marks == {
        "0001": f"{plain} not=8",
        "0004": "",
        "0009": f"{plain} not=1,7,8",
        "0111": f"{plain} not=8",
    }


def test_a_whole_sample_needs_no_restore_data(excluded: Place) -> None:
    assert restorable(excluded) == ["amos_0001", "amos_0009", "amos_0111"]


def test_the_result_of_a_run_has_the_changes(place: Place) -> None:
    result = place.run()
    frame = result.denoise_changes
    assert list(frame.columns) == reference.CHANGE_COLUMNS
    assert frame["n_voxels"].sum() == result.n_changed_voxels > 0
    assert place.changes_file in result.outputs
    found = [tuple(row) for row in frame.to_numpy(object)]
    assert found == place.changes()
    assert found == sorted(found, key=lambda row: (row[0], row[1], row[3]))


def test_a_run_with_exclusions_is_sound_and_complete(excluded: Place) -> None:
    assert excluded.plan() == {}
    assert "sound" in excluded.command("verify", excluded.root).stdout


# ---------------------------------------------------------------- the list is edited


def test_the_file_is_kept_and_gone_by(excluded: Place) -> None:
    assert excluded.kept.read_text(encoding="utf-8") == f"sample,label\n{ROWS}"
    before, stamps = contents(excluded.root), excluded.stamps()
    excluded.run()
    assert excluded.processed() == []
    assert excluded.stamps() == stamps
    assert_same(before, contents(excluded.root))


def test_a_run_after_an_edit_makes_masks_of_just_the_samples_concerned(
    excluded: Place, archive: Path, client: Client, tmp_path: Path
) -> None:
    rows = ROWS.replace("9,stomach\n", "9,stomach\n9,bladder\n")
    excluded.kept.write_text(f"sample,label\n{rows}", encoding="utf-8")
    stamps = excluded.stamps()
    assert excluded.plan() == {"amos_0009": ("changed", "masks")}
    excluded.run()
    assert excluded.processed() == ["amos_0009"]
    written = excluded.images_written_since(stamps)
    assert len(written) == 18
    assert all(name.startswith("amos_0009_mask") for name in written)
    fresh = Place(tmp_path / "fresh", archive, client)
    fresh.folder.mkdir()
    fresh.run(exclude=fresh.exclude(rows))
    assert_same(contents(fresh.root), contents(excluded.root))
    assert restorable(fresh) == restorable(excluded)


def restorable(place: Place) -> list[str]:
    """Return the samples of which it is kept what denoising changed."""
    kept = {path.name[:9]: np.load(path).files for path in place.restore_data.glob("*")}
    return sorted(name for name, arrays in kept.items() if "voxels" in arrays)


@pytest.mark.parametrize(
    ("rows", "concerned"),
    [
        ("", MASKED),
        ("*,8\n9,1\n9,7\n# as it was\n\n4,*\n", []),
        (f"{ROWS}4,spleen\n999,\n500,\n", []),  # has no mask, or no more to say
        (ROWS.replace("4,\n", ""), ["amos_0004"]),
        (f"{ROWS}1,\n", ["amos_0001"]),
        (f"{ROWS}*,\n", ["amos_0001", "amos_0009", "amos_0111"]),
    ],
)
def test_what_an_edit_concerns(excluded: Place, rows: str, concerned: list[str]) -> None:
    file = excluded.exclude(rows)
    expected = dict.fromkeys(concerned, ("changed", "masks"))
    assert excluded.plan(exclude=file) == expected
    excluded.kept.write_bytes(file.read_bytes())
    assert excluded.plan() == expected


@pytest.mark.parametrize("way", ["empty", "removed"])
def test_without_exclusions_again_all_is_as_without(
    excluded: Place, made: dict[str, Path], way: str
) -> None:
    if way == "removed":
        excluded.kept.unlink()
    excluded.run(exclude=excluded.exclude("") if way == "empty" else None)
    assert excluded.processed() == MASKED
    excluded.kept.unlink(missing_ok=True)
    before, after = contents(made["plain"]), contents(excluded.root)
    # The list that was replaced is kept, and that is said.
    told = ("issues.xlsx", "issues.jsonl") if way == "empty" else ()
    for name in told:
        del before[f"descriptor/{name}"], after[f"descriptor/{name}"]
    assert_same(before, after)
    assert "sound" in excluded.command("verify", excluded.root).stdout


def test_other_parameters_leave_a_sample_alone_that_is_excluded_as_a_whole(
    excluded: Place,
) -> None:
    concerned = [name for name in MASKED if name != "amos_0004"]
    assert list(excluded.plan(region_area_thresh=300.0)) == concerned


def test_an_edit_without_meaning_is_kept(excluded: Place) -> None:
    file = excluded.exclude(f"# mine\n{ROWS}")
    stamps = excluded.stamps()
    excluded.run(exclude=file)
    assert excluded.processed() == []
    assert excluded.stamps() == stamps
    assert excluded.kept.read_text(encoding="utf-8") == file.read_text(encoding="utf-8")


def test_samples_that_are_excluded_and_not_there_are_named(excluded: Place) -> None:
    excluded.run(exclude=excluded.exclude(f"{ROWS}4711,6\n999,\n"))
    said = [event.message for event in excluded.told if isinstance(event, Notice)]
    expected = "excluded from denoising, but not in the archive: amos_0999, amos_4711"
    assert said.count(expected) == 1
    assert excluded.processed() == []


def test_a_part_cannot_change_what_is_excluded_of_others(excluded: Place) -> None:
    before = snapshot(excluded.root)
    words = ("run", excluded.root, "--archive", excluded.archive, "--ids", "1")
    file = excluded.exclude("4,\n")
    said = excluded.command(*words, "--exclude", file, exit_code=1)
    assert "amos_0009, which was not chosen" in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert snapshot(excluded.root) == before


def test_a_part_may_change_what_is_excluded_of_itself(excluded: Place) -> None:
    selection = amos_dask.Selection(["4"])
    excluded.run(exclude=excluded.exclude(ROWS.replace("4,\n", "4,5\n")), selection=selection)
    assert excluded.processed() == ["amos_0004"]
    assert excluded.plan() == {}


@pytest.mark.parametrize("rows", ["4,17\n", "four,6\n", "4,6,7\n"])
def test_a_list_that_is_not_understood_writes_nothing(place: Place, rows: str) -> None:
    before = snapshot(place.root)
    file = place.exclude(rows)
    run = ("run", place.root, "--archive", place.archive)
    for said in (
        place.command(*run, "--exclude", file, exit_code=1),
        place.command(*run, "--exclude", file, "--dry_run", exit_code=1),
        place.denoise("--exclude", file, exit_code=1),
    ):
        assert len(said.stderr.strip().splitlines()) == 1
        assert "exclude.csv, line 2: " in said.stderr
    assert snapshot(place.root) == before


# ---------------------------------------------------------------- denoise, the command


def test_denoise_gives_the_bytes_of_a_run(place: Place, made: dict[str, Path]) -> None:
    said = place.denoise("--exclude", place.exclude(ROWS)).stdout
    assert "denoise_changes.xlsx" in said
    assert_same(images(made["excluded"]), images(place.root))
    changes = "descriptor/denoise_changes.xlsx"
    assert contents(place.root)[changes] == contents(made["excluded"])[changes]
    assert not place.kept.exists()
    said = place.denoise("--exclude", place.exclude(ROWS)).stdout
    assert "0 voxels changed in 0 masks; 4 were denoised before\n" in said


def test_denoise_goes_by_the_file_that_is_kept(place: Place, made: dict[str, Path]) -> None:
    shutil.copyfile(made["excluded"] / "descriptor" / "denoise_exclude.csv", place.kept)
    place.denoise()
    assert_same(images(made["excluded"]), images(place.root))
    place.run()
    assert place.processed() == []  # the receipts say what was done
    assert_same(contents(made["excluded"]), contents(place.root))


def test_denoise_after_an_edit_rewrites_just_the_samples_concerned(
    excluded: Place, made: dict[str, Path]
) -> None:
    excluded.kept.write_text(f"sample,label\n{ROWS}111,6\n", encoding="utf-8")
    stamps = excluded.stamps()
    excluded.denoise()
    written = excluded.images_written_since(stamps)
    assert len(written) == 18
    assert all(name.startswith("amos_0111_mask") for name in written)
    excluded.kept.unlink()
    excluded.denoise()
    assert_same(images(made["plain"]), images(excluded.root))
    changes = "descriptor/denoise_changes.xlsx"
    assert contents(excluded.root)[changes] == contents(made["plain"])[changes]


def test_a_part_of_the_samples_leaves_the_table_of_changes_whole(place: Place) -> None:
    before = place.changes()
    place.denoise("--ids", "4", "--exclude", place.exclude("*,*\n"))
    assert place.changes() == [row for row in before if row[0] != "amos_0004"]
    place.denoise("--ids", "4")
    assert place.changes() == before


def test_a_part_of_a_run_tells_of_masks_that_were_denoised_otherwise(
    place: Place, made: dict[str, Path]
) -> None:
    place.denoise("--exclude", place.exclude(ROWS))
    place.run(selection=amos_dask.Selection(["1"]))
    others = load_workbook(made["excluded"] / "descriptor" / "denoise_changes.xlsx")["Changes"]
    plain = load_workbook(made["plain"] / "descriptor" / "denoise_changes.xlsx")["Changes"]
    rows = [tuple(row) for row in plain.values if row[0] == "amos_0001"]
    rows += [tuple(row) for row in others.values if row[0] not in ("ID", "amos_0001")]
    assert place.changes() == rows


def test_denoise_to_another_folder_goes_by_the_list_and_writes_no_table(
    place: Place, made: dict[str, Path]
) -> None:
    before = contents(place.root)["descriptor/denoise_changes.xlsx"]
    output = place.folder / "elsewhere"
    words = ("--output_dir", output, "--region_area_thresh", str(AREA))
    file = place.exclude(ROWS)
    place.command("denoise", "--root_dir", place.grouped, *words, "--exclude", file)
    expected = {k: v for k, v in images(made["excluded"]).items() if "_mask" in k}
    assert_same(expected, snapshot(output))
    assert contents(place.root)["descriptor/denoise_changes.xlsx"] == before
    assert list(output.rglob("*.xlsx")) == []


def test_what_is_not_known_to_have_changed_is_said(place: Place) -> None:
    for path in place.restore_data.glob("amos_0004-*"):
        path.unlink()
    place.denoise()
    found = [(i["sample"], i["severity"]) for i in issues(place.root)
             if i["code"] == "unknown_changes"]  # fmt: skip
    assert found == [("amos_0004", "warning")]
    assert {row[0] for row in place.changes()} == set(MASKED) - {"amos_0004"}
    place.run(selection=amos_dask.Selection(["1"]))
    found = [i["sample"] for i in issues(place.root) if i["code"] == "unknown_changes"]
    assert set(found) == {"amos_0004"}
    place.run()
    assert [i for i in issues(place.root) if i["code"] == "unknown_changes"] == []
    assert {row[0] for row in place.changes()} == set(MASKED)


# ---------------------------------------------------------------- restore


def test_restore_gives_the_masks_back_bit_for_bit(place: Place, made: dict[str, Path]) -> None:
    stamps = place.stamps()
    said = place.undo("--ids", "1,9").stdout
    assert said.startswith("2 masks are as before denoising; the next 'amos-dask run'")
    for seq in FEMALE:
        before = place.undenoised(seq)
        assert (before != voxels(sample_dir(made["plain"], seq) / f"amos_{seq}_mask.nii.gz")).any()
        np.testing.assert_array_equal(voxels(place.mask(seq)), before, strict=True)
        for path in place.mask(seq).parent.glob("*_mask_*"):
            label = int(path.name[15:17])
            np.testing.assert_array_equal(voxels(path), before == label)
        assert place.mark(seq) == ""
    written = place.images_written_since(stamps)
    assert {name[:14] for name in written} == {"amos_0001_mask", "amos_0009_mask"}
    assert {row[0] for row in place.changes()} == {"amos_0004", "amos_0111"}
    assert list(place.root.rglob("*~")) == []


def test_restore_leaves_what_a_run_leaves_of_an_excluded_sample(
    place: Place, archive: Path, client: Client, tmp_path: Path
) -> None:
    place.undo()
    fresh = Place(tmp_path / "fresh", archive, client)
    fresh.folder.mkdir()
    fresh.run(exclude=fresh.exclude("*,*\n"))
    assert_same(images(fresh.root), images(place.root))
    assert restorable(fresh) == restorable(place) == []
    assert place.changes() == fresh.changes() == []
    place.run(exclude=place.exclude("*,*\n"))
    assert place.processed() == []  # the receipts say the same
    assert_same(contents(fresh.root), contents(place.root))


def test_the_next_run_denoises_again_what_is_not_excluded(
    place: Place, made: dict[str, Path]
) -> None:
    place.undo("--ids", "1,4")
    both = dict.fromkeys(("amos_0001", "amos_0004"), ("changed", "masks"))
    assert place.plan() == both
    file = place.exclude("4,\n")
    assert list(place.plan(exclude=file)) == ["amos_0001"]
    stamps = place.stamps()
    place.run(exclude=file)
    assert place.processed() == ["amos_0001"]
    assert {name[:14] for name in place.images_written_since(stamps)} == {"amos_0001_mask"}
    np.testing.assert_array_equal(voxels(place.mask("0004")), place.undenoised("0004"))
    assert "sound" in place.command("verify", place.root).stdout
    place.kept.unlink()
    place.run()
    assert_same(contents(made["plain"]), contents(place.root))


def test_restore_again_changes_nothing(place: Place) -> None:
    place.undo("--ids", "4")
    before = contents(place.root)
    said = place.undo("--ids", "4").stdout
    assert said.startswith("0 masks are as before denoising; 1 was not denoised\n")
    assert_same(before, contents(place.root))


def test_restored_masks_can_be_denoised_by_the_command(place: Place, made: dict[str, Path]) -> None:
    place.undo()
    place.denoise()
    assert_same(images(made["plain"]), images(place.root))


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_mask_that_cannot_be_had_back_stays_and_is_an_issue(place: Place, damage: str) -> None:
    (data,) = place.restore_data.glob("amos_0004-*")
    if damage == "gone":
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:-30])
    before = images(place.root)
    said = place.undo("--ids", "4", exit_code=3).stdout
    assert errors(place.root) == {("amos_0004", "not_restorable")}
    assert "0 masks are as before denoising" in said
    assert_same(before, images(place.root))
    place.run()
    assert errors(place.root) == set()


def test_masks_that_were_altered_before_are_made_anew_by_the_next_run(place: Place) -> None:
    liver = place.mask("0004").with_name("amos_0004_mask_06_liver.nii.gz")
    liver.write_bytes(place.mask("0004").read_bytes())
    place.undo("--ids", "4")
    np.testing.assert_array_equal(voxels(liver), place.undenoised("0004") == 6)
    assert place.plan() == {"amos_0004": ("changed", "masks")}


def test_masks_of_another_label_map_are_made_anew_by_the_next_run(place: Place) -> None:
    label_map = place.descriptor / "label_map.yaml"
    label_map.write_text(label_map.read_text().replace("spleen", "milt"))
    place.undo("--ids", "4")
    names = {path.name for path in place.mask("0004").parent.iterdir()}
    assert "amos_0004_mask_01_milt.nii.gz" in names
    assert "amos_0004_mask_01_spleen.nii.gz" not in names
    assert place.plan()["amos_0004"] == ("changed", "masks")


def test_restore_works_on_root_itself_and_from_python(place: Place, client: Client) -> None:
    result = amos_dask.restore(
        place.root, selection=amos_dask.Selection(["4"]), cluster=client, progress="none"
    )
    assert (result.n_samples, result.issues, result.exit_code) == (1, (), 0)
    assert place.changes_file in result.outputs
    np.testing.assert_array_equal(voxels(place.mask("0004")), place.undenoised("0004"))


def test_a_restored_mask_of_partly_excluded_labels_is_undenoised(excluded: Place) -> None:
    excluded.undo("--ids", "9")
    np.testing.assert_array_equal(voxels(excluded.mask("0009")), excluded.undenoised("0009"))
    assert excluded.plan() == {"amos_0009": ("changed", "masks")}


def test_restore_says_so_as_json(place: Place) -> None:
    address = place._client.scheduler_info(n_workers=0)["address"]
    words = ("restore", "--root_dir", place.grouped, "--ids", "4", "--json", "--cluster", address)
    line = json.loads(program(*words).stdout.splitlines()[-1])
    assert (line["exit_code"], line["n_samples"]) == (0, 1)
    assert line["summary"].startswith("1 mask is")
