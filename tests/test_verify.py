"""``verify``: sound archives and roots pass, each damage is named, and nothing is written."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import json
import re
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from mini import QUIET
from roots import ct_archive, program, put_back, sample_dir, snapshot
from samples import discover_one

import amos_dask
from amos_dask import AmosDaskError, CommandResult, Selection
from amos_dask.archive import sources
from amos_dask.datasets import AMOS22, PublishedFile
from amos_dask.engine.events import BytesDone, Event
from amos_dask.nifti import ImageReader
from amos_dask.phantom import Archive, write_archive
from amos_dask.root.layout import Layout
from amos_dask.root.staging import Journal
from amos_dask.root.working import hold_lock
from amos_dask.run import run
from amos_dask.sample.soundness import verify_sample

VOLUME, MASK = "imagesTr/amos_0001.nii.gz", "labelsTr/amos_0001.nii.gz"
OTHER = "imagesVa/amos_0004.nii.gz"
Findings = set[tuple[str, str, str]]


@pytest.fixture
def verify(cluster_address: str) -> Callable[..., CommandResult]:
    def call(path: str | Path, **options: Any) -> CommandResult:
        return amos_dask.verify(path, cluster=cluster_address, progress="none", **options)

    return call


def errors(result: CommandResult) -> Findings:
    """Return code, sample and file of each error; they decide on the exit code."""
    found = {(i.code, i.sample, i.file) for i in result.issues if i.severity == "error"}
    assert int(result.exit_code) == (3 if found else 0)
    assert ("sound:" in result.summary) is (not found)
    return found


def sample_errors(location: str | Path, *, full: bool = False) -> Findings:
    """Return the same of the tasks alone, without a cluster."""
    samples = discover_one(str(location), mr_metadata_offset="0").samples
    found = [issue for s in samples for issue in verify_sample(s, full=full).issues]
    assert {issue.action for issue in found} <= {""}  # nothing was done about anything
    return {(i.code, i.sample, i.file) for i in found if i.severity == "error"}


# ---------------------------------------------------------------- archives


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an archive folder that no test changes, of files that a header's read does not end."""
    folder = tmp_path_factory.mktemp("sound")
    return write_archive(folder, n_ct=2, n_mri=1, size="small", seed=7).path


@pytest.fixture
def archive(sound: Path) -> Path:
    """Return an archive folder that a test may change."""
    return put_back(sound, sound.parent.with_name("changed") / "amos22")


def zip_folder(folder: Path, target: Path, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(target, "w", method) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                file.write(path, path.relative_to(folder).as_posix())
    return target


@pytest.fixture(params=["stored", "deflated"])
def zipped(sound: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Return a zip that a test may change."""
    method = {"stored": zipfile.ZIP_STORED, "deflated": zipfile.ZIP_DEFLATED}[request.param]
    return zip_folder(sound, tmp_path / "amos22.zip", method)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_a_sound_archive_with_every_quirk(
    form: str, phantom: Archive, tmp_path: Path, verify: Callable[..., CommandResult]
) -> None:
    made = phantom if form == "folder" else write_archive(tmp_path, form="zip", seed=7)
    before = snapshot(made.path.parent)
    for full in (False, True):
        result = verify(made.path, full=full)
        assert errors(result) == set()
        assert result.n_samples == len(made.samples)
        assert ("all voxels decoded" in result.summary) is full
        assert snapshot(made.path.parent) == before


def test_a_quick_look_at_a_zip_says_what_it_did_not_see(
    zipped: Path, verify: Callable[..., CommandResult]
) -> None:
    with zipfile.ZipFile(zipped) as file:
        images = [i for i in file.infolist() if i.filename.endswith(".nii.gz")]
    packed = [image for image in images if image.compress_type == zipfile.ZIP_DEFLATED]
    assert ("no ends" in verify(zipped).summary) is bool(packed)
    assert "no ends" not in verify(zipped, full=True).summary


def test_damage_is_named_and_nothing_else_is_blamed(
    damaged_phantom: Archive, verify: Callable[..., CommandResult]
) -> None:
    defects = {s.defect: s for s in damaged_phantom.samples if s.defect}
    expected = {
        ("unreadable_volume", "truncated_volume"),
        ("unreadable_mask", "unreadable_mask"),
        ("shape_mismatch", "mask_shape"),
    }
    for full in (False, True):
        found = errors(verify(damaged_phantom.path, full=full))
        assert {(c, s) for c, s, _ in found} == {(c, defects[d].sample_id) for c, d in expected}
        assert all(file for _, _, file in found)


def test_only_chosen_samples_are_looked_at(
    damaged_phantom: Archive, verify: Callable[..., CommandResult]
) -> None:
    bad = next(s for s in damaged_phantom.samples if s.defect == "truncated_volume")
    good = next(s for s in damaged_phantom.samples if not s.defect)
    assert errors(verify(damaged_phantom.path, selection=Selection((good.seq,)))) == set()
    result = verify(damaged_phantom.path, selection=Selection((bad.seq,)))
    assert {sample for _, sample, _ in errors(result)} == {bad.sample_id}
    assert result.n_samples == 1


# Each takes a gzip file's bytes and returns others.


def split_members(content: bytes, *ends: int) -> list[bytes]:
    plain = gzip.decompress(content)
    places = [0, *ends, len(plain)]
    return [gzip.compress(plain[a:b], mtime=0) for a, b in itertools.pairwise(places)]


def flip(content: bytes, place: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 0x10
    return bytes(changed)


def flip_body(content: bytes) -> bytes:
    """Flip a bit that only a checksum can tell: in a stored voxel, far behind the header."""
    stored = gzip.compress(gzip.decompress(content), 0, mtime=0)
    return flip(stored, len(stored) - 100)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut to nothing": lambda content: b"",
    "cut in the gzip header": lambda content: content[:7],
    "cut in the header": lambda content: content[:60],
    "cut in the middle": lambda content: content[: len(content) // 2],
    "cut before the trailer": lambda content: content[:-8],
    "cut in the trailer": lambda content: content[:-4],
    "cut by one byte": lambda content: content[:-1],
    "cut after the first of two members": lambda content: split_members(content, 352)[0],
    "cut after the second of three members": lambda content: b"".join(
        split_members(content, 352, 1000)[:2]
    ),
    "padded where it was cut": lambda content: content[:-300] + bytes(300),
    "wrong length": lambda content: flip(content, -2),
}
SEEN_BY_FULL_ONLY: dict[str, Callable[[bytes], bytes]] = {
    "flipped bit in the body": flip_body,
    "flipped checksum": lambda content: flip(content, -7),
}
SOUND_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "several members": lambda content: b"".join(split_members(content, 352, 1000)),
    "an empty last member": lambda content: content + gzip.compress(b"", mtime=0),
    "padding": lambda content: content + bytes(512),
    "bytes that follow": lambda content: content + b"\xffgarbage",
}
KINDS = [("unreadable_volume", VOLUME), ("unreadable_mask", MASK)]


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_found_by_a_quick_look(
    damage: Callable[[bytes], bytes], archive: Path
) -> None:
    for _, name in KINDS:
        (archive / name).write_bytes(damage((archive / name).read_bytes()))
    expected = {(code, "amos_0001", name) for code, name in KINDS}
    assert sample_errors(archive) == sample_errors(archive, full=True) == expected


@pytest.mark.parametrize("damage", SEEN_BY_FULL_ONLY.values(), ids=SEEN_BY_FULL_ONLY)
def test_damage_within_a_file_is_found_by_decoding(
    damage: Callable[[bytes], bytes], archive: Path
) -> None:
    for _, name in KINDS:
        (archive / name).write_bytes(damage((archive / name).read_bytes()))
    assert sample_errors(archive) == set()
    expected = {(code, "amos_0001", name) for code, name in KINDS}
    assert sample_errors(archive, full=True) == expected


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("form", SOUND_FORMS.values(), ids=SOUND_FORMS)
def test_unusual_files_that_are_sound_are_not_blamed(
    form: Callable[[bytes], bytes], full: bool, archive: Path
) -> None:
    for name in (VOLUME, MASK):
        (archive / name).write_bytes(form((archive / name).read_bytes()))
    assert sample_errors(archive, full=full) == set()


def test_nothing_is_decoded_where_the_ends_agree(
    archive: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(image: ImageReader) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(ImageReader, "chunks", refuse)
    assert sample_errors(archive) == set()


def test_values_that_are_no_labels_are_found_by_decoding(archive: Path) -> None:
    image = nib.load(archive / MASK)
    voxels = np.asarray(image.dataobj).astype(np.float32)
    voxels[1, 1, 1] = 0.5
    nib.save(nib.Nifti1Image(voxels, image.affine), archive / MASK)
    assert sample_errors(archive) == set()
    assert sample_errors(archive, full=True) == {("bad_mask_values", "amos_0001", MASK)}


def test_a_csv_that_contradicts_itself_on_mr_does_not_stop_it(
    archive: Path, verify: Callable[..., CommandResult]
) -> None:
    (csv,) = archive.glob("labeled_data_meta*.csv")
    lines = csv.read_text().splitlines()
    mr = next(line for line in lines if re.search(r"Prisma|SIGNA|Achieva", line))
    row = mr.partition(",")[2]
    csv.write_text("\n".join([*lines, f"500,{row}", f"600,{row}"]))
    with pytest.raises(AmosDaskError, match="unclear which row MR scans take"):
        discover_one(str(archive))
    result = verify(archive)
    assert errors(result) == set()
    assert not {issue.code for issue in result.issues} & {"unknown_scanner", "mr_metadata_offset"}


# ---------------------------------------------------------------- zips


def entry(path: Path, name: str) -> zipfile.ZipInfo:
    with zipfile.ZipFile(path) as file:
        return file.getinfo(name)


def change(path: Path, place: int, content: bytes | None = None) -> None:
    data = bytearray(path.read_bytes())
    if content is None:
        data[place] ^= 0x10
    else:
        data[place : place + len(content)] = content
    path.write_bytes(bytes(data))


def data_place(path: Path, name: str, share: float) -> int:
    """Return a place in a member's data."""
    found = entry(path, name)
    return found.header_offset + 30 + len(name) + int(share * (found.compress_size - 1))


def directory_place(path: Path, name: str) -> int:
    """Return where a member's entry in the zip's directory begins."""
    return path.read_bytes().rindex(name.encode()) - 46


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_a_flipped_bit_in_a_zip_is_found_by_decoding(share: float, zipped: Path) -> None:
    change(zipped, data_place(zipped, VOLUME, share))
    assert sample_errors(zipped, full=True) == {("unreadable_volume", "amos_0001", VOLUME)}


def test_a_wrong_length_in_a_stored_member_is_found_by_a_quick_look(
    sound: Path, tmp_path: Path
) -> None:
    path = zip_folder(sound, tmp_path / "amos22.zip")
    change(path, data_place(path, MASK, 1.0))
    assert sample_errors(path) == {("unreadable_mask", "amos_0001", MASK)}


def test_a_wrong_checksum_in_the_directory_is_found_by_a_quick_look(zipped: Path) -> None:
    change(zipped, directory_place(zipped, MASK) + 16)
    for full in (False, True):
        assert sample_errors(zipped, full=full) == {("damaged_zip", "amos_0001", MASK)}


def test_a_checksum_that_is_wrong_everywhere_is_found_by_decoding(zipped: Path) -> None:
    change(zipped, directory_place(zipped, MASK) + 16, b"\1\2\3\4")
    change(zipped, entry(zipped, MASK).header_offset + 14, b"\1\2\3\4")
    assert sample_errors(zipped) == set()
    assert sample_errors(zipped, full=True) == {("unreadable_mask", "amos_0001", MASK)}


def test_a_lost_local_header_is_found_by_a_quick_look(zipped: Path) -> None:
    change(zipped, entry(zipped, VOLUME).header_offset)
    assert sample_errors(zipped) == {("unreadable_volume", "amos_0001", VOLUME)}


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_zip_that_was_cut(
    share: float, zipped: Path, verify: Callable[..., CommandResult]
) -> None:
    data = zipped.read_bytes()
    zipped.write_bytes(data[: int(share * len(data))])
    result = verify(zipped)
    assert errors(result) == {("damaged_zip", "", "amos22.zip")}
    (issue,) = result.issues
    assert "of the published 24.2 GB (0 %)" in issue.message
    assert snapshot(zipped.parent).keys() == {"amos22.zip"}


def test_what_is_neither_an_archive_nor_a_root(
    tmp_path: Path, verify: Callable[..., CommandResult]
) -> None:
    with pytest.raises(AmosDaskError, match="no such zip file"):
        verify(tmp_path / "amos22.zip")
    with pytest.raises(AmosDaskError, match=r"there is no such folder.*Nor is it a ROOT_DIR"):
        verify(tmp_path / "nothing")
    with pytest.raises(AmosDaskError, match=r"no scans found.*Nor is it a ROOT_DIR"):
        verify(tmp_path)
    program("verify", tmp_path, exit_code=1)


# ---------------------------------------------------------------- MD5


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], None]:
    """Return a function that lets a zip's content be the published one."""

    def make(content: bytes) -> None:
        md5 = hashlib.md5(content).hexdigest()
        ours = PublishedFile("https://host/record", md5, len(content), 10, name="amos22.zip")
        definition = replace(AMOS22, published_zip=ours)
        home = sys.modules["amos_dask.verify"]
        monkeypatch.setattr(home, "layout_for", lambda root, _: Layout(root, definition))
        monkeypatch.setattr(sources, "MD5_BLOCK_BYTES", 1000)

    return make


def test_the_published_zip_is_known() -> None:
    assert AMOS22.published_zip is not None
    assert AMOS22.published_zip.md5 == "67717b2a483ac0744c89c3016b7aaef7"
    assert 24.1e9 < AMOS22.published_zip.n_bytes < 24.3e9


def test_the_published_zip_passes_block_by_block(
    zipped: Path, publish: Callable[[bytes], None], cluster_address: str
) -> None:
    publish(zipped.read_bytes())
    events: list[Event] = []
    result = amos_dask.verify(zipped, md5=True, cluster=cluster_address, progress=events.append)
    assert errors(result) == set()
    n_bytes = zipped.stat().st_size
    of_md5 = [e for e in events if isinstance(e, BytesDone)]
    assert [e.n_bytes for e in of_md5] == [*range(1000, n_bytes, 1000), n_bytes]
    assert {(e.work, e.name, e.n_bytes_total) for e in of_md5} == {("md5", "amos22.zip", n_bytes)}


def test_another_zip_does_not_pass(
    zipped: Path, publish: Callable[[bytes], None], verify: Callable[..., CommandResult]
) -> None:
    publish(zipped.read_bytes())
    change(zipped, data_place(zipped, VOLUME, 0.6))
    result = verify(zipped, md5=True)
    assert errors(result) == {("wrong_checksum", "", "amos22.zip")}
    (issue,) = (issue for issue in result.issues if issue.code == "wrong_checksum")
    assert "https://host/record" in issue.message
    both = errors(verify(zipped, md5=True, full=True))
    assert both == {
        ("wrong_checksum", "", "amos22.zip"),
        ("unreadable_volume", "amos_0001", VOLUME),
    }


def test_a_download_that_goes_on_is_not_read(
    zipped: Path,
    publish: Callable[[bytes], None],
    verify: Callable[..., CommandResult],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = zipped.read_bytes()
    publish(data)
    zipped.write_bytes(data[: len(data) // 4])
    monkeypatch.setattr(sources, "read_md5", None)
    result = verify(zipped, md5=True)
    assert errors(result) == {("incomplete_download", "", "amos22.zip")}
    assert "(24 %)" in result.issues[0].message or "(25 %)" in result.issues[0].message


def test_md5_is_for_zips(archive: Path, verify: Callable[..., CommandResult]) -> None:
    with pytest.raises(AmosDaskError, match="--md5 is for"):
        verify(archive, md5=True)
    with pytest.raises(AmosDaskError, match="there is no such zip file"):
        verify(archive / "amos22.zip", md5=True)


# ---------------------------------------------------------------- ROOT_DIR


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive of the ROOT_DIR."""
    return ct_archive(tmp_path_factory.mktemp("source"), 3)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a ROOT_DIR after a good run that no test changes."""
    root = tmp_path_factory.mktemp("made") / "kept" / "AMOS22"
    result = run(root, source, region_area_thresh=100, cluster=cluster_address, progress="none")
    assert int(result.exit_code) == 0
    return root


@pytest.fixture
def root(made: Path) -> Path:
    """Return a ROOT_DIR that a test may change."""
    return put_back(made, made.parent.with_name("changed") / "AMOS22")


@pytest.fixture(scope="module")
def made_bare(source: Path, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return the same without report and statistics."""
    root = tmp_path_factory.mktemp("bare") / "kept" / "AMOS22"
    run(root, source, region_area_thresh=100, cluster=cluster_address, **QUIET)
    return root


@pytest.fixture
def bare(made_bare: Path) -> Path:
    """Return such a ROOT_DIR that a test may change."""
    return put_back(made_bare, made_bare.parent.with_name("changed") / "AMOS22")


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Return name -> size and time of change of everything below a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("full", [False, True])
def test_an_untouched_root_is_sound_and_stays_as_it_is(
    full: bool, made: Path, verify: Callable[..., CommandResult]
) -> None:
    before, bytes_before = tree(made), snapshot(made)
    result = verify(made, full=full)
    assert result.issues == ()
    assert errors(result) == set()
    assert (result.n_samples, result.outputs) == (3, ())
    assert tree(made) == before
    assert snapshot(made) == bytes_before


def outputs(root: Path) -> Iterator[str]:
    """Yield every file that a receipt or the record of the manifests speaks of."""
    for receipt in sorted((root / ".amos-dask/receipts").iterdir()):
        for files in json.loads(receipt.read_text())["outputs"].values():
            yield from files
    state = json.loads((root / ".amos-dask/tables.json").read_text())
    yield from [*state["tables"], *state["others"]]


def test_every_file_that_is_gone_or_altered_is_named(
    root: Path, made: Path, verify: Callable[..., CommandResult]
) -> None:
    names = sorted(outputs(root))
    on_disk = {name for name in snapshot(root) if name.startswith(("grouped", "descriptor"))}
    assert set(names) >= on_disk - {"descriptor/label_map.yaml"}
    gone, altered, grown = names[::3], names[1::3], names[2::3]
    for name in gone:
        (root / name).unlink()
    for name in altered:
        change(root / name, (root / name).stat().st_size - 3)
    grown = [name for name in grown if not name.endswith(".xlsx")]  # whose cells are the same
    names = sorted([*gone, *altered, *grown])
    for name in grown:
        (root / name).write_bytes((root / name).read_bytes() + b"\0")
    found = errors(verify(root))
    assert {file for code, _, file in found if code == "missing_output"} == set(gone)
    assert {f for code, _, f in found if code == "altered_output"} == {*altered, *grown}
    assert len(found) == len(names)
    for _, sample, file in found:
        assert sample == (Path(file).name[:9] if "amos_0" in Path(file).name else "")


def a_volume(root: Path) -> Path:
    return sample_dir(root / "grouped", "0001") / "amos_0001_volume.nii.gz"


def test_a_flipped_bit_in_a_volume_is_found_by_decoding(
    root: Path, verify: Callable[..., CommandResult]
) -> None:
    path = a_volume(root)
    change(path, path.stat().st_size // 2)
    file = path.relative_to(root).as_posix()
    assert errors(verify(root)) == set()
    result = verify(root, full=True)
    assert errors(result) == {("altered_output", "amos_0001", file)}
    assert "remove the file, then run the same command again" in result.issues[0].message


def put(path: Path, content: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_extra_files_are_named(root: Path, verify: Callable[..., CommandResult]) -> None:
    folder = a_volume(root).parent
    put(folder / ".DS_Store")
    put(root / "descriptor/notes.txt")
    extra = [put(folder / "amos_0001_mask_99_other.nii.gz"), put(folder / "notes.txt")]
    files = {path.relative_to(root).as_posix() for path in extra}
    found = verify(root)
    assert {i.file for i in found.issues if i.code == "extra_file"} == files
    assert errors(found) == set()
    assert found.exit_code == 0


def test_leftovers_of_a_killed_run_are_named(
    root: Path, verify: Callable[..., CommandResult]
) -> None:
    left = [
        put(a_volume(root).parent / ".amos_0001_mask.nii.gz.12ab34cd.part~"),
        put(root / "descriptor/.issues.jsonl.12ab34cd.part~"),
        put(root / ".amos-dask/receipts/.amos_0001.json.12ab34cd.part~"),
    ]
    for path in left:
        Journal(Layout(root), "amos_0001").add_temporaries([path])
    theirs = put(root / "grouped/.mine.nii.gz.12ab34cd.part~")
    (told,) = (i for i in verify(root).issues if i.file == theirs.relative_to(root).as_posix())
    assert told.severity == "warning"
    files = {path.relative_to(root).as_posix() for path in left}
    assert errors(verify(root)) == {("leftover", "", file) for file in files}


def test_the_lock_of_a_dead_run_matters_to_nobody_and_that_of_a_living_one_stops(
    root: Path, verify: Callable[..., CommandResult]
) -> None:
    put(root / ".amos-dask/lock", "since yesterday by process 1 on elsewhere")
    assert errors(verify(root)) == set()
    with hold_lock(Layout(root)), pytest.raises(AmosDaskError, match="in use since"):
        verify(root)


def test_a_folder_without_receipt_is_named(
    root: Path, verify: Callable[..., CommandResult]
) -> None:
    (root / ".amos-dask/receipts/amos_0001.json").unlink()
    folder = a_volume(root).parent
    second = shutil.copytree(
        sample_dir(root / "grouped", "0004"), root / "grouped/AMOS-CT/test/UND/amos_0004_X"
    )
    found = verify(root)
    assert errors(found) == {("no_receipt", "amos_0001", folder.relative_to(root).as_posix())}
    (told,) = (issue for issue in found.issues if issue.code == "foreign_file")
    assert (told.file, told.severity) == (second.relative_to(root).as_posix(), "warning")


def test_a_receipt_that_cannot_be_understood_is_named(
    root: Path, verify: Callable[..., CommandResult]
) -> None:
    name = ".amos-dask/receipts/amos_0001.json"
    put(root / name, "{")
    put(root / ".amos-dask/receipts/amos_0099.json", "{")
    put(root / ".amos-dask/receipts/amos_x.json", "{")
    expected = {
        ("no_receipt", "amos_0001", name),
        ("no_receipt", "amos_0099", ".amos-dask/receipts/amos_0099.json"),
    }
    assert errors(verify(root)) == expected


def test_a_folder_that_is_gone_is_named_file_by_file(
    root: Path, verify: Callable[..., CommandResult]
) -> None:
    folder = a_volume(root).parent
    names = {path.relative_to(root).as_posix() for path in folder.iterdir()}
    shutil.rmtree(folder)
    expected = {("missing_output", "amos_0001", name) for name in names}
    assert errors(verify(root)) == expected
    assert errors(verify(root, selection=Selection(subset="train"))) == expected
    assert errors(verify(root, selection=Selection(("4",)))) == set()


def test_manifests_that_no_run_finished_are_named(
    root: Path, verify: Callable[..., CommandResult]
) -> None:
    path = root / ".amos-dask/tables.json"
    state = json.loads(path.read_text())
    for counts in (
        {**state["counts"], "n_samples": 2},
        {**state["counts"], "n_regions": [[100.0, 0, 0]]},
    ):
        path.write_text(json.dumps({**state, "counts": counts}))
        assert errors(verify(root)) == {("incomplete_run", "", "")}
    path.unlink()
    assert errors(verify(root)) == {("incomplete_run", "", ".amos-dask/tables.json")}


def test_a_run_repairs_what_was_found_quickly(
    bare: Path, source: Path, verify: Callable[..., CommandResult], cluster_address: str
) -> None:
    path = a_volume(bare)
    change(path, path.stat().st_size - 3)
    theirs = put(path.parent / "amos_0001_mask_99_other.nii.gz")
    half = put(path.parent / ".amos_0001_mask.nii.gz.12ab34cd.part~")
    Journal(Layout(bare), "amos_0001").add_temporaries([half])
    (bare / "grouped/dataset_manifest.xlsx").unlink()
    (bare / ".amos-dask/receipts/amos_0004.json").unlink()
    assert {code for code, _, _ in errors(verify(bare))} == {
        "altered_output", "leftover", "missing_output", "no_receipt"
    }  # fmt: skip
    run(bare, source, region_area_thresh=100, cluster=cluster_address, **QUIET)
    (left,) = verify(bare).issues  # what no run wrote is nothing that a run removes
    assert (left.code, left.file) == ("extra_file", theirs.relative_to(bare).as_posix())


def test_what_a_run_does_not_write_over_is_told_from_what_it_repairs(
    bare: Path, source: Path, tmp_path: Path, verify: Callable[..., CommandResult],
    cluster_address: str,
) -> None:  # fmt: skip
    where = QUIET | {"cluster": cluster_address}
    (other,) = sample_dir(bare / "grouped", "0004").glob("*_volume.nii.gz")
    shutil.copy(other, tmp_path / "theirs.nii.gz")
    a_volume(bare).unlink()
    a_volume(bare).symlink_to(tmp_path / "theirs.nii.gz")
    book = bare / "grouped/dataset_manifest.xlsx"
    book.write_bytes(b"a password protects it")
    theirs = {a_volume(bare).relative_to(bare).as_posix(), "grouped/dataset_manifest.xlsx"}
    altered = bare / "grouped/AMOS-CT/dataset_manifest_amos_ct.xlsx"
    altered.unlink()
    for _ in range(2):
        result = verify(bare)
        assert {i.file for i in result.issues if "--adopt" in i.action} == theirs
        assert "repairs it, but for what is in the way of its files, which stays" in result.summary
        assert "mended in the archive" not in result.summary
        run(bare, source, region_area_thresh=100, **where)
        assert book.read_bytes() == b"a password protects it"
        assert altered.exists()
    run(bare, source, region_area_thresh=100, adopt=True, **where)
    assert verify(bare).issues == ()


def test_roots_of_other_runs_are_sound_too(
    damaged_phantom: Archive,
    tmp_path: Path,
    verify: Callable[..., CommandResult],
    cluster_address: str,
) -> None:
    where = QUIET | {"cluster": cluster_address}
    root = tmp_path / "AMOS22"
    result = run(root, damaged_phantom.path, **where)
    recorded = {(i.code, i.sample, i.file) for i in result.issues if i.severity == "error"}
    assert errors(verify(root)) == recorded != set()
    run(
        root,
        damaged_phantom.path,
        selection=Selection(("1",)),
        region_volume_thresh=(100, 300),
        kernel_size=(3, 3),
        **where,
    )
    assert errors(verify(root, full=True)) == recorded


def test_errors_of_the_last_run_are_told_of_the_samples_that_are_looked_at(
    bare: Path, source: Path, tmp_path: Path, verify: Callable[..., CommandResult],
    cluster_address: str,
) -> None:  # fmt: skip
    archive = Path(shutil.copytree(source, tmp_path / "amos22"))
    (mask,) = archive.glob("labels*/amos_0004.nii.gz")
    mask.write_bytes(mask.read_bytes()[:200])
    where = QUIET | {"cluster": cluster_address}
    run(bare, archive, region_area_thresh=100, **where)
    result = verify(bare)
    (found,) = result.issues
    assert (found.code, found.sample, int(result.exit_code)) == ("unreadable_mask", "amos_0004", 3)
    assert found.message.startswith("recorded by the last run: ")
    assert "as it was written, with errors, 1 finding" in result.summary
    assert "mended in the archive" in result.summary
    assert verify(bare, selection=Selection(("1",))).issues == ()
    assert verify(bare, selection=Selection(("4",))).issues == (found,)
    run(bare, source, region_area_thresh=100, **where)
    assert verify(bare).issues == ()


ROWS = {
    "label_map.yaml": "0: background\n" + "".join(f"{n}: organ {n}\n" for n in range(1, 17)),
    "denoise_exclude.csv": "sample,label\n1,*\n4,liver\n",
    "dataset.yaml": None,
}


@pytest.mark.parametrize("name", ROWS)
def test_a_choice_that_is_another_now_is_named_until_a_run_takes_it_up(
    name: str, bare: Path, source: Path, verify: Callable[..., CommandResult], cluster_address: str
) -> None:
    content = ROWS[name]
    if content is None:
        content = AMOS22.to_yaml().replace("Aquilion ONE", "Aquilion TWO")
        assert content != AMOS22.to_yaml()
    put(bare / "descriptor" / name, content)
    (found,) = verify(bare).issues
    assert (found.code, found.file) == ("changed_choice", f"descriptor/{name}")
    assert "run takes up what it says now" in found.message
    if name == "denoise_exclude.csv":
        assert "2 samples such as amos_0001" in found.message
        assert verify(bare, selection=Selection(("500",))).issues == ()
    run(bare, source, region_area_thresh=100, cluster=cluster_address, **QUIET)
    assert verify(bare).issues == ()


def test_samples_that_are_excluded_no_more_are_named_and_restored_ones_are_not(
    bare: Path, source: Path, verify: Callable[..., CommandResult], cluster_address: str
) -> None:
    where = QUIET | {"cluster": cluster_address}
    amos_dask.restore(
        bare / "grouped", selection=Selection(("1",)), cluster=cluster_address, progress="none"
    )
    assert "changed_choice" not in {issue.code for issue in verify(bare).issues}
    kept = put(bare / "descriptor/denoise_exclude.csv", "sample,label\n4,\n")
    run(bare, source, region_area_thresh=100, **where)
    assert verify(bare).issues == ()
    kept.unlink()
    (found,) = verify(bare).issues
    assert (found.code, found.file) == ("changed_choice", "descriptor/denoise_exclude.csv")
    assert "1 sample such as amos_0004" in found.message


@pytest.mark.parametrize("name", ["label_map.yaml", "denoise_exclude.csv"])
def test_the_same_choice_in_other_words_is_the_same(
    name: str, root: Path, verify: Callable[..., CommandResult]
) -> None:
    path = root / "descriptor" / name
    kept = path.read_text(encoding="utf-8") if path.exists() else "sample,label\n"
    put(path, f"# for all of us\n{kept}")
    assert verify(root).issues == ()


@pytest.mark.parametrize("name", ["label_map.yaml", "denoise_exclude.csv"])
def test_a_choice_that_cannot_be_understood_is_named(
    name: str, root: Path, verify: Callable[..., CommandResult]
) -> None:
    put(root / "descriptor" / name, "what: ever: this")
    (found,) = verify(root).issues
    assert found.code == "changed_choice"
    assert name in found.message


def test_md5_is_not_for_a_root(made: Path, verify: Callable[..., CommandResult]) -> None:
    with pytest.raises(AmosDaskError, match="this is a ROOT_DIR"):
        verify(made, md5=True)


# ---------------------------------------------------------------- the program


def test_the_program_names_what_is_wrong_first(root: Path, cluster_address: str) -> None:
    words = ("verify", root, "--cluster", cluster_address, "--quiet")
    assert "3 samples" in program(*words).stdout
    path = a_volume(root)
    path.unlink()
    file = path.relative_to(root).as_posix()
    said = program(*words, exit_code=3).stdout.splitlines()
    assert said[0] == f"error: amos_0001 {file}: missing_output: is gone"
    assert "again repairs it" in said[-1]


def test_json_holds_everything_that_was_found(root: Path, cluster_address: str) -> None:
    path = a_volume(root)
    path.unlink()
    done = program("verify", root, "--json", "--cluster", cluster_address, exit_code=3)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["event"] for line in lines][-2:] == ["PhaseEnded", "Result"]
    result = lines[-1]
    assert (result["exit_code"], result["issues"]) == (3, {"missing_output": 1})
    (found,) = result["found"]
    assert found["file"] == path.relative_to(root).as_posix()
    assert (found["code"], found["sample"], found["action"]) == ("missing_output", "amos_0001", "")
