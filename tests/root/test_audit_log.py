"""Audits are kept for files that stay the same, whatever happens to the file they are kept in."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from amos_dask.issues import make_issue
from amos_dask.records import Audit, FileAudit, FileRef, Metadata, Sample
from amos_dask.root.audit_log import AuditLog

VERSION = 3


def a_sample(archive: Path, seq: str, *, mask: bool = True) -> Sample:
    """Return a sample whose files are there."""
    refs = []
    for kind in ("images", "labels")[: 2 if mask else 1]:
        path = archive / f"{kind}Tr" / f"amos_{seq}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(f"{kind} {seq}".encode(), mtime=0))
        name = path.relative_to(archive).as_posix()
        refs.append(FileRef(name, str(path), path.stat().st_size))
    return Sample(seq, "train", "ct", "x", Metadata(), refs[0], refs[1] if mask else None)


def an_audit(sample: Sample) -> Audit:
    """Return an audit that has everything, in odd values."""
    files = (
        FileAudit(
            "imagesTr/größe \u2028 a\n.nii.gz",
            "volume",
            (3, 4, 5),
            (0.1, 1 / 3, 5.0),
            "RPI",
            "LAS",
            "int16",
            "[[1e-17]]",
            0.1 + 0.2,
        ),
        FileAudit("b", "mask"),
    )
    issues = (make_issue("bad_affine", 'a\n"b"\x85', sample=sample.sample_id, file="f"),)
    return Audit(sample.sample_id, files, issues)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    archive = tmp_path / "archive"
    return [
        a_sample(archive, "0001"),
        a_sample(archive, "0004"),
        a_sample(archive, "0500", mask=False),
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / ".amos-dask" / "audits.jsonl"


@pytest.fixture
def kept(path: Path, samples: list[Sample]) -> dict[str, Audit]:
    """Return the audits of all samples, appended one after the other."""
    log = AuditLog(path, VERSION, samples)
    audits = {sample.sample_id: an_audit(sample) for sample in samples}
    for audit in audits.values():
        log.append(audit)
    return audits


def read(path: Path, samples: list[Sample]) -> dict[str, Audit]:
    return AuditLog(path, VERSION, samples).read()


def test_a_log_that_is_not_there_is_empty(path: Path, samples: list[Sample]) -> None:
    assert read(path, samples) == {}
    assert not path.parent.exists()


def test_audits_come_back_equal(path: Path, samples: list[Sample], kept: dict[str, Audit]) -> None:
    found = read(path, samples)
    assert found == kept
    assert {hash(audit) for audit in found.values()} == {hash(audit) for audit in kept.values()}


def test_audits_of_another_version_do_not_hold(
    path: Path, samples: list[Sample], kept: dict[str, Audit]
) -> None:
    assert AuditLog(path, VERSION + 1, samples).read() == {}


def rewrite(file: Path, sample: Sample) -> Sample:
    file.write_bytes(gzip.compress(b"other voxels", mtime=0))
    return sample


def remove(file: Path, sample: Sample) -> Sample:
    file.unlink()
    return sample


CHANGES: dict[str, Callable[[Path, Sample], Sample]] = {
    "other content": rewrite,
    "out of reach": remove,
    "another name": lambda file, s: replace(s, mask=replace(s.mask, path="labelsVa/x.nii.gz")),  # type: ignore[type-var]
    "no mask": lambda file, s: replace(s, mask=None),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_audit_of_other_files_does_not_hold(
    path: Path, samples: list[Sample], kept: dict[str, Audit], change: str
) -> None:
    mask = samples[1].mask
    assert mask is not None
    samples[1] = CHANGES[change](Path(mask.location), samples[1])
    assert list(read(path, samples)) == ["amos_0001", "amos_0500"]


def test_a_mask_that_was_added_is_looked_at(
    path: Path, samples: list[Sample], kept: dict[str, Audit]
) -> None:
    samples[2] = replace(samples[2], mask=samples[0].mask)
    assert list(read(path, samples)) == ["amos_0001", "amos_0004"]


def test_samples_that_are_gone_are_left_out(
    path: Path, samples: list[Sample], kept: dict[str, Audit]
) -> None:
    assert list(read(path, samples[1:])) == ["amos_0004", "amos_0500"]


def test_a_file_of_which_nothing_can_be_told_is_looked_at_again(path: Path) -> None:
    ref = FileRef("a.nii.gz", "https://host/a.nii.gz", 5)
    sample = Sample("0001", "train", "ct", "x", Metadata(), ref, None)
    AuditLog(path, VERSION, [sample]).append(an_audit(sample))
    assert read(path, [sample]) == {}
    assert not path.exists()  # it would grow with every run


@pytest.mark.parametrize("change", [{"crc32": 7}, {"etag": '"abc"'}])
def test_what_a_zip_or_a_server_says_of_a_file_is_enough(
    path: Path, change: dict[str, Any]
) -> None:
    ref = FileRef("a.nii.gz", "https://host/a.nii.gz", 5, **change)
    sample = Sample("0001", "train", "ct", "x", Metadata(), ref, None)
    AuditLog(path, VERSION, [sample]).append(an_audit(sample))
    assert list(read(path, [sample])) == ["amos_0001"]
    longer = replace(sample, volume=replace(ref, size=6))
    assert read(path, [longer]) == {}


# ---------------------------------------------------------------- a file that was cut or damaged


def test_the_later_of_two_audits_holds(
    path: Path, samples: list[Sample], kept: dict[str, Audit]
) -> None:
    later = replace(kept["amos_0004"], issues=())
    AuditLog(path, VERSION, samples).append(later)
    assert read(path, samples) == {**kept, "amos_0004": later}


def test_a_file_cut_anywhere_costs_the_last_audits_only(
    path: Path, samples: list[Sample], kept: dict[str, Audit]
) -> None:
    content = path.read_bytes()
    names = list(kept)
    for n_bytes in range(0, len(content), 7):
        path.write_bytes(content[:n_bytes])
        found = read(path, samples)
        assert list(found) == names[: len(found)]
        assert all(kept[name] == audit for name, audit in found.items())
        n_ends = content[: n_bytes + 1].count(b"\n{") - 1
        assert len(found) >= n_ends


def test_what_is_appended_to_a_cut_file_counts(
    path: Path, samples: list[Sample], kept: dict[str, Audit]
) -> None:
    path.write_bytes(path.read_bytes()[:-20])
    assert "amos_0500" not in read(path, samples)
    AuditLog(path, VERSION, samples).append(kept["amos_0500"])
    assert read(path, samples) == kept


@pytest.mark.parametrize(
    "line", ["", "5", "null", "[]", "{}", '{"key": 5, "audit": 5}', "\x00", "\xff\xfe", "{"]
)
def test_lines_that_say_nothing_are_passed_over(
    path: Path, samples: list[Sample], kept: dict[str, Audit], line: str
) -> None:
    content = path.read_bytes()
    path.write_bytes(line.encode("latin-1") + b"\n" + content)
    assert read(path, samples) == kept


@pytest.mark.parametrize("value", [None, 5, "text", [], {}, [1], [None], {"a": 1}])
def test_audits_of_another_form_are_passed_over(
    path: Path, samples: list[Sample], kept: dict[str, Audit], value: Any
) -> None:
    first, *others = path.read_text(encoding="utf-8").strip("\n").split("\n")
    content = json.loads(first)
    audit = content["audit"]
    wrong = [{**content, "audit": value}]
    wrong += [{**content, "audit": {**audit, key: value}} for key in audit]
    wrong += [{**content, "audit": {**audit, "files": [value]}}]
    for other in wrong:
        lines = [json.dumps(other), *others]
        path.write_text("\n".join(lines), encoding="utf-8")
        found = read(path, samples)
        assert {"amos_0004", "amos_0500"} <= found.keys()


def test_compacting_keeps_these_audits_and_no_others(
    path: Path, samples: list[Sample], kept: dict[str, Audit]
) -> None:
    some = {name: kept[name] for name in ("amos_0004", "amos_0500")}
    AuditLog(path, VERSION, samples).compact(some)
    assert read(path, samples) == some
    assert len(path.read_text(encoding="utf-8").splitlines()) >= 2
    assert path.read_text(encoding="utf-8").count("\n") == 1
    AuditLog(path, VERSION, samples).append(kept["amos_0001"])
    assert read(path, samples) == kept


def test_a_log_without_others_is_not_written_again(
    path: Path, samples: list[Sample], kept: dict[str, Audit]
) -> None:
    before = (path.stat().st_ino, path.read_bytes())
    log = AuditLog(path, VERSION, samples)
    log.compact(log.read())
    assert (path.stat().st_ino, path.read_bytes()) == before


def test_a_log_that_is_not_there_is_not_made(path: Path) -> None:
    ref = FileRef("a.nii.gz", "https://host/a.nii.gz", 5)  # of which nothing can be told
    sample = Sample("0001", "train", "ct", "x", Metadata(), ref, None)
    AuditLog(path, VERSION, [sample]).compact({sample.sample_id: an_audit(sample)})
    assert not path.exists()


@pytest.mark.parametrize("outdated", ["twice", "another version", "half a line", "gone"])
def test_what_is_outdated_leaves_the_log(
    path: Path, samples: list[Sample], kept: dict[str, Audit], outdated: str
) -> None:
    if outdated == "twice":
        AuditLog(path, VERSION, samples).append(kept["amos_0001"])
    elif outdated == "another version":
        AuditLog(path, VERSION - 1, samples).append(kept["amos_0001"])
    elif outdated == "half a line":
        path.write_text(path.read_text(encoding="utf-8") + "\n{", encoding="utf-8")
    else:
        samples, kept = samples[1:], {k: v for k, v in kept.items() if k != "amos_0001"}
    log = AuditLog(path, VERSION, samples)
    log.compact(log.read())
    assert read(path, samples) == kept
    assert path.read_text(encoding="utf-8").count("\n{") == len(kept) - 1
