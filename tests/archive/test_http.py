"""Replies of HTTP servers, good and bad; and what a record says of its files."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from scripted_server import Plan, ScriptedServer, scripted_server

from amos_dask.downloading.http import (
    Patience,
    TransferError,
    WrongRangeError,
    open_reply,
    require_http,
    shown,
    url_of,
)
from amos_dask.downloading.record import PublishedFile, ask_record, file_url
from amos_dask.errors import ArchiveError

CONTENT = bytes(range(256)) * 1000
PATH = "/a/amos22.zip"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedServer]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with scripted_server() as server:
        server.files[PATH] = CONTENT
        yield server


def fetch(server: ScriptedServer, start: int = 0, etag: str | None = None) -> tuple[Any, bytes]:
    url = server.url + PATH
    with open_reply(url, start=start, etag=etag, timeout_seconds=0.5) as reply:
        return reply, b"".join(reply.blocks)


# ---------------------------------------------------------------- replies


@pytest.mark.parametrize("plan", [Plan(), Plan(in_chunks=True), Plan(says_length=False)])
def test_a_whole_file(server: ScriptedServer, plan: Plan) -> None:
    server.next(PATH, plan)
    reply, content = fetch(server)
    assert content == CONTENT
    assert (reply.start, reply.etag) == (0, '"one"')
    assert reply.n_bytes == (len(CONTENT) if plan == Plan() else None)
    assert server.ranges(PATH) == [None]


@pytest.mark.parametrize("start", [1, 1000, len(CONTENT) - 1])
@pytest.mark.parametrize("etag", [None, '"one"'])
def test_the_rest_of_a_file(server: ScriptedServer, start: int, etag: str | None) -> None:
    reply, content = fetch(server, start, etag)
    assert (reply.start, reply.n_bytes) == (start, len(CONTENT))
    assert content == CONTENT[start:]
    assert server.asked[0].if_range == etag


def test_a_server_without_ranges_sends_the_whole(server: ScriptedServer) -> None:
    server.next(PATH, Plan(knows_ranges=False))
    reply, content = fetch(server, 1000, '"one"')
    assert (reply.start, content) == (0, CONTENT)


def test_the_rest_of_a_changed_file_is_not_taken(server: ScriptedServer) -> None:
    reply, content = fetch(server, 1000, '"zero"')
    assert (reply.start, content) == (0, CONTENT)
    server.next(PATH, Plan(heeds_if_range=False))
    with pytest.raises(WrongRangeError, match="another file"):
        fetch(server, 1000, '"zero"')


@pytest.mark.parametrize("etag", ['W/"weak"', "bare", '"with\nnewline"', ""])
def test_an_etag_that_stands_for_nothing_exact_is_not_sent(
    server: ScriptedServer, etag: str
) -> None:
    server.next(PATH, Plan(etag=None))
    reply, _ = fetch(server, 1000, etag)
    assert (server.asked[0].if_range, reply.etag, reply.start) == (None, None, 1000)


def test_a_weak_etag_is_not_kept(server: ScriptedServer) -> None:
    server.next(PATH, Plan(etag='W/"weak"'))
    assert fetch(server)[0].etag is None


@pytest.mark.parametrize(
    "content_range",
    ["bytes 999-255999/256000", "bytes 0-255999/256000", "bytes */256000", "1000-", "",
     "bytes 1000-255999/2000"],
)  # fmt: skip
def test_another_part_than_asked_for_is_not_taken(
    server: ScriptedServer, content_range: str
) -> None:
    server.next(PATH, Plan(content_range=content_range or " "))
    with pytest.raises(WrongRangeError):
        fetch(server, 1000)


def test_a_range_reply_need_not_tell_the_size(server: ScriptedServer) -> None:
    server.next(PATH, Plan(content_range="bytes 1000-255999/*"))
    assert fetch(server, 1000)[0].n_bytes is None


def test_beyond_the_end_is_a_wrong_range(server: ScriptedServer) -> None:
    with pytest.raises(WrongRangeError):
        fetch(server, len(CONTENT))


@pytest.mark.parametrize("status", [204, 206, 416])
def test_an_answer_that_nobody_asked_for_is_an_error(server: ScriptedServer, status: int) -> None:
    server.next(PATH, Plan(status))
    with pytest.raises(ArchiveError, match=str(status)):
        fetch(server)


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("plan", [
    Plan(cut_after=0),
    Plan(cut_after=5000),
    Plan(longer_by=1),
    Plan(in_chunks=True, cut_after=120_000),
    Plan(cut_after=5000, then_silent=True),
])  # fmt: skip
def test_what_came_before_a_cut_is_there(server: ScriptedServer, plan: Plan) -> None:
    server.next(PATH, plan)
    pieces: list[bytes] = []
    with (
        open_reply(server.url + PATH, timeout_seconds=0.3) as reply,
        pytest.raises(TransferError, match="silent" if plan.then_silent else "cut"),
    ):
        pieces.extend(reply.blocks)  # a list takes what comes before the error
    content = b"".join(pieces)
    assert CONTENT.startswith(content)
    if not plan.in_chunks:
        assert len(content) == (len(CONTENT) if plan.longer_by else plan.cut_after)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_troubles_can_be_tried_again(server: ScriptedServer, status: int) -> None:
    server.next(PATH, Plan(status))
    with pytest.raises(TransferError, match=str(status)) as caught:
        fetch(server)
    assert caught.value.wait_seconds is None


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_other_answers_are_final(server: ScriptedServer, status: int) -> None:
    server.next(PATH, Plan(status))
    with pytest.raises(ArchiveError, match=f"answers {status}"):
        fetch(server)


@pytest.mark.parametrize("in_words", [False, True])
def test_a_server_may_ask_to_be_left_alone(server: ScriptedServer, in_words: bool) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    server.next(PATH, Plan(429, {"Retry-After": date if in_words else "60"}))
    with pytest.raises(TransferError) as caught:
        fetch(server)
    assert caught.value.wait_seconds == pytest.approx(60, abs=2)


@pytest.mark.parametrize("value", ["soon", "-5", "", "1e9"])
def test_a_wait_that_is_not_understood_is_none(server: ScriptedServer, value: str) -> None:
    server.next(PATH, Plan(503, {"Retry-After": value}))
    with pytest.raises(TransferError) as caught:
        fetch(server)
    assert caught.value.wait_seconds is None


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/amos22.zip"
        with pytest.raises(TransferError, match="refused"), open_reply(url):
            pass


def test_a_log_in_page_is_not_a_file(server: ScriptedServer) -> None:
    server.next(PATH, Plan(content=b"<html>", headers={"Content-Type": "text/html; charset=utf8"}))
    with pytest.raises(ArchiveError, match="web page"):
        fetch(server)


def test_a_packed_file_is_refused(server: ScriptedServer) -> None:
    server.next(PATH, Plan(headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ArchiveError, match="packed"):
        fetch(server)


# ---------------------------------------------------------------- where it leads


def test_redirects_are_followed_with_the_range(server: ScriptedServer) -> None:
    server.next("/elsewhere", Plan(302, {"Location": PATH}))
    with open_reply(server.url + "/elsewhere", start=7, etag='"one"') as reply:
        assert b"".join(reply.blocks) == CONTENT[7:]
    assert [asked.if_range for asked in server.asked] == ['"one"'] * 2


@pytest.mark.parametrize(
    "target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "http:///x"]
)
def test_redirects_lead_to_http_only(server: ScriptedServer, target: str) -> None:
    server.next(PATH, Plan(302, {"Location": target}))
    with pytest.raises(ArchiveError):
        fetch(server)


def test_redirects_in_a_circle_end(server: ScriptedServer) -> None:
    server.always(PATH, Plan(302, {"Location": PATH}))
    with pytest.raises(ArchiveError, match="302"):
        fetch(server)
    assert len(server.asked) < 20


@pytest.mark.parametrize("url", [
    "file:///etc/passwd", "ftp://a/b", "data:,x", "amos22.zip", "/etc/passwd", "http://", "http:///x",
    "https://user:secret@a/b", "http://a:port/b", "http://[::1/b", "",
])  # fmt: skip
def test_only_http_urls_are_opened(url: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        require_http(url)
    assert "secret" not in str(caught.value)


def test_secrets_of_a_url_are_not_shown() -> None:
    assert shown("https://user:secret@a.org/b@c?token=secret#d") == "https://a.org/b@c"
    assert shown("http://a.org?x/y@z") == "http://a.org"


def test_names_are_added_to_a_mirror() -> None:
    assert url_of("https://a.org/b/", "a b.zip") == "https://a.org/b/a%20b.zip"
    assert url_of("https://a.org", "../x") == "https://a.org/../x"  # nothing calls it with such
    for base in ("https://a.org/?token=1", "https://a.org/#x", "ftp://a.org"):
        with pytest.raises(ArchiveError):
            url_of(base, "x")


# ---------------------------------------------------------------- patience


def test_pauses_double_up_to_a_limit_and_end() -> None:
    patience = Patience(n_attempts=9)
    pauses = [patience.pause(n, TransferError(""), first=False) for n in range(1, 10)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, None]


def test_nothing_at_all_is_given_up_sooner() -> None:
    patience = Patience(n_attempts=9, n_first_attempts=3)
    pauses = [patience.pause(n, TransferError(""), first=True) for n in range(1, 4)]
    assert pauses == [1, 2, None]


def test_what_a_server_asks_for_is_granted_within_reason() -> None:
    patience = Patience(longest_asked_seconds=900)
    assert patience.pause(1, TransferError("", 100), first=True) == 100
    assert patience.pause(3, TransferError("", 1), first=True) == 4
    assert patience.pause(1, TransferError("", 901), first=True) is None


# ---------------------------------------------------------------- the record

PAGE, API = "/records/7262581", "/api/records/7262581"
MD5 = "0123456789abcdef0123456789abcdef"


def record(server: ScriptedServer, content: object, **settings: Any) -> dict[str, PublishedFile]:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    server.files[API] = text
    return ask_record(server.url + PAGE, Patience(sleep=lambda _: None, **settings))


def test_a_record_lists_its_files(server: ScriptedServer) -> None:
    links = {"self": "https://zenodo.org/api/records/7262581/files/amos22.zip/content"}
    entry = {"key": "amos22.zip", "size": 5, "checksum": f"md5:{MD5.upper()}", "links": links}
    assert record(server, {"files": [entry]}) == {
        "amos22.zip": PublishedFile("amos22.zip", links["self"], 5, 0, MD5)
    }


def test_a_record_in_the_newer_form(server: ScriptedServer) -> None:
    links = {"self": "https://z.org/about", "content": "https://z.org/content"}
    entry = {"key": "a.csv", "size": 5, "checksum": f"md5:{MD5}", "links": links}
    found = record(server, {"files": {"count": 1, "entries": {"a.csv": entry}}})
    assert found == {"a.csv": PublishedFile("a.csv", links["content"], 5, 0, MD5)}


@pytest.mark.parametrize("entry", [
    {},
    {"size": None, "checksum": None, "links": None},
    {"size": "5", "checksum": 5, "links": []},
    {"size": -5, "checksum": "sha256:00", "links": {"self": 5}},
    {"size": True, "checksum": "md5:short", "links": {"self": "file:///etc/passwd"}},
    {"size": 5.5, "checksum": f"md5:{MD5}0", "links": {"self": "../x"}},
])  # fmt: skip
def test_what_a_record_lacks_is_not_known(server: ScriptedServer, entry: dict[str, Any]) -> None:
    found = record(server, {"files": [{"key": "a.csv", **entry}]})
    url = f"{server.url}{API}/files/a.csv/content"
    assert found == {"a.csv": PublishedFile("a.csv", url)}
    assert file_url(server.url + PAGE, "a.csv") == url


@pytest.mark.parametrize(
    "name",
    ["../a.csv", "/a.csv", "a/b.csv", "..", ".", ".hidden", "a\\b", "a\nb", "", "x" * 300, None, 5],
)
def test_a_name_that_is_a_path_is_no_file(server: ScriptedServer, name: object) -> None:
    assert record(server, {"files": [{"key": name}, "text", None, {"key": "b.csv"}]}).keys() == {
        "b.csv"
    }


@pytest.mark.parametrize("content", [{}, {"files": None}, {"files": 5}, {"files": []}])
def test_a_record_without_files_has_none(server: ScriptedServer, content: object) -> None:
    assert record(server, content) == {}


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"5", b"null", b"[" * 100_000])
def test_a_record_that_is_none_is_one_sentence(server: ScriptedServer, content: bytes) -> None:
    with pytest.raises(ArchiveError, match="not understood"):
        record(server, content)


def test_a_record_is_not_read_without_end(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amos_dask.downloading.record._LARGEST_RECORD", 1000)
    with pytest.raises(ArchiveError, match="larger than"):
        record(server, b" " * 1001)


def test_a_record_is_asked_again_and_given_up(server: ScriptedServer) -> None:
    server.next(API, Plan(500), Plan(cut_after=1))
    assert record(server, {"files": [{"key": "a.csv"}]}).keys() == {"a.csv"}
    server.always(API, Plan(500))
    server.asked.clear()
    with pytest.raises(ArchiveError, match="500"):
        record(server, {}, n_first_attempts=3)
    assert len(server.asked) == 3
