"""Each step replaces its own issues and leaves the others."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.issues import CATALOGUE, Issue, make_issue
from amos_dask.records import Step
from amos_dask.tables.issue_files import IssueLog

quick = settings(max_examples=60, deadline=None, derandomize=True, database=None)
text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
issues = st.builds(
    Issue,
    code=st.sampled_from(sorted(CATALOGUE)),
    severity=st.sampled_from(["info", "warning", "error"]),
    sample=st.sampled_from(["", "amos_0001", "amos_0002"]),
    file=text,
    message=text,
    action=text,
)


def issue(sample: str, code: str = "bad_affine", message: str = "found", action: str = "") -> Issue:
    return make_issue(code, message, sample=sample, file="a.nii.gz", action=action)


@pytest.fixture
def log(tmp_path: Path) -> IssueLog:
    return IssueLog(tmp_path / ".amos-dask" / "issues.jsonl")


def test_a_log_that_is_not_there_is_empty(log: IssueLog) -> None:
    assert log.all() == []


@quick
@given(found=st.lists(issues, max_size=6))
def test_issues_come_back_once_each_and_sorted(
    tmp_path_factory: pytest.TempPathFactory, found: list[Issue]
) -> None:
    log = IssueLog(tmp_path_factory.getbasetemp() / "issues.jsonl")
    log.replace(Step.DENOISE, found)
    restored = log.all()
    assert set(restored) == set(found)
    assert len(restored) == len(set(found))
    keys = [(one.sample, one.file, one.code) for one in restored]
    assert keys == sorted(keys)


def test_a_step_replaces_its_own_issues_only(log: IssueLog) -> None:
    log.replace(Step.ARCHIVE_MANIFEST, [issue("amos_0001"), issue("amos_0002")])
    log.replace(Step.DENOISE, [issue("amos_0003")])
    log.replace(Step.ARCHIVE_MANIFEST, [issue("amos_0004")])
    assert [one.sample for one in log.all()] == ["amos_0003", "amos_0004"]
    log.replace(Step.ARCHIVE_MANIFEST, [])
    assert [one.sample for one in log.all()] == ["amos_0003"]


def test_what_headers_and_a_sample_say_is_said_as_the_sample_says(log: IssueLog) -> None:
    log.replace(Step.ARCHIVE_MANIFEST, [issue("amos_0001", action="no mask written")])
    log.replace(Step.CONFIRM_PAIRS, [issue("amos_0001", action="left as it is")])
    assert [one.action for one in log.all()] == ["left as it is"]
    log.replace(Step.CONFIRM_PAIRS, [])
    assert [one.action for one in log.all()] == ["no mask written"]


def test_an_issue_that_two_steps_found_is_told_once_until_both_are_rid_of_it(
    log: IssueLog,
) -> None:
    log.replace(Step.DENOISE, [issue("amos_0001")])
    log.replace(Step.BINARY_MASKS, [issue("amos_0001")])
    assert log.all() == [issue("amos_0001")]
    log.replace(Step.DENOISE, [])
    assert log.all() == [issue("amos_0001")]
    log.replace(Step.BINARY_MASKS, [])
    assert log.all() == []


def test_a_selection_of_samples_leaves_the_issues_of_the_others(log: IssueLog) -> None:
    log.replace(Step.DENOISE, [issue(f"amos_000{n}") for n in (1, 2, 3)])
    log.replace(Step.DENOISE, [issue("amos_0002", message="new")], samples={"amos_0002"})
    assert [(one.sample, one.message) for one in log.all()] == [
        ("amos_0001", "found"),
        ("amos_0002", "new"),
        ("amos_0003", "found"),
    ]
    log.replace(Step.DENOISE, [], samples={"amos_0001"})
    assert [one.sample for one in log.all()] == ["amos_0002", "amos_0003"]


def test_an_issue_about_no_sample_is_replaced_with_every_run_of_its_step(log: IssueLog) -> None:
    log.replace(Step.ARCHIVE_MANIFEST, [issue("", "subset_counts", "old"), issue("amos_0001")])
    log.replace(Step.ARCHIVE_MANIFEST, [issue("", "subset_counts", "new")], samples={"amos_0002"})
    assert [(one.sample, one.message) for one in log.all()] == [
        ("", "new"),
        ("amos_0001", "found"),
    ]


def test_scopes_of_one_step_stand_side_by_side(log: IssueLog) -> None:
    log.replace(Step.DATASET_MANIFEST, [issue("amos_0001")], scope="ct")
    log.replace(Step.DATASET_MANIFEST, [issue("amos_0501")], scope="mri")
    log.replace(Step.DATASET_MANIFEST, [], scope="ct")
    assert [one.sample for one in log.all()] == ["amos_0501"]


def test_the_order_does_not_depend_on_the_order_of_finding(tmp_path: Path) -> None:
    found = [
        Issue("bad_affine", "error", "amos_0001", "a", "same", f"action {n}") for n in range(40)
    ]
    first, second = IssueLog(tmp_path / "1"), IssueLog(tmp_path / "2")
    first.replace(Step.DENOISE, found)
    second.replace(Step.DENOISE, found[::-1])
    assert first.all() == second.all()


def test_odd_characters_do_not_break_the_file(log: IssueLog) -> None:
    odd = issue("amos_0001", message='a\u2028b\x85c\nd\re\x0bf"\\ ü')
    log.replace(Step.DENOISE, [odd])
    log.replace(Step.BINARY_MASKS, [issue("amos_0002")])
    assert log.all() == [odd, issue("amos_0002")]


def test_nothing_but_the_log_is_left(log: IssueLog, tmp_path: Path) -> None:
    log.replace(Step.DENOISE, [issue("amos_0001")])
    log.save()
    assert [path.name for path in (tmp_path / ".amos-dask").iterdir()] == ["issues.jsonl"]


# ---------------------------------------------------------------- kept on disk


@quick
@given(found=st.lists(issues, max_size=6), scope=text)
def test_what_was_saved_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, found: list[Issue], scope: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "saved.jsonl"
    path.unlink(missing_ok=True)
    log = IssueLog(path)
    log.replace(Step.DENOISE, found)
    log.replace(Step.DATASET_MANIFEST, found, scope=scope)
    log.save()
    assert IssueLog(path).all() == log.all()
    assert IssueLog(path).all(besides=Step.DENOISE) == log.all(besides=Step.DENOISE)
    again = IssueLog(path)
    again.replace(Step.DENOISE, [])
    again.replace(Step.DATASET_MANIFEST, [], scope=scope)
    assert again.all() == []


def test_nothing_is_written_before_it_is_saved(log: IssueLog, tmp_path: Path) -> None:
    log.replace(Step.DENOISE, [issue("amos_0001")])
    assert list(tmp_path.iterdir()) == []


def test_saving_twice_gives_the_same_bytes(log: IssueLog, tmp_path: Path) -> None:
    path = tmp_path / ".amos-dask" / "issues.jsonl"
    log.replace(Step.DENOISE, [issue("amos_0002"), issue("amos_0001")])
    log.save()
    first = path.read_bytes()
    again = IssueLog(path)
    again.save()
    assert path.read_bytes() == first


# ---------------------------------------------------------------- besides a step


def test_a_step_can_be_left_out_with_all_its_scopes(log: IssueLog) -> None:
    log.replace(Step.DENOISE, [issue("amos_0001")])
    log.replace(Step.DATASET_MANIFEST, [issue("amos_0002")], scope="grouped")
    log.replace(Step.DATASET_MANIFEST, [issue("amos_0003")], scope="grouped/AMOS-CT/train")
    log.replace(Step.DATASET_MANIFEST, [issue("amos_0004")])
    assert log.all(besides=Step.DATASET_MANIFEST) == [issue("amos_0001")]
    assert [i.sample[-1] for i in log.all(besides=Step.DENOISE)] == ["2", "3", "4"]
    assert log.all(besides=(Step.DATASET_MANIFEST, Step.DENOISE)) == []
    assert len(log.all(besides=())) == 4


def test_what_two_steps_found_stays_when_one_is_left_out(log: IssueLog) -> None:
    for step in (Step.DENOISE, Step.BINARY_MASKS):
        log.replace(step, [issue("amos_0001")])
    assert log.all(besides=Step.DENOISE) == [issue("amos_0001")]


def test_a_scope_takes_what_lies_below_it_along(log: IssueLog) -> None:
    log.replace(Step.DATASET_MANIFEST, [issue("amos_0001")], scope="grouped/AMOS-CT")
    log.replace(Step.DATASET_MANIFEST, [issue("amos_0002")], scope="grouped_too")
    log.replace(Step.DATASET_MANIFEST, [], scope="grouped")
    assert [one.sample for one in log.all()] == ["amos_0002"]


# ---------------------------------------------------------------- a file that was cut or damaged


def saved(path: Path) -> list[bytes]:
    """Return the lines of a log of three issues."""
    log = IssueLog(path)
    log.replace(Step.DENOISE, [issue(f"amos_000{n}", message="größe") for n in (1, 2, 3)])
    log.save()
    return path.read_bytes().splitlines(keepends=True)


def test_a_log_cut_anywhere_has_what_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "issues.jsonl"
    content = b"".join(saved(path))
    for n_bytes in range(len(content)):
        path.write_bytes(content[:n_bytes])
        found = [one.sample for one in IssueLog(path).all()]
        assert found == ["amos_0001", "amos_0002", "amos_0003"][: len(found)]
        assert len(found) >= content[:n_bytes].count(b"\n")


@pytest.mark.parametrize(
    "line",
    [b"5", b"null", b"[]", b"{}", b'{"step": 5}', b'{"step": "denoise"}', b"\x00\x00", b"\xff{"],
)
def test_a_line_that_says_nothing_is_passed_over(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "issues.jsonl"
    first, *others = saved(path)
    path.write_bytes(first + line + b"\n" + b"".join(others))
    assert [one.sample for one in IssueLog(path).all()] == ["amos_0001", "amos_0002", "amos_0003"]


def test_an_issue_of_another_form_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "issues.jsonl"
    first, *others = saved(path)
    path.write_bytes(first.replace(b'"amos_0001"', b"1") + b"".join(others))
    assert [one.sample for one in IssueLog(path).all()] == ["amos_0002", "amos_0003"]
