"""The catalogue of issues and the shape of one issue."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from amos_dask.issues import CATALOGUE, Issue, in_order, make_issue

# Severities that SPEC fixes.
SPECIFIED = {
    "modality_mismatch": "warning",
    "unknown_scanner": "warning",
    "mr_metadata_offset": "info",
    "mr_metadata_offset_unknown": "warning",
    "subset_counts": "info",
    "bad_spacing": "warning",
    "bad_affine": "error",
    "shape_mismatch": "error",
    "bad_mask_values": "error",
    "unknown_label": "error",
    "mask_without_volume": "error",
    "no_samples": "info",
    "unreadable_volume": "error",
    "unreadable_mask": "error",
}


@pytest.mark.parametrize("code", SPECIFIED)
def test_a_code_has_the_promised_severity(code: str) -> None:
    assert make_issue(code, "found").severity == SPECIFIED[code]


@pytest.mark.parametrize("code", CATALOGUE)
def test_a_catalogue_row_is_complete(code: str) -> None:
    assert code == code.lower()
    assert code.replace("_", "").isalnum()
    assert CATALOGUE[code] in ("info", "warning", "error")


def test_an_issue_has_the_six_columns_in_order() -> None:
    assert [field.name for field in dataclasses.fields(Issue)] == [
        "code",
        "severity",
        "sample",
        "file",
        "message",
        "action",
    ]


def test_what_is_not_known_is_empty_text() -> None:
    issue = make_issue("junk_ignored", "3 files")
    assert (issue.sample, issue.file, issue.action) == ("", "", "")


def test_a_severity_can_be_raised() -> None:
    issue = make_issue("affine_repaired", "by 2", severity="warning")
    assert (issue.code, issue.severity) == ("affine_repaired", "warning")


def test_a_code_outside_the_catalogue_is_a_mistake() -> None:
    with pytest.raises(KeyError):
        make_issue("no_such_code", "found")


def test_issues_sort_by_sample_then_file_then_code() -> None:
    def issue(sample: str, file: str, code: str) -> Issue:
        return make_issue(code, "found", sample=sample, file=file)

    ordered = [
        issue("", "z", "subset_counts"),
        issue("amos_0001", "a", "unknown_label"),
        issue("amos_0001", "b", "bad_affine"),
        issue("amos_0001", "b", "bad_spacing"),
        issue("amos_0002", "a", "bad_affine"),
    ]
    shuffled = [ordered[place] for place in (3, 0, 4, 2, 1)]
    assert in_order(shuffled) == ordered


def test_an_issue_travels_between_processes_and_cannot_be_changed() -> None:
    issue = make_issue("bad_affine", "found", sample="amos_0001")
    assert pickle.loads(pickle.dumps(issue)) == issue
    with pytest.raises(dataclasses.FrozenInstanceError):
        issue.code = "bad_spacing"  # type: ignore[misc]
