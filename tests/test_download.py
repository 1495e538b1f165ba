"""``download`` against a server on loopback that cuts, lies and changes its mind."""

from __future__ import annotations

import fcntl
import hashlib
import importlib
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from samples import discover_one
from scripted_server import Plan, ScriptedServer

import amos_dask
from amos_dask import AmosDaskError, CommandResult, transfer
from amos_dask.cli import main
from amos_dask.datasets import AMOS22, PublishedFile
from amos_dask.engine.events import BytesDone, Event, Notice, TaskEnded, WorkEnded, WorkStarted
from amos_dask.root.staging import is_leftover

home = importlib.import_module("amos_dask.download")  # not the function of that name
N_BYTES, ZIP_NAME = 300_000, "amos22.zip"
CONTENT = random.Random(1).randbytes(N_BYTES)
OTHER = random.Random(2).randbytes(N_BYTES)
CSV = b"amos_id,Patient's Sex\n1,F\n"
CSV_NAME = "labeled_data_meta_0000_0599.csv"
UNLABELLED = ("unlabeled_data_meta_5000_5399.csv", "amos22_unlabeled_ct_5000_5399.zip")
API = "/api/records/7262581"
MIRROR = "/mirror/amos"
PARTIAL = ".amos22.zip.part"


def file_path(name: str) -> str:
    return f"{API}/files/{name}/content"


ZIP = file_path("amos22.zip")


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


class Zenodo(ScriptedServer):
    """A server with the record, which describes its files truly."""

    def publish(self, **files: bytes) -> None:
        entries = []
        for name, content in files.items():
            self.files[file_path(name)] = content
            self.files[f"{MIRROR}/{name}"] = content
            link = {"self": self.url + file_path(name)}
            entries.append({"key": name, "size": len(content), "checksum": f"md5:{md5(content)}",
                            "links": link})  # fmt: skip
        self.describe(entries)

    def describe(self, entries: object) -> None:
        self.files[API] = json.dumps({"files": entries}).encode()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that would have been made."""
    waits: list[float] = []
    monkeypatch.setattr(home, "sleep", waits.append)
    monkeypatch.setattr(transfer, "sleep", waits.append)
    monkeypatch.setattr(transfer, "TIMEOUT_SECONDS", 0.5)
    return waits


@pytest.fixture
def zenodo(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> Iterator[Zenodo]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(transfer, "SECONDS_BETWEEN_EVENTS", 0)
    server = Zenodo()
    published = PublishedFile(
        f"{server.url}/records/7262581", md5(CONTENT), N_BYTES + 50, 100, name="amos22.zip"
    )
    unlabelled = replace(AMOS22.unlabelled, published=UNLABELLED)
    definition = replace(AMOS22, published_zip=published, unlabelled=unlabelled)
    monkeypatch.setattr(home, "find_definition", lambda _: definition)
    with server.running():
        server.publish(**{"amos22.zip": CONTENT, CSV_NAME: CSV})
        yield server


def download(root: Path, listener: Callable[[Event], None] | str = "none", **settings: Any) -> Any:
    return amos_dask.download(root, progress=listener, **settings)


def names(root: Path) -> set[str]:
    return {path.name for path in root.iterdir()} if root.exists() else set()


def require_complete(root: Path) -> None:
    assert names(root) == {"amos22.zip", CSV_NAME}
    assert (root / "amos22.zip").read_bytes() == CONTENT
    assert (root / CSV_NAME).read_bytes() == CSV


def refusal(root: Path, **settings: Any) -> str:
    """Download in vain; return the sentence that says why."""
    with pytest.raises(AmosDaskError) as caught:
        download(root, **settings)
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    assert not (root / "amos22.zip").exists()
    return text


def leave_partial(root: Path, content: bytes) -> None:
    """Leave what a run that was killed leaves."""
    root.mkdir(parents=True, exist_ok=True)
    (root / PARTIAL).write_bytes(content)


# ---------------------------------------------------------------- all is well


@pytest.mark.parametrize("plan", [Plan(), Plan(in_chunks=True), Plan(says_length=False),
                                  Plan(etag=None)])  # fmt: skip
def test_both_files_arrive(zenodo: Zenodo, root: Path, plan: Plan, waits: list[float]) -> None:
    zenodo.next(ZIP, plan)
    result = download(root)
    require_complete(root)
    assert isinstance(result, CommandResult)
    assert result.outputs == (root / CSV_NAME, root / "amos22.zip")
    assert (result.exit_code, result.n_samples, result.issues) == (0, 2, ())
    assert result.summary == f"{root}: 2 files complete."
    assert [asked.path for asked in zenodo.asked] == [API, file_path(CSV_NAME), ZIP]
    assert waits == []


def test_what_is_there_is_left_alone(zenodo: Zenodo, root: Path) -> None:
    download(root)
    zenodo.asked.clear()
    before = {path: path.stat().st_mtime_ns for path in root.iterdir()}
    result = download(root)
    assert [asked.path for asked in zenodo.asked] == [API]
    assert {path: path.stat().st_mtime_ns for path in root.iterdir()} == before
    assert result.outputs == ()
    assert result.summary == f"{root}: 2 files complete, 2 of them from before."


def test_a_mirror_serves_the_files_by_name(zenodo: Zenodo, root: Path) -> None:
    download(root, source=f"{zenodo.url}{MIRROR}/")
    require_complete(root)
    assert [asked.path for asked in zenodo.asked] == [
        API, f"{MIRROR}/{CSV_NAME}", f"{MIRROR}/amos22.zip"
    ]  # fmt: skip


def test_a_mirror_is_held_against_the_published_checksum(zenodo: Zenodo, root: Path) -> None:
    zenodo.always(f"{MIRROR}/amos22.zip", Plan(content=OTHER))
    text = refusal(root, source=zenodo.url + MIRROR)
    assert md5(CONTENT) in text
    assert md5(OTHER) in text


def test_a_mirror_will_do_without_zenodo(zenodo: Zenodo, root: Path, waits: list[float]) -> None:
    zenodo.always(API, Plan(503))
    result = download(root, source=zenodo.url + MIRROR)
    require_complete(root)
    assert result.summary == (f"{root}: 2 files complete; no checksum was to be had of {CSV_NAME}.")
    assert [asked.path for asked in zenodo.asked].count(API) == 1
    assert waits == []


@pytest.mark.parametrize("source", [
    "ftp://a.org/b", "downloads", "https://u:geheim@a.org", "https://a.org/?x=1", "https://a.org/#x",
    "file:///etc", "data:,x", "http://", "http:///x", "http://a:port/b", "http://[::1/b", "",
])  # fmt: skip
def test_a_mirror_is_a_plain_http_url(zenodo: Zenodo, root: Path, source: str) -> None:
    assert "geheim" not in refusal(root, source=source)
    assert zenodo.asked == []
    assert not root.exists()


def test_run_finds_what_was_downloaded(
    zenodo: Zenodo, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = amos_dask.write_archive(tmp_path / "zenodo", n_ct=2, n_mri=1, size="tiny", form="zip")
    content = archive.path.read_bytes()
    published = PublishedFile(
        f"{zenodo.url}/records/7262581", md5(content), len(content), name="amos22.zip"
    )
    definition = replace(AMOS22, published_zip=published)
    monkeypatch.setattr(home, "find_definition", lambda _: definition)
    zenodo.publish(**{"amos22.zip": content, CSV_NAME: archive.metadata_path.read_bytes()})
    download(root)
    plan = amos_dask.plan_run(root)
    assert plan.archive == str(root / "amos22.zip")
    assert len(plan.samples) == 3
    assert not plan.samples["folder"].str.contains("/UND/").all()  # the csv was found as well


# ---------------------------------------------------------------- going on


@pytest.mark.parametrize("place", [1, 8191, 65_536, N_BYTES // 2, N_BYTES - 1])
def test_a_cut_is_gone_on_from(zenodo: Zenodo, root: Path, place: int, waits: list[float]) -> None:
    zenodo.next(ZIP, Plan(cut_after=place))
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, f"bytes={place}-"]
    assert zenodo.asked[-1].if_range == '"one"'
    assert waits == [1]


def test_a_cut_before_the_first_byte(zenodo: Zenodo, root: Path) -> None:
    zenodo.next(ZIP, Plan(cut_after=0))
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, None]


def test_any_number_of_cuts_is_survived_as_long_as_something_comes(
    zenodo: Zenodo, root: Path, waits: list[float]
) -> None:
    zenodo.always(ZIP, Plan(cut_after=10_000))
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, *(f"bytes={n}-" for n in range(10_000, N_BYTES, 10_000))]
    assert waits == [1] * 29  # the last piece ends where the file does


def test_silence_is_a_cut(zenodo: Zenodo, root: Path) -> None:
    zenodo.next(ZIP, Plan(cut_after=10_000, then_silent=True))
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, "bytes=10000-"]


def test_nothing_new_on_every_attempt_is_given_up_and_the_next_run_goes_on(
    zenodo: Zenodo, root: Path, waits: list[float]
) -> None:
    zenodo.next(ZIP, Plan(cut_after=10_000))
    zenodo.always(ZIP, Plan(cut_after=0))
    text = refusal(root)
    assert "cut; 10000 bytes are kept; run the same command again" in text
    assert waits == [1, 2, 4, 8, 15, 30, 60]
    assert (root / PARTIAL).read_bytes() == CONTENT[:10_000]
    zenodo.always(ZIP, Plan())
    zenodo.asked.clear()
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == ["bytes=10000-"]


def test_a_server_without_ranges_begins_anew(zenodo: Zenodo, root: Path) -> None:
    zenodo.next(ZIP, Plan(cut_after=200_000), *[Plan(knows_ranges=False)] * 2)
    notices: list[Event] = []
    download(root, notices.append)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, "bytes=200000-"]
    assert Notice("amos22.zip: the server begins anew", "warning") in notices


def test_a_server_without_ranges_that_cuts_is_given_up(
    zenodo: Zenodo, root: Path, waits: list[float]
) -> None:
    zenodo.always(ZIP, Plan(knows_ranges=False, cut_after=10_000))
    assert "cut" in refusal(root)
    assert len(waits) == 7


@pytest.mark.parametrize("content_range", ["bytes 0-299999/300000", "bytes 9-8/7", "nonsense"])
def test_a_wrong_range_is_not_written(zenodo: Zenodo, root: Path, content_range: str) -> None:
    zenodo.next(ZIP, Plan(cut_after=10_000), Plan(content_range=content_range))
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, "bytes=10000-", None]


def test_the_rest_of_a_file_of_another_size_is_not_written(zenodo: Zenodo, root: Path) -> None:
    zenodo.next(ZIP, Plan(cut_after=10_000), Plan(content_range="bytes 10000-299999/300001"))
    assert "has 300001 bytes of it, published are 300000" in refusal(root)
    assert (root / PARTIAL).read_bytes() == CONTENT[:10_000]


def test_a_file_that_changed_between_attempts_is_fetched_anew(zenodo: Zenodo, root: Path) -> None:
    zenodo.next(ZIP, Plan(cut_after=10_000, content=OTHER, etag='"zero"'))
    download(root)
    require_complete(root)
    assert zenodo.asked[-1].if_range == '"zero"'


def test_a_changed_file_whose_server_does_not_care_is_fetched_anew(
    zenodo: Zenodo, root: Path
) -> None:
    zenodo.next(ZIP, Plan(cut_after=10_000, content=OTHER, etag='"zero"'),
                Plan(heeds_if_range=False))  # fmt: skip
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, "bytes=10000-", None]


@pytest.mark.parametrize("etag", ['W/"weak"', "bare", None])
def test_an_etag_that_stands_for_nothing_exact_is_not_sent(
    zenodo: Zenodo, root: Path, etag: str | None
) -> None:
    zenodo.next(ZIP, Plan(cut_after=10_000, etag=etag))
    download(root)
    require_complete(root)
    assert (zenodo.asked[-1].range, zenodo.asked[-1].if_range) == ("bytes=10000-", None)


def test_without_a_checksum_only_the_same_file_is_gone_on_with(zenodo: Zenodo, root: Path) -> None:
    zenodo.describe([])
    root.mkdir()
    (root / f".{CSV_NAME}.part").write_bytes(b"something else")
    download(root)
    require_complete(root)
    assert zenodo.ranges(file_path(CSV_NAME)) == [None]


@pytest.mark.parametrize(("etag", "second"), [('"one"', "bytes=9-"), (None, None)])
def test_without_a_checksum_only_an_etag_tells_that_a_rest_belongs_to_it(
    zenodo: Zenodo, root: Path, etag: str | None, second: str | None
) -> None:
    zenodo.describe([])
    zenodo.next(file_path(CSV_NAME), Plan(cut_after=9, etag=etag))
    download(root)
    require_complete(root)
    assert zenodo.ranges(file_path(CSV_NAME)) == [None, second]


def test_a_partial_file_that_is_complete_needs_no_request(zenodo: Zenodo, root: Path) -> None:
    leave_partial(root, CONTENT)
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == []


@pytest.mark.parametrize("content", [OTHER, CONTENT + b"more", OTHER[:10_000]])
def test_a_partial_file_of_something_else_is_fetched_anew(
    zenodo: Zenodo, root: Path, content: bytes
) -> None:
    leave_partial(root, content)
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP)[-1] is None


def test_a_partial_file_of_an_approximate_size_is_found_to_be_complete(
    zenodo: Zenodo, root: Path
) -> None:
    zenodo.files[API] = b"no record"
    zenodo.next(ZIP, Plan(416, {"Content-Range": f"bytes */{N_BYTES}"}))
    leave_partial(root, CONTENT)
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [f"bytes={N_BYTES}-"]


# ---------------------------------------------------------------- troubles of the server


def test_troubles_pass(zenodo: Zenodo, root: Path, waits: list[float]) -> None:
    zenodo.next(ZIP, Plan(500), Plan(503), Plan(502))
    download(root)
    require_complete(root)
    assert waits == [1, 2, 4]


def test_a_server_that_asks_to_wait_is_obeyed(
    zenodo: Zenodo, root: Path, waits: list[float]
) -> None:
    zenodo.next(ZIP, Plan(429, {"Retry-After": "77"}))
    notices: list[Event] = []
    download(root, notices.append)
    require_complete(root)
    assert waits == [77]
    answer = "amos22.zip: the server answers 429 Too Many Requests and asks to wait 77 s"
    assert Notice(f"{answer}; next attempt in 77 s", "warning") in notices


def test_a_server_that_asks_for_hours_is_not_waited_for(
    zenodo: Zenodo, root: Path, waits: list[float]
) -> None:
    zenodo.next(ZIP, Plan(429, {"Retry-After": "86400"}))
    assert "asks to wait" in refusal(root)
    assert waits == []


def test_troubles_without_end_are_given_up(zenodo: Zenodo, root: Path, waits: list[float]) -> None:
    zenodo.always(ZIP, Plan(500))
    assert "answers 500" in refusal(root)
    assert waits == [1, 2, 4, 8, 15, 30, 60]
    assert names(root) == {CSV_NAME}


def test_a_file_that_is_not_there_is_one_sentence(zenodo: Zenodo, root: Path) -> None:
    text = refusal(root, source=f"{zenodo.url}/nowhere")
    assert f"{zenodo.url}/nowhere/{CSV_NAME}: the server answers 404" in text
    assert not root.exists()


def test_no_network_is_one_sentence_and_exit_1(
    zenodo: Zenodo, root: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        where = f"http://127.0.0.1:{taken.getsockname()[1]}/records/7262581"
        published = PublishedFile(where, md5(CONTENT), N_BYTES, name="amos22.zip")
        definition = replace(AMOS22, published_zip=published)
        monkeypatch.setattr(home, "find_definition", lambda _: definition)
        result = CliRunner().invoke(main, ["download", str(root), "--quiet"])
    assert result.exit_code == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("amos-dask: http://127.0.0.1:")
    assert "cannot be reached (Connection refused); run the same command again later." in line
    assert not root.exists()
    assert waits == [1, 2, 1, 2, 4, 8, 15, 30, 60]  # for the record, then for the file


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451, 204])
def test_other_answers_are_final(
    zenodo: Zenodo, root: Path, waits: list[float], status: int
) -> None:
    zenodo.next(ZIP, Plan(status))
    assert f"answers {status}" in refusal(root)
    assert waits == []


@pytest.mark.parametrize("status", [206, 416])
def test_a_part_that_nobody_asked_for_is_asked_for_again(
    zenodo: Zenodo, root: Path, status: int
) -> None:
    zenodo.next(ZIP, Plan(status))
    download(root)
    require_complete(root)


def test_a_date_to_wait_for_is_understood(zenodo: Zenodo, root: Path, waits: list[float]) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    zenodo.next(ZIP, Plan(503, {"Retry-After": date}))
    download(root)
    assert waits == [pytest.approx(60, abs=2)]


@pytest.mark.parametrize("value", ["soon", "-5", ""])
def test_a_wait_that_is_not_understood_is_none(
    zenodo: Zenodo, root: Path, waits: list[float], value: str
) -> None:
    zenodo.next(ZIP, Plan(503, {"Retry-After": value}))
    download(root)
    assert waits == [1]


def test_a_packed_file_is_refused(zenodo: Zenodo, root: Path) -> None:
    zenodo.next(ZIP, Plan(headers={"Content-Encoding": "gzip"}))
    assert "packed" in refusal(root)


# ---------------------------------------------------------------- where it leads


def test_redirects_are_followed_with_the_range(zenodo: Zenodo, root: Path) -> None:
    to = Plan(302, {"Location": f"{MIRROR}/amos22.zip"})
    zenodo.next(ZIP, to, to)
    zenodo.next(f"{MIRROR}/amos22.zip", Plan(cut_after=10_000))
    download(root)
    require_complete(root)
    assert zenodo.ranges(f"{MIRROR}/amos22.zip") == [None, "bytes=10000-"]
    assert [asked.if_range for asked in zenodo.asked[-2:]] == ['"one"'] * 2


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http:///x"]
)
def test_redirects_lead_to_http_only(
    zenodo: Zenodo, root: Path, waits: list[float], target: str
) -> None:
    zenodo.always(ZIP, Plan(302, {"Location": target}))
    assert refusal(root).startswith(zenodo.url + ZIP)
    assert waits == []


def test_redirects_in_a_circle_end(zenodo: Zenodo, root: Path) -> None:
    zenodo.always(ZIP, Plan(302, {"Location": ZIP}))
    assert "redirects" in refusal(root)
    assert len(zenodo.ranges(ZIP)) < 20


@pytest.mark.parametrize("login", ["", "some%20one:secret@"])
def test_the_proxy_of_the_environment_is_asked(
    zenodo: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch, login: str
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", zenodo.url.replace("://", f"://{login}"))
    for name in ("amos22.zip", CSV_NAME):
        zenodo.files[f"http://elsewhere.test/{name}"] = zenodo.files[f"{MIRROR}/{name}"]
    zenodo.files[f"{zenodo.url}{API}"] = zenodo.files[API]
    download(root, source="http://elsewhere.test")
    require_complete(root)
    expected = f"Basic {b64encode(b'some one:secret').decode()}" if login else None
    assert {asked.proxy_login for asked in zenodo.asked} == {expected}


# ---------------------------------------------------------------- lies


@pytest.mark.parametrize("longer_by", [-1000, -1, 1, 1000])
def test_another_size_than_published_is_refused_at_once(
    zenodo: Zenodo, root: Path, longer_by: int
) -> None:
    leave_partial(root, CONTENT[:10_000])
    zenodo.always(ZIP, Plan(longer_by=longer_by, knows_ranges=False))
    text = refusal(root)
    assert f"has {N_BYTES + longer_by} bytes of it, published are {N_BYTES}" in text
    assert (root / PARTIAL).read_bytes() == CONTENT[:10_000]


@pytest.mark.parametrize("longer_by", [-50, 50])
def test_a_lie_within_what_is_known_of_the_size_is_found_by_the_checksum(
    zenodo: Zenodo, root: Path, longer_by: int
) -> None:
    zenodo.files[API] = b"no record"
    zenodo.next(ZIP, Plan(longer_by=longer_by))
    if longer_by > 0:  # all that there is has come: that the server ends too early says nothing
        download(root)
        require_complete(root)
    else:
        assert f"MD5 {md5(CONTENT[:longer_by])}" in refusal(root)
        assert names(root) == {CSV_NAME}


@pytest.mark.parametrize("is_exact", [True, False])
def test_an_end_that_nobody_announced_is_a_cut_when_too_little_came(
    zenodo: Zenodo, root: Path, is_exact: bool
) -> None:
    if not is_exact:
        zenodo.files[API] = b"no record"
    zenodo.next(ZIP, Plan(says_length=False, cut_after=10_000))
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, "bytes=10000-"]


@pytest.mark.parametrize("longer_by", [-1000, 1000])
def test_a_range_reply_that_lies_about_its_length(
    zenodo: Zenodo, root: Path, longer_by: int
) -> None:
    zenodo.next(ZIP, Plan(cut_after=10_000), Plan(longer_by=longer_by))
    download(root)
    require_complete(root)


@pytest.mark.parametrize("plan", [Plan(in_chunks=True), Plan(says_length=False)])
def test_more_than_published_is_not_written(zenodo: Zenodo, root: Path, plan: Plan) -> None:
    zenodo.always(ZIP, replace(plan, content=CONTENT + bytes(200_000)))
    assert f"sends more than the {N_BYTES} bytes" in refusal(root)
    assert (root / PARTIAL).stat().st_size <= N_BYTES


def test_a_wrong_checksum_is_not_published_and_not_kept(zenodo: Zenodo, root: Path) -> None:
    zenodo.next(ZIP, Plan(content=OTHER))
    text = refusal(root)
    assert f"has the MD5 {md5(OTHER)}, published is {md5(CONTENT)}" in text
    assert names(root) == {CSV_NAME}
    download(root)
    require_complete(root)


def test_a_record_of_another_zip_is_refused_before_anything_is_fetched(
    zenodo: Zenodo, root: Path
) -> None:
    zenodo.publish(**{"amos22.zip": OTHER, CSV_NAME: CSV})
    assert "look for a newer version of amos-dask" in refusal(root)
    assert [asked.path for asked in zenodo.asked] == [API]


def test_an_empty_file_is_none(zenodo: Zenodo, root: Path) -> None:
    zenodo.describe([])
    zenodo.files[file_path(CSV_NAME)] = b""
    assert "nothing in it" in refusal(root)
    assert not root.exists()


def test_a_log_in_page_does_not_cost_what_has_come(zenodo: Zenodo, root: Path) -> None:
    leave_partial(root, CONTENT[:10_000])
    page = Plan(content=b"<html>pay</html>", headers={"Content-Type": "text/html"}, in_chunks=True)
    zenodo.next(ZIP, replace(page, knows_ranges=False))
    assert "web page" in refusal(root)
    assert (root / PARTIAL).read_bytes() == CONTENT[:10_000]


# ---------------------------------------------------------------- the record


@pytest.mark.parametrize("content", [b"{", b"{}", b'{"files": [{"key": "amos22.zip"}]}'])
def test_without_a_usable_record_what_is_known_of_the_zip_does(
    zenodo: Zenodo, root: Path, content: bytes
) -> None:
    zenodo.files[API] = content
    result = download(root)
    require_complete(root)
    assert CSV_NAME in result.summary
    zenodo.asked.clear()
    download(root)  # of an approximate size, only the checksum tells that it is complete
    assert [asked.path for asked in zenodo.asked] == [API]


@pytest.mark.parametrize("entry", [
    {},
    {"size": None, "checksum": None},
    {"size": "5", "checksum": 5},
    {"size": -5, "checksum": "sha256:00"},
    {"size": True, "checksum": f"md5:{md5(CSV)}0"},
])  # fmt: skip
def test_what_the_record_lacks_is_not_known(
    zenodo: Zenodo, root: Path, entry: dict[str, Any]
) -> None:
    zenodo.describe([{"key": CSV_NAME, **entry}])
    result = download(root)
    require_complete(root)
    assert f"no checksum was to be had of {CSV_NAME}" in result.summary


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[1]", b"5", b"null", b"[" * 100_000,
                b'{"files": 5}', b'{"files": [5]}', b'{"files": [{}]}']
)  # fmt: skip
def test_a_record_that_is_none_is_said_and_not_needed(
    zenodo: Zenodo, root: Path, content: bytes
) -> None:
    zenodo.files[API] = content
    events: list[Event] = []
    download(root, events.append)
    require_complete(root)
    (said,) = (e.message for e in events if isinstance(e, Notice) and "understood" in e.message)
    assert said.endswith("Going by what is known of amos22.zip.")


def test_a_record_is_not_read_without_end(
    zenodo: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "_LARGEST_RECORD", 20)
    assert CSV_NAME in download(root).summary  # which the record would have told of


def test_names_in_the_record_lead_nowhere(zenodo: Zenodo, root: Path) -> None:
    entries = json.loads(zenodo.files[API])["files"]
    for name in ("../amos22.zip", "/tmp/amos22.zip", "../unlabeled_data_meta_5000_5399.csv"):
        entries.append({**entries[0], "key": name})
    zenodo.describe(entries)
    download(root)
    require_complete(root)
    assert names(root.parent) == {root.name}
    with pytest.raises(AmosDaskError, match="lists no unlabelled scans"):
        download(root, unlabelled=True)


def test_unlabelled_scans_come_on_request(zenodo: Zenodo, root: Path) -> None:
    files = {"amos22.zip": CONTENT, CSV_NAME: CSV, **dict.fromkeys(UNLABELLED, b"unlabelled")}
    zenodo.publish(**files)
    download(root)
    require_complete(root)
    result = download(root, unlabelled=True)
    assert names(root) == set(files)
    assert result.outputs == tuple(root / name for name in UNLABELLED)
    assert result.summary == f"{root}: 4 files complete, 2 of them from before."


def test_unlabelled_scans_come_from_a_mirror_that_has_them(zenodo: Zenodo, root: Path) -> None:
    for name in UNLABELLED:
        zenodo.files[f"{MIRROR}/{name}"] = b"unlabelled"
    result = download(root, unlabelled=True, source=zenodo.url + MIRROR)
    assert names(root) == {"amos22.zip", CSV_NAME, *UNLABELLED}
    assert result.summary.endswith(f"no checksum was to be had of {', '.join(UNLABELLED)}.")


# ---------------------------------------------------------------- what is there already


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x"])
def test_a_file_of_another_size_is_not_overwritten(
    zenodo: Zenodo, root: Path, content: bytes
) -> None:
    root.mkdir()
    (root / "amos22.zip").write_bytes(content)
    with pytest.raises(AmosDaskError, match=r"amos22\.zip: is there, but .* not overwritten"):
        download(root)
    assert (root / "amos22.zip").read_bytes() == content
    assert names(root) == {"amos22.zip"}


def test_of_an_approximate_size_the_checksum_tells(zenodo: Zenodo, root: Path) -> None:
    zenodo.files[API] = b"no record"
    root.mkdir()
    (root / "amos22.zip").write_bytes(OTHER)
    with pytest.raises(AmosDaskError, match="is not the published file"):
        download(root)


def test_what_is_not_a_file_is_in_the_way(zenodo: Zenodo, root: Path) -> None:
    (root / "amos22.zip").mkdir(parents=True)
    with pytest.raises(AmosDaskError, match="is not a file"):
        download(root)
    (root / "amos22.zip").rmdir()
    (root / "amos22.zip").symlink_to("nowhere")
    with pytest.raises(AmosDaskError, match="is not a file"):
        download(root)
    assert (root / "amos22.zip").is_symlink()


def test_a_file_in_the_place_of_the_folder(zenodo: Zenodo, root: Path) -> None:
    root.write_text("mine")
    with pytest.raises(AmosDaskError, match="is not a folder"):
        download(root)


@pytest.mark.parametrize("has_links", [True, False])
def test_a_file_that_appears_meanwhile_is_not_overwritten(
    zenodo: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
) -> None:
    if not has_links:
        monkeypatch.setattr(os, "link", no_links)

    def listen(event: Event) -> None:
        if isinstance(event, BytesDone) and event.name == "amos22.zip":
            (root / "amos22.zip").write_text("mine")

    with pytest.raises(AmosDaskError, match="appeared in the meantime"):
        download(root, listen)
    assert (root / "amos22.zip").read_text() == "mine"
    assert (root / PARTIAL).read_bytes() == CONTENT


def no_links(source: object, target: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def test_a_file_system_without_links_will_do(
    zenodo: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", no_links)
    download(root)
    require_complete(root)


def test_two_downloads_do_not_mix(zenodo: Zenodo, root: Path) -> None:
    leave_partial(root, CONTENT[:10_000])
    with (root / PARTIAL).open("rb+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another process is downloading it" in refusal(root)
    assert (root / PARTIAL).read_bytes() == CONTENT[:10_000]


def test_a_file_that_the_partial_file_is_another_name_of_is_not_written_to(
    zenodo: Zenodo, root: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").write_bytes(OTHER)
    root.mkdir()
    (root / PARTIAL).symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match="symbolic links"):
        download(root)
    (root / PARTIAL).unlink()
    (root / PARTIAL).hardlink_to(tmp_path / "mine")
    download(root)
    require_complete(root)
    assert (tmp_path / "mine").read_bytes() == OTHER


@pytest.mark.parametrize("is_renamed", [True, False])
def test_what_another_process_finished_meanwhile_is_not_written_to(
    zenodo: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch, is_renamed: bool
) -> None:
    def finish_first(file: Any, operation: int) -> None:
        final = partial_path.with_name(partial_path.name.removeprefix(".").removesuffix(".part"))
        if is_renamed:
            partial_path.rename(final)
        else:
            partial_path.unlink()

    partial_path = root / f".{CSV_NAME}.part"
    root.mkdir()
    partial_path.write_bytes(b"another's")
    monkeypatch.setattr(fcntl, "flock", finish_first)
    assert "another process" in refusal(root)
    assert (root / CSV_NAME).exists() == is_renamed
    assert not is_renamed or (root / CSV_NAME).read_bytes() == b"another's"


def test_a_file_system_without_locks_will_do(
    zenodo: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Any, operation: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    download(root)
    require_complete(root)


def test_folders_that_were_made_in_vain_are_removed(
    zenodo: Zenodo, root: Path, tmp_path: Path
) -> None:
    zenodo.always(file_path(CSV_NAME), Plan(404))
    refusal(root / "new" / "folder")
    assert list(tmp_path.iterdir()) == []
    root.mkdir()
    refusal(root)
    assert root.is_dir()


def test_partial_files_are_junk_to_discover_and_no_runs_leftovers(root: Path) -> None:
    leave_partial(root, b"begun")
    assert names(root) == {PARTIAL}
    assert not any(map(is_leftover, names(root)))
    (root / "imagesTr").mkdir()
    (root / "imagesTr" / "amos_0001.nii.gz").write_bytes(b"")
    found = {issue.code: issue.message for issue in discover_one(str(root)).issues}
    assert found["junk_ignored"] == "1 file: 1 of a partial download"
    assert "unexpected_file" not in found


# ---------------------------------------------------------------- the disk


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    zenodo: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(free=N_BYTES - 10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    assert "make room" in refusal(root)
    assert [asked.path for asked in zenodo.asked] == [API]
    assert not root.exists()
    leave_partial(root, CONTENT[: 10_000 + len(CSV)])  # what has come needs no room
    download(root)
    require_complete(root)


def test_a_size_that_only_the_server_tells_is_held_against_the_disk(
    zenodo: Zenodo, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zenodo.describe([])
    free = iter([10**9, len(CSV) - 1])  # at first, and when the csv's size is known
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    assert "make room" in refusal(root)
    assert not root.exists()


def test_a_disk_that_fills_up_is_one_sentence_and_the_next_run_goes_on(
    zenodo: Zenodo, root: Path
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (N_BYTES // 2, hard))  # as if there were no more
    try:
        result = CliRunner().invoke(main, ["download", str(root), "--quiet"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"amos-dask: {root / 'amos22.zip'}: File too large\n"
    assert (root / PARTIAL).read_bytes() == CONTENT[: N_BYTES // 2]
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, f"bytes={N_BYTES // 2}-"]


# ---------------------------------------------------------------- interruption


def test_ctrl_c_keeps_what_has_come(zenodo: Zenodo, root: Path) -> None:
    def listen(event: Event) -> None:
        if isinstance(event, BytesDone) and event.n_bytes >= 100_000:
            raise KeyboardInterrupt

    zenodo.next(ZIP, Plan(cut_after=100_000))
    with pytest.raises(KeyboardInterrupt):
        download(root, listen)
    assert (root / PARTIAL).read_bytes() == CONTENT[:100_000]
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, "bytes=100000-"]


PROGRAM = """
import importlib
import sys
from dataclasses import replace
module = importlib.import_module("amos_dask.download")
from amos_dask.datasets import AMOS22, PublishedFile
from amos_dask.cli import main
published = PublishedFile(sys.argv.pop(1), sys.argv.pop(1), 300_000, name="amos22.zip")
module.find_definition = lambda _: replace(AMOS22, published_zip=published)
main()
"""


@pytest.mark.parametrize(
    ("number", "exit_code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.integration),
        (signal.SIGTERM, 143),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_program_that_is_stopped_goes_on_next_time(
    zenodo: Zenodo, root: Path, number: signal.Signals, exit_code: int
) -> None:
    zenodo.next(ZIP, Plan(cut_after=100_000, then_silent=True))
    command = [sys.executable, "-c", PROGRAM, f"{zenodo.url}/records/7262581", md5(CONTENT),
               "download", str(root)]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as program:
        deadline = time.monotonic() + 30
        while not is_of_size(root / PARTIAL, 100_000) and time.monotonic() < deadline:
            time.sleep(0.02)
        program.send_signal(number)
        _, said = program.communicate(timeout=30)
    assert program.returncode == exit_code, said
    assert "Traceback" not in said
    if number != signal.SIGKILL:
        assert said.endswith("amos-dask: interrupted; run the same command again\n")
    assert (root / PARTIAL).read_bytes() == CONTENT[:100_000]
    download(root)
    require_complete(root)
    assert zenodo.ranges(ZIP) == [None, "bytes=100000-"]


def is_of_size(path: Path, n_bytes: int) -> bool:
    return path.exists() and path.stat().st_size >= n_bytes


# ---------------------------------------------------------------- progress


def test_progress_counts_files_and_bytes(zenodo: Zenodo, root: Path) -> None:
    zenodo.next(ZIP, Plan(cut_after=100_000))
    events: list[Event] = []
    download(root, events.append)
    assert events[0] == WorkStarted("download", 2)
    assert events[-1] == WorkEnded("download")
    ended = [event.name for event in events if isinstance(event, TaskEnded)]
    assert ended == [CSV_NAME, "amos22.zip"]
    counts = [e for e in events if isinstance(e, BytesDone) and e.name == "amos22.zip"]
    assert {event.n_bytes_total for event in counts} == {N_BYTES}
    assert [event.work for event in counts][-2:] == ["download", "md5"]
    done = [event.n_bytes for event in counts if event.work == "download"]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, N_BYTES)
    assert Notice("amos22.zip: the connection was cut; next attempt in 1 s", "warning") in events


def test_what_is_gone_on_with_is_said(zenodo: Zenodo, root: Path) -> None:
    leave_partial(root, CONTENT[:100_000])
    events: list[Event] = []
    download(root, events.append)
    assert Notice("amos22.zip: 100,000 bytes of it are there already") in events
    assert BytesDone("download", "amos22.zip", 100_000, N_BYTES) in events


def test_the_program_speaks_json(zenodo: Zenodo, root: Path) -> None:
    result = CliRunner().invoke(main, ["download", str(root), "--json"])
    assert result.exit_code == 0, result.output
    require_complete(root)
    assert result.stderr == ""
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert {line.pop("severity") for line in lines} == {"info"}
    times = [line.pop("time") for line in lines]
    assert times == sorted(times)
    counts = [line for line in lines if line["event"] == "BytesDone"]
    assert counts[-1] == {"event": "BytesDone", "phase": "md5", "name": "amos22.zip",
                          "n_bytes": N_BYTES, "n_bytes_total": N_BYTES}  # fmt: skip
    assert lines[-1] == {
        "event": "Result",
        "exit_code": 0,
        "n_samples": 2,
        "summary": f"{root}: 2 files complete.",
        "issues": {},
        "outputs": [str(root / CSV_NAME), str(root / "amos22.zip")],
    }


def test_the_program_takes_its_options(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[tuple[dict[str, Any]]] = []

    def record(**arguments: Any) -> CommandResult:
        calls.append((arguments,))
        return CommandResult((), 0, "done")

    monkeypatch.setattr(amos_dask, "download", record)
    asked = ["download", str(tmp_path), "--unlabelled", "--from", "https://a.org/b", "--quiet"]
    result = CliRunner().invoke(main, asked)
    assert (result.exit_code, result.stdout) == (0, "")
    expected = {"root_dir": tmp_path, "dataset": None, "tasks": (), "unlabelled": True,
                "source": "https://a.org/b", "progress": "none"}  # fmt: skip
    assert calls == [(expected,)]
