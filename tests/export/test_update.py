"""An export that is made again: its own files are brought up to date, all others stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from roots import contents, ct_archive, program, sample_dir, snapshot, truncate, voxels

import amos_dask
from amos_dask import AmosDaskError, CommandResult, Selection
from amos_dask.archive.recognise import EXPORT_MARK
from amos_dask.root.export_mark import find_exports, find_exports_of
from amos_dask.root.layout import Layout
from amos_dask.root.working import hold_lock

Export = Callable[..., CommandResult]
LABEL = "labelsTr/amos_0001.nii.gz"
NAME = "Dataset623_AMOS22CT"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a ROOT_DIR of a training, a validation and a test scan that no test changes."""
    folder = tmp_path_factory.mktemp("made")
    archive = ct_archive(folder, 3, seed=1, has_val=True)
    options: dict[str, Any] = {"cluster": cluster_address, "progress": "none"}
    amos_dask.run(folder / "AMOS22", archive, report=False, statistics=False, **options)
    return folder / "AMOS22"


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    root = Path(shutil.copytree(made, tmp_path / "AMOS22"))
    Layout(root).exports.unlink(missing_ok=True)
    return root


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "raw"


@pytest.fixture
def nnunet(cluster_address: str) -> Export:
    def export(root: Path, raw: Path, **options: Any) -> CommandResult:
        options = {"cluster": cluster_address, "progress": "none", **options}
        return amos_dask.export_nnunet(root, raw, **options)

    return export


@pytest.fixture
def monai(cluster_address: str) -> Export:
    def export(root: Path, file: Path, **options: Any) -> CommandResult:
        options = {"cluster": cluster_address, "progress": "none", **options}
        return amos_dask.export_monai(root, file, **options)

    return export


def mask_of(root: Path, seq: str = "0001") -> Path:
    return sample_dir(root / "grouped", seq) / f"amos_{seq}_mask.nii.gz"


def edit(path: Path) -> bytes:
    """Save a mask with another corner, as a segmentation program does; return its bytes."""
    image = nib.load(path)
    changed = np.asarray(image.dataobj).copy()
    changed[:2, :2, :2] = 3 - changed[0, 0, 0] % 2
    nib.save(nib.Nifti1Image(changed, image.affine, image.header), path)
    return path.read_bytes()


def codes(result: CommandResult) -> list[tuple[str, str, str]]:
    """Return what is said of files; of the official split's one fold the exports always warn."""
    found = [(issue.code, issue.severity, issue.file) for issue in result.issues]
    return [issue for issue in found if issue[0] != "only_fold"]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# ---------------------------------------------------------------- what is ours


def test_what_is_outdated_is_named_and_brought_up_to_date(
    root: Path, raw: Path, tmp_path: Path, nnunet: Export
) -> None:
    nnunet(root, raw)
    edit(mask_of(root))
    verified = amos_dask.verify(raw / NAME)
    assert codes(verified) == [("outdated_export", "error", LABEL)]
    assert (verified.exit_code, verified.n_samples) == (3, 3)
    result = nnunet(root, raw)
    assert codes(result) == [("outdated_export", "info", LABEL)]
    assert result.exit_code == 0
    assert (raw / NAME / LABEL).read_bytes() == mask_of(root).read_bytes()
    assert "sound: 7 files" in amos_dask.verify(raw / NAME).summary
    nnunet(root, tmp_path / "fresh")
    assert snapshot(raw) == snapshot(tmp_path / "fresh")


def test_verify_says_what_came_and_went(root: Path, raw: Path, nnunet: Export) -> None:
    def said() -> str:
        found = amos_dask.verify(raw / NAME).issues
        return "\n".join(f"{issue.code} {issue.sample} {issue.message}" for issue in found)

    folder = sample_dir(root / "grouped", "0001")
    away = root.parent / folder.name
    folder.rename(away)
    nnunet(root, raw)
    assert said() == ""
    away.rename(folder)
    assert said() == "outdated_export amos_0001 is in ROOT_DIR and not in the export"
    nnunet(root, raw)
    folder.rename(away)
    assert "outdated_export amos_0001 is in ROOT_DIR no more" in said()
    away.rename(folder)
    label_map = root / "descriptor" / "label_map.yaml"
    text = label_map.read_text(encoding="utf-8")
    label_map.write_text(text.replace("spleen", "milt"), encoding="utf-8")
    assert said() == "outdated_export  the label map is another now"
    shutil.rmtree(root / "grouped")
    assert "could not be made again" in said()


def test_an_edited_label_stays_until_it_is_adopted(root: Path, raw: Path, nnunet: Export) -> None:
    before = contents(root)
    nnunet(root, raw)
    mine = edit(raw / NAME / LABEL)
    assert contents(root) == before  # a copy is edited, and never ROOT_DIR's mask
    result = nnunet(root, raw)
    assert codes(result) == [("foreign_file", "error", LABEL)]
    assert "--adopt" in result.issues[-1].action
    assert result.exit_code == 3
    verified = amos_dask.verify(raw / NAME)
    assert codes(verified) == [("altered_output", "error", LABEL)]
    assert "--adopt" in verified.issues[0].action
    assert verified.exit_code == 3
    mask_of(root).write_bytes(mask_of(root, "0004").read_bytes())  # now it is outdated as well
    shutil.copy(
        mask_of(root, "0004").with_name("amos_0004_volume.nii.gz"),
        mask_of(root).with_name("amos_0001_volume.nii.gz"),
    )
    result = nnunet(root, raw)
    assert ("foreign_file", "error", LABEL) in codes(result)
    assert result.exit_code == 3
    assert (raw / NAME / LABEL).read_bytes() == mine
    assert not (raw / NAME / "replaced").exists()
    assert nnunet(root, raw, adopt=True).exit_code == 0
    assert (raw / NAME / LABEL).read_bytes() == mask_of(root).read_bytes()
    assert (raw / NAME / "replaced/1" / LABEL).read_bytes() == mine
    assert amos_dask.verify(raw / NAME).exit_code == 0


@pytest.mark.parametrize("name", ["dataset.json", "splits_final.json"])
def test_edited_lists_stay(root: Path, raw: Path, nnunet: Export, name: str) -> None:
    nnunet(root, raw)
    (raw / NAME / name).write_text('{"channel_names": {"0": "noNorm"}}')
    edit(mask_of(root))
    result = nnunet(root, raw)
    assert ("foreign_file", "error", name) in codes(result)
    assert "noNorm" in (raw / NAME / name).read_text()
    assert (raw / NAME / LABEL).read_bytes() == mask_of(root).read_bytes()
    result = nnunet(root, raw, selection=Selection(ids=["1"]))
    expected = "error" if name == "dataset.json" else "warning"  # it is no longer part of it
    assert ("foreign_file", expected, name) in codes(result)
    assert "noNorm" in (raw / NAME / name).read_text()


def test_fewer_samples_take_away_what_is_as_it_was_written(
    root: Path, raw: Path, nnunet: Export
) -> None:
    nnunet(root, raw)
    mine = edit(raw / NAME / "labelsTr/amos_0004.nii.gz")
    result = nnunet(root, raw, selection=Selection(ids=["1"]))
    assert codes(result) == [("foreign_file", "warning", "labelsTr/amos_0004.nii.gz")]
    assert (raw / NAME / "labelsTr/amos_0004.nii.gz").read_bytes() == mine
    left = {path for path in snapshot(raw / NAME) if "/" in path}
    assert left == {"imagesTr/amos_0001_0000.nii.gz", LABEL, "labelsTr/amos_0004.nii.gz"}
    assert read(raw / NAME / "dataset.json")["numTraining"] == 1


@pytest.mark.parametrize("damage", [truncate, Path.unlink])
def test_what_cannot_be_read_now_leaves_what_was_exported(
    root: Path, raw: Path, nnunet: Export, damage: Callable[[Path], None]
) -> None:
    nnunet(root, raw)
    before = snapshot(raw)
    damage(mask_of(root))
    result = nnunet(root, raw)
    assert [severity for _, severity, _ in codes(result)] == ["error"]
    assert result.issues[-1].action == "what was exported earlier stays"
    assert result.exit_code == 3
    assert snapshot(raw) == before


def test_a_kill_leaves_nothing_that_is_not_known(
    root: Path, raw: Path, tmp_path: Path, nnunet: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("amos_dask.export.update._Update.say_strangers", kill)
        with pytest.raises(KeyboardInterrupt):
            nnunet(root, raw, merge_prostate_uterus=True)
    (raw / NAME / "labelsTr" / ".amos_0001.nii.gz.12345678.part~").touch()
    journal = raw / NAME / ".amos-dask/journal/amos_0001.jsonl"
    with journal.open("a") as file:
        file.write('{"temporary": "labelsTr/.amos_0001.nii.gz.12345678.part~"}\n')
    edit(mask_of(root))
    result = nnunet(root, raw, selection=Selection(ids=["1"]))
    assert result.issues == ()
    nnunet(root, tmp_path / "fresh", selection=Selection(ids=["1"]))
    assert snapshot(raw) == snapshot(tmp_path / "fresh")
    assert not (raw / NAME / ".amos-dask").exists()


# ---------------------------------------------------------------- what is theirs

FOLDERS = st.sampled_from(["", "imagesTr/", "labelsTr/", "imagesTs/", "labelsTs/", "notes/"])
NAMES = st.sampled_from(
    ["amos_9001_0000.nii.gz", "amos_9001.nii.gz", "amos_0001_0000.nii.gz.bak", "notes.txt",
     "amos_0500.nii.gz", "mine.json", "replaced", "dataset.json.old", "amos_0001 (2).nii.gz"]
)  # fmt: skip
OPTIONS = st.sampled_from(
    [{}, {"adopt": True}, {"merge_prostate_uterus": True}, {"link": "symbolic"},
     {"selection": Selection(ids=["1"])}, {"selection": Selection(ids=["1-4"])}]
)  # fmt: skip


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    planted=st.dictionaries(st.tuples(FOLDERS, NAMES), st.binary(max_size=9), max_size=6),
    series=st.lists(OPTIONS, min_size=1, max_size=3),
)
def test_what_somebody_puts_into_an_export_stays(
    made: Path,
    nnunet: Export,
    tmp_path_factory: pytest.TempPathFactory,
    planted: dict[tuple[str, str], bytes],
    series: list[dict[str, Any]],
) -> None:
    raw = tmp_path_factory.mktemp("raw")
    nnunet(made, raw)
    theirs = {raw / NAME / folder / name: content for (folder, name), content in planted.items()}
    for path, content in theirs.items():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    for options in series:
        result = nnunet(made, raw, **options)
        assert {path: path.read_bytes() for path in theirs} == theirs
        said = " ".join(issue.message for issue in result.issues)
        assert all(path.name in said for path in theirs if path.name != "replaced")


def test_scans_of_ones_own_keep_the_dataset_valid(root: Path, raw: Path, nnunet: Export) -> None:
    nnunet(root, raw)
    dataset = raw / NAME
    shutil.copy(dataset / "imagesTr/amos_0001_0000.nii.gz", dataset / "imagesTr/me_1_0000.nii.gz")
    shutil.copy(dataset / LABEL, dataset / "labelsTr/me_1.nii.gz")
    assert nnunet(root, raw).exit_code == 0
    assert read(dataset / "dataset.json")["numTraining"] == 3


# ---------------------------------------------------------------- an export of version 0.1.0


@pytest.fixture
def earlier(root: Path, raw: Path, nnunet: Export) -> Path:
    """Return an export as version 0.1.0 made it: hard links, and a mark without files."""
    nnunet(root, raw)
    mark = raw / NAME / EXPORT_MARK
    told = read(mark)
    keys = ("made_by", "merge_prostate_uterus", "mr_without_14_16", "label_values")
    mark.write_text(json.dumps({key: told[key] for key in keys}))
    for key, own in told["files"].items():
        if own["source"]:
            (raw / NAME / key).unlink()
            (raw / NAME / key).hardlink_to(raw / NAME / own["source"])
    return raw / NAME


def test_links_of_version_0_1_0_become_copies(
    root: Path, raw: Path, tmp_path: Path, nnunet: Export, earlier: Path
) -> None:
    verified = amos_dask.verify(earlier)
    assert [issue.code for issue in verified.issues] == ["outdated_export"]
    assert codes(nnunet(root, raw)) == []
    nnunet(root, tmp_path / "fresh")
    assert snapshot(raw) == snapshot(tmp_path / "fresh")
    assert all(path.stat().st_nlink == 1 for path in raw.rglob("*.nii.gz"))


def test_other_wishes_than_of_version_0_1_0(
    root: Path, raw: Path, nnunet: Export, earlier: Path
) -> None:
    before = (earlier / "dataset.json").read_bytes()
    assert nnunet(root, raw, merge_prostate_uterus=True).exit_code == 0
    assert len(read(earlier / "dataset.json")["labels"]) == 16
    assert (earlier / "replaced/1/dataset.json").read_bytes() == before
    assert 16 not in voxels(earlier / LABEL)


def test_what_version_0_1_0_does_not_list_is_not_overwritten(
    root: Path, raw: Path, nnunet: Export, earlier: Path
) -> None:
    (earlier / LABEL).unlink()
    (earlier / LABEL).write_bytes(b"mine")
    for _ in range(2):
        result = nnunet(root, raw)
        assert codes(result) == [("foreign_file", "error", LABEL)]
        assert (earlier / LABEL).read_bytes() == b"mine"
        assert codes(amos_dask.verify(earlier)) == [("altered_output", "error", LABEL)]
    assert nnunet(root, raw, adopt=True).exit_code == 0
    assert (earlier / "replaced/1" / LABEL).read_bytes() == b"mine"
    assert amos_dask.verify(earlier).exit_code == 0


# ---------------------------------------------------------------- MONAI


def test_an_edited_datalist_stays_until_it_is_adopted(
    root: Path, tmp_path: Path, monai: Export
) -> None:
    file = tmp_path / "amos.json"
    monai(root, file)
    plain = file.read_text()
    file.write_text(plain.replace('"fold": 1', '"fold": 3'))
    assert codes(monai(root, file)) == [("foreign_file", "error", "../amos.json")]
    assert '"fold": 3' in file.read_text()
    assert codes(monai(root, file, adopt=True)) == []
    assert file.read_text() == plain
    (aside,) = (tmp_path / "amos_labels/replaced/1").rglob("amos.json")
    assert '"fold": 3' in aside.read_text()


def test_a_datalist_of_version_0_1_0(root: Path, tmp_path: Path, monai: Export) -> None:
    file = tmp_path / "amos.json"
    monai(root, file)
    plain = file.read_text()
    shutil.rmtree(tmp_path / "amos_labels")
    assert codes(monai(root, file)) == []
    shutil.rmtree(tmp_path / "amos_labels")
    assert monai(root, file, merge_prostate_uterus=True).exit_code == 0
    (aside,) = (tmp_path / "amos_labels/replaced/1").rglob("amos.json")
    assert aside.read_text() == plain


def test_a_datalist_is_verified(root: Path, tmp_path: Path, monai: Export) -> None:
    file = tmp_path / "amos.json"
    monai(root, file, merge_prostate_uterus=True)
    assert amos_dask.verify(file).exit_code == 0
    folder = sample_dir(root / "grouped", "0001")
    folder.rename(folder.with_name("amos_0001_X"))
    found = {(issue.code, issue.file) for issue in amos_dask.verify(file).issues}
    assert ("outdated_export", "../amos.json") in found


# ---------------------------------------------------------------- room, locks, verify


def test_room_is_looked_at_first(
    root: Path, raw: Path, nnunet: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
        with pytest.raises(AmosDaskError, match=r"GB are to be written and 0\.00 GB of disk are"):
            nnunet(root, raw)
        assert not raw.exists()
        nnunet(root, raw, link="symbolic")
    nnunet(root, raw)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    assert nnunet(root, raw).exit_code == 0  # all is there


def test_one_export_at_a_time(root: Path, raw: Path, nnunet: Export) -> None:
    nnunet(root, raw)
    with hold_lock(Layout(raw / NAME)):
        with pytest.raises(AmosDaskError, match="in use"):
            nnunet(root, raw)
        with pytest.raises(AmosDaskError, match="in use"):
            amos_dask.verify(raw / NAME)


def test_a_root_dir_that_cannot_be_written_to(root: Path, raw: Path, nnunet: Export) -> None:
    before = snapshot(root)
    (root / ".amos-dask").chmod(0o500)
    nnunet(root, raw)
    (root / ".amos-dask").chmod(0o700)
    after = snapshot(root)
    after.pop(".amos-dask/exports.jsonl", None)  # who is root can write anywhere
    assert after == before


def test_verify_names_what_is_missing_altered_or_new(root: Path, raw: Path, nnunet: Export) -> None:
    nnunet(root, raw)
    dataset = raw / NAME
    (dataset / "imagesTs/amos_0500_0000.nii.gz").unlink()
    (dataset / "splits_final.json").write_text("[]")
    assert {(code, file) for code, _, file in codes(amos_dask.verify(dataset))} == {
        ("missing_output", "imagesTs/amos_0500_0000.nii.gz"),
        ("altered_output", "splits_final.json"),
    }
    nnunet(root, raw, adopt=True, selection=Selection(ids=["1", "4"]))
    assert amos_dask.verify(dataset).exit_code == 0
    label_map = root / "descriptor/label_map.yaml"
    label_map.write_text(label_map.read_text().replace("liver", "Leber"))
    assert codes(amos_dask.verify(dataset)) == [("outdated_export", "error", EXPORT_MARK)]


def test_the_exports_in_nnunet_raw_are_verified(
    root: Path, raw: Path, nnunet: Export, cluster_address: str
) -> None:
    nnunet(root, raw)
    nnunet(root, raw, dataset_id=7, selection=Selection(ids=["1"]))
    (raw / "Dataset004_Hippocampus" / "imagesTr").mkdir(parents=True)  # somebody else's
    result = amos_dask.verify(raw)
    assert (result.exit_code, result.n_samples) == (0, 4)
    assert f"{raw / 'Dataset007_AMOS22CT'}: export, sound: 3 files" in result.summary
    assert f"{raw / NAME}: export, sound: 7 files" in result.summary
    edit(raw / NAME / LABEL)
    result = amos_dask.verify(raw)
    assert codes(result) == [("altered_output", "error", f"{NAME}/{LABEL}")]
    assert "stay without --adopt" in result.summary
    with pytest.raises(AmosDaskError, match="verified as a whole"):
        amos_dask.verify(raw, selection=Selection(ids=["1"]))
    nnunet(root, root)  # in ROOT_DIR itself, which stays a ROOT_DIR
    assert "samples" in amos_dask.verify(root, cluster=cluster_address, progress="none").summary


def test_links_are_never_outdated(root: Path, raw: Path, nnunet: Export) -> None:
    nnunet(root, raw, link="symbolic")
    edit(mask_of(root))
    assert amos_dask.verify(raw / NAME).exit_code == 0
    folder = sample_dir(root / "grouped", "0001")
    folder.rename(folder.with_name("amos_0001_X"))
    assert {code for code, _, _ in codes(amos_dask.verify(raw / NAME))} == {"missing_output"}
    result = nnunet(root, raw, link="symbolic")
    assert (result.exit_code, codes(result)) == (0, [])


def test_links_to_samples_that_are_gone_are_removed(root: Path, raw: Path, nnunet: Export) -> None:
    nnunet(root, raw, link="symbolic")
    shutil.rmtree(sample_dir(root / "grouped", "0004"))
    theirs = raw / NAME / "imagesTr/theirs_0000.nii.gz"
    theirs.symlink_to(raw / "nowhere")
    result = nnunet(root, raw, link="symbolic")
    assert codes(result) == [("foreign_file", "warning", "imagesTr")]
    left = sorted(path.name for path in (raw / NAME / "imagesTr").iterdir())
    assert left == ["amos_0001_0000.nii.gz", theirs.name]
    assert not (raw / NAME / "replaced").exists()


def test_verify_decodes_what_is_exported(root: Path, raw: Path, nnunet: Export) -> None:
    nnunet(root, raw)
    image = raw / NAME / "imagesTr/amos_0001_0000.nii.gz"
    content = bytearray(image.read_bytes())
    content[len(content) // 2] ^= 4
    image.write_bytes(content)
    assert amos_dask.verify(raw / NAME).exit_code == 0
    found = codes(amos_dask.verify(raw / NAME, full=True))
    assert found == [("altered_output", "error", "imagesTr/amos_0001_0000.nii.gz")]


def test_an_export_that_was_taken_elsewhere(
    root: Path, raw: Path, tmp_path: Path, nnunet: Export
) -> None:
    nnunet(root, raw)
    (tmp_path / "disk").mkdir()
    shutil.move(raw, tmp_path / "disk" / "raw")
    verified = amos_dask.verify(tmp_path / "disk" / "raw" / NAME)
    assert verified.exit_code == 0
    assert "is not here to compare" in verified.summary
    shutil.move(root, tmp_path / "disk" / "AMOS22")  # and ROOT_DIR after it
    assert "AMOS22 is" in amos_dask.verify(tmp_path / "disk" / "raw" / NAME).summary


def test_root_dir_knows_its_exports(
    root: Path, raw: Path, nnunet: Export, monai: Export, cluster_address: str
) -> None:
    nnunet(root, raw, selection=Selection(ids=["1"]))
    nnunet(root, raw, selection=Selection(ids=["1"]))
    monai(root, root / "monai.json")
    layout = Layout(root)
    assert find_exports(layout) == [raw / NAME, root / "monai_labels"]
    assert find_exports_of(layout, ["amos_0004"]) == {root / "monai_labels": ["amos_0004"]}
    edit(mask_of(root))
    result = amos_dask.verify(root, cluster=cluster_address, progress="none")
    assert str(raw / NAME) in result.summary
    assert [i.file for i in result.issues if i.code == "outdated_export"] == [NAME]
    shutil.rmtree(raw)
    assert find_exports(layout) == [root / "monai_labels"]


def test_the_commands_say_what_stays(
    root: Path, raw: Path, nnunet: Export, cluster_address: str
) -> None:
    nnunet(root, raw)
    (raw / NAME / "labelsTs").mkdir()
    for number in range(7):
        (raw / NAME / "labelsTs" / f"amos_00{number}.nii.gz").touch()
    edit(raw / NAME / LABEL)
    words = ("export", "nnunet", raw, "--root_dir", root, "--cluster", cluster_address)
    said = program(*words, "--quiet", exit_code=3).stdout
    assert f"error: amos_0001 {LABEL}: foreign_file: is not what this export wrote" in said
    assert "warning: labelsTs: foreign_file: not of the export: amos_000.nii.gz" in said
    assert "and 2 more; left as it is" in said
    said = program("verify", raw / NAME, exit_code=3).stdout
    assert "1 finding (see above); the same 'amos-dask export' again" in said
    program("verify", raw / NAME, "--md5", exit_code=1)
    listed = json.loads(program(*words, "--json", exit_code=3).stdout.splitlines()[-1])
    assert {issue["file"] for issue in listed["found"]} == {LABEL, "labelsTs", ""}


def test_exports_tell_no_dates(made: Path, tmp_path: Path, nnunet: Export, monai: Export) -> None:
    nnunet(made, tmp_path / "raw")
    monai(made, tmp_path / "amos.json", merge_prostate_uterus=True)
    infos = [path.read_text() for path in made.rglob("*_info.yaml")]
    dates = {line.split("'")[1] for text in infos for line in text.splitlines() if "_date" in line}
    assert len(dates) == 6
    texts = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert len(texts) == 5
    assert [date for date in dates if any(date in text for text in texts)] == []
