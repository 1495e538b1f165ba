"""URLs without a server: drivers, secrets in messages, a listing that does not come."""

from __future__ import annotations

import errno
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from aiohttp import ClientPayloadError
from aiohttp.http_exceptions import ContentLengthError
from fsspec.implementations.memory import MemoryFile

from amos_dask.archive import remote
from amos_dask.archive.listing import list_files
from amos_dask.archive.remote import RemoteFile
from amos_dask.archive.sources import read_blocks
from amos_dask.errors import ArchiveError, DamagedArchiveError


def refusal(url: str) -> str:
    with pytest.raises(ArchiveError) as caught:
        list_files(url)
    return str(caught.value)


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("s3://bucket/amos22.zip", "amos-dask[s3]"),
        ("https://example.org/amos22", "amos-dask[http]"),
        ("gs://bucket/amos22.zip", "gcsfs"),
    ],
)
def test_a_driver_that_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, url: str, package: str
) -> None:
    def url_to_fs(url: str, **_: Any) -> None:
        raise ImportError("Please install gcsfs to access Google Storage")

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    message = refusal(url)
    assert message.startswith(f"{url}: there is no driver for {url.partition('://')[0]}:// here")
    assert package in message


@pytest.mark.parametrize("name", ["amos22", "amos22.zip"])
@pytest.mark.parametrize("scheme", ["https", "s3", "simplecache::https"])
def test_a_password_is_refused_and_not_shown(scheme: str, name: str) -> None:
    message = refusal(f"{scheme}://someone:geheim@example.org/{name}")
    assert "password" in message
    assert "geheim" not in message


def test_what_drivers_say_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    def url_to_fs(url: str, **_: Any) -> None:
        raise ValueError("'https://u:geheim@example.org/a?token=geheim' is\nnot known")

    monkeypatch.setattr(fsspec.core, "url_to_fs", url_to_fs)
    message = refusal("https://example.org/a.zip?token=geheim")
    assert message == "https://example.org/a.zip: 'https://example.org/a' is not known."


def test_a_zip_that_cannot_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What zipfile says of both is the same: not a zip file."""
    path = tmp_path / "amos22.zip"
    path.write_bytes(b"no zip")
    with pytest.raises(DamagedArchiveError):
        list_files(str(path))

    def fail(file: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(zipfile, "_EndRecData", fail)
    message = refusal(str(path))
    assert message == f"{path}: cannot be read (Input/output error)."


def test_a_server_that_asks_for_patience_does_not_get_all_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, attempts = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def fail() -> None:
        attempts.append(now[0])
        now[0] += 50.0
        raise TimeoutError

    monkeypatch.setattr(remote, "monotonic", lambda: now[0])
    monkeypatch.setattr(remote, "sleep", sleep)
    with pytest.raises(remote.TransientError) as caught:
        remote.persist(fail)
    assert caught.value.strerror == "the server does not answer in time, at 3 attempts"
    assert len(attempts) == 3


def test_a_body_that_is_cut_may_be_had_at_another_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though what aiohttp says it by has a code of its own, which no server has sent."""
    attempts = []

    def cut_once() -> str:
        attempts.append(1)
        if len(attempts) == 1:
            raise ClientPayloadError("not completed") from ContentLengthError("too few bytes")
        return "all"

    monkeypatch.setattr(remote, "sleep", lambda _: None)
    assert remote.persist(cut_once) == "all"


@pytest.fixture(params=["silent", "frank"])
def web_server(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder as Python's own web server has it: it lists names, and knows no ranges."""

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self) -> None:
            if request.param == "frank":
                self.send_header("Accept-Ranges", "none")
            super().end_headers()

        def log_message(self, *_: object) -> None:
            pass

    where = partial(Handler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), where) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_server_that_knows_no_ranges_sends_files_from_their_beginning(
    tmp_path: Path, web_server: str
) -> None:
    content = np.random.default_rng(0).bytes(9_000_001)
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr" / "amos_0001.nii.gz").write_bytes(content)
    (ref,) = list_files(web_server)
    assert ref.path == "imagesTr/amos_0001.nii.gz"
    assert b"".join(read_blocks(ref)) == content
    (tmp_path / "amos22.zip").write_bytes(content + b"PK")
    assert "does not send parts of files" in refusal(f"{web_server}/amos22.zip")
    assert "there is no such file" in refusal(f"{web_server}/none.zip")


def test_fewer_bytes_than_were_asked_for_are_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read, asked = MemoryFile.read, []

    def read_little(self: MemoryFile, size: int) -> bytes:
        asked.append(size)
        return bytes(read(self, 3 if len(asked) == 1 else size))

    fsspec.filesystem("memory").pipe("/bucket/a", b"0123456789")
    monkeypatch.setattr(MemoryFile, "read", read_little)
    monkeypatch.setattr(remote, "PAUSES_SECONDS", (0,))
    with RemoteFile("memory://bucket/a") as file:
        file.seek(1)
        assert file.read(7) == b"1234567"
    assert asked == [7, 7]
