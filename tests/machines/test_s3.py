"""Archives on a real S3 server on loopback, behind a proxy that counts bytes and fails."""

from __future__ import annotations

import io
import json
import os
import re
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from machines.faulty_proxy import FaultyProxy
from required import missing
from roots import assert_same, contents, errors, program, sample_dir, snapshot
from samples import discover_one

import amos_dask
from amos_dask.archive import remote
from amos_dask.archive.listing import list_files
from amos_dask.archive.sources import FIRST_BYTES, open_location, read_blocks
from amos_dask.errors import ArchiveError, InaccessibleFileError
from amos_dask.file_refs import FileRef
from amos_dask.records import Sample
from amos_dask.steps.header_check import check_headers

pytestmark = [pytest.mark.integration, pytest.mark.s3]
ZIP, FOLDER = "s3://bucket/zipped/amos22.zip", "s3://bucket/amos22"
LARGE = "s3://bucket/large/amos22.zip"
PADDING_BYTES = 16 << 20
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "someone", "AWS_SECRET_ACCESS_KEY": "something"}
# Nothing of the machine's own; and a silent server is given up sooner than users would.
ELSEWHERE = {
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
OPTIONS = {"config_kwargs": {"read_timeout": 1}}
# Statistics and report, which are made of ROOT_DIR, once.
HOW: dict[str, dict[str, Any]] = {
    ZIP: {"progress": "none"},
    FOLDER: {"progress": "none", "statistics": False, "report": False},
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Port of an S3 server in a process of its own."""
    program = Path(sys.executable).with_name("moto_server")
    if find_spec("s3fs") is None or not program.exists():
        missing("s3", "s3fs or moto[server] is not installed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = int(free.getsockname()[1])
    words = [str(program), "-H", "127.0.0.1", "-p", str(number)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(words, stdout=quiet, stderr=quiet) as server:
        try:
            wait_for(number)
            yield number
        finally:
            server.terminate()


def wait_for(port: int) -> None:
    end = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < end, "the S3 server does not answer"
            time.sleep(0.05)
        else:
            return


@pytest.fixture(scope="module")
def endpoint(port: int) -> Iterator[FaultyProxy]:
    """The proxy, which the environment names as the S3 to use."""
    import fsspec.config

    with FaultyProxy(port) as proxy, pytest.MonkeyPatch.context() as patch:
        here = {"AWS_ENDPOINT_URL": proxy.url, "FSSPEC_S3": json.dumps(OPTIONS)}
        for name, value in (CREDENTIALS | ELSEWHERE | here).items():
            patch.setenv(name, value)
        patch.setitem(fsspec.config.conf, "s3", OPTIONS)
        yield proxy


@pytest.fixture
def proxy(endpoint: FaultyProxy, monkeypatch: pytest.MonkeyPatch) -> FaultyProxy:
    """The proxy as new; small ranges and little patience in this process."""
    endpoint.forget()
    monkeypatch.setattr(remote, "LARGEST_READ_BYTES", 1 << 20)
    monkeypatch.setattr(remote, "PAUSES_SECONDS", (0.01, 0.02))
    return endpoint


@pytest.fixture(scope="module")
def cluster(endpoint: FaultyProxy) -> Iterator[str]:
    """Address of a worker that has the environment; with little patience."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",
            silence_logs=50,
        ) as started,
        Client(started.scheduler_address) as client,
    ):
        client.run(be_impatient)
        yield started.scheduler_address


def be_impatient() -> None:
    from amos_dask.archive import remote

    remote.PAUSES_SECONDS = (0.01, 0.02)


class Bucket:
    """What lies on the server; written past the proxy.

    Parameters
    ----------
    port : int
        Of the server.
    """

    def __init__(self, port: int) -> None:
        import s3fs

        # Known by its endpoint: not the file system that is tested.
        self.filesystem = s3fs.S3FileSystem(endpoint_url=f"http://127.0.0.1:{port}")
        self.filesystem.mkdir("bucket")

    def put(self, url: str, content: bytes) -> None:
        """Write a file."""
        self.filesystem.pipe_file(url.removeprefix("s3://"), content)

    def copy(self, path: Path, url: str) -> None:
        """Write a file, or a folder of them."""
        files = [p for p in path.rglob("*") if p.is_file()] if path.is_dir() else [path]
        for file in files:
            below = f"/{file.relative_to(path).as_posix()}" if path.is_dir() else ""
            self.put(url + below, file.read_bytes())

    def remove(self, url: str) -> None:
        """Remove a file."""
        self.filesystem.rm_file(url.removeprefix("s3://"))


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, amos_dask.Archive]:
    """The same archive as zip and as folder, by the URL that it will have."""
    return {
        url: amos_dask.write_archive(
            tmp_path_factory.mktemp(form), n_ct=3, n_mri=1, size="tiny", seed=7, form=form
        )
        for url, form in ((ZIP, "zip"), (FOLDER, "folder"))
    }


@pytest.fixture(scope="module")
def bucket(endpoint: FaultyProxy, port: int, sources: dict[str, amos_dask.Archive]) -> Bucket:
    """Both archives on the server, with the csv beside the zip."""
    bucket = Bucket(port)
    for url, archive in sources.items():
        bucket.copy(archive.path, url)
    csv = sources[ZIP].metadata_path
    bucket.copy(csv, f"{ZIP.rpartition('/')[0]}/{csv.name}")
    bucket.put(f"{FOLDER}/imagesTr/", b"")  # as web consoles make folders
    return bucket


@pytest.fixture(scope="module")
def local(
    sources: dict[str, amos_dask.Archive], tmp_path_factory: Any, cluster: str
) -> dict[str, dict[str, Any]]:
    """What runs on the archives here give, by URL."""
    trees = {}
    for url, archive in sources.items():
        root = tmp_path_factory.mktemp("local") / "AMOS22"
        amos_dask.run(root, archive.path, cluster=cluster, **HOW[url])
        trees[url] = contents(root)
    return trees


@pytest.fixture(scope="module")
def noise() -> bytes:
    """A scan of 3 MB that cannot be packed."""
    voxels = np.random.default_rng(0).integers(-999, 999, (128, 128, 100), np.int16)
    return gzipped(nib.Nifti1Image(voxels, np.eye(4)).to_bytes())


def gzipped(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, 1)


def zip_of(volume: bytes, padding_bytes: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("amos22/imagesTr/amos_0001.nii.gz", volume)
        archive.writestr("amos22/other.bin", bytes(padding_bytes), zipfile.ZIP_STORED)
    return buffer.getvalue()


# ---------------------------------------------------------------- whole runs


@pytest.mark.parametrize("url", [ZIP, FOLDER])
def test_a_run_gives_what_a_local_run_gives_and_a_rerun_reads_no_image(
    bucket: Bucket,
    proxy: FaultyProxy,
    cluster: str,
    local: dict[str, dict[str, Any]],
    tmp_path: Path,
    url: str,
) -> None:
    root = tmp_path / "R"
    result = amos_dask.run(root, url, cluster=cluster, **HOW[url])
    assert (result.n_processed, result.n_failed) == (4, 0)
    assert_same(contents(root), local[url])

    images = {ref.path: ref for ref in list_files(url) if ref.path.endswith(".nii.gz")}
    proxy.forget()
    amos_dask.run(root, url, cluster=cluster, **HOW[url])
    assert_same(contents(root), local[url])
    starts = {f"bytes={r.member.header_offset}-" for r in images.values() if r.member is not None}
    for exchange in proxy.exchanges:
        assert ".nii.gz" not in exchange.path
        assert not any(exchange.range.startswith(start) for start in starts)
    assert len(proxy.exchanges) <= 10


def test_a_run_with_all_faults_that_pass_gives_the_same(
    bucket: Bucket,
    proxy: FaultyProxy,
    cluster: str,
    local: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    for n in (1, 4, 507):
        proxy.fail("status", f"amos_{n:04d}.nii.gz", status=500)
        proxy.fail("status", f"amos_{n:04d}.nii.gz", "HEAD", status=503, code="SlowDown")
        proxy.fail("cut", f"amos_{n:04d}.nii.gz", after_bytes=100)
    proxy.fail("stall", "labelsTr/amos_0001.nii.gz")
    proxy.fail("status", "list-type=2", status=502, code="BadGateway")
    proxy.fail("cut", "labeled_data_meta", after_bytes=300)
    result = amos_dask.run(tmp_path / "R", FOLDER, cluster=cluster, **HOW[FOLDER])
    assert result.n_failed == 0
    assert [fault for fault in proxy.faults if fault.times] == []
    assert_same(contents(tmp_path / "R"), local[FOLDER])


def test_a_fault_that_stays_is_an_issue_of_its_sample_and_costs_no_earlier_output(
    bucket: Bucket,
    proxy: FaultyProxy,
    cluster: str,
    local: dict[str, dict[str, Any]],
    tmp_path: Path,
) -> None:
    root = tmp_path / "R"
    amos_dask.run(root, FOLDER, cluster=cluster, **HOW[FOLDER])
    before = snapshot(sample_dir(root, "0001"))
    proxy.fail("status", "imagesTr/amos_0001.nii.gz", status=503, code="SlowDown", times=99)
    result = amos_dask.run(root, FOLDER, cluster=cluster, force=True, **HOW[FOLDER])
    assert result.n_failed == 1
    assert errors(root) == {("amos_0001", "unreadable_volume")}
    (issue,) = (i for i in result.issues if i.severity == "error")
    assert issue.message == "cannot be read (the server answers 503, at 3 attempts)"
    assert snapshot(sample_dir(root, "0001")) == before
    proxy.forget()
    result = amos_dask.run(root, FOLDER, cluster=cluster, **HOW[FOLDER])
    assert result.n_failed == 0
    assert_same(contents(root), local[FOLDER])


def test_the_program_takes_the_endpoint_from_fsspecs_variables_too(
    bucket: Bucket, proxy: FaultyProxy, tmp_path: Path
) -> None:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "FSSPEC_"))}
    command = [sys.executable, "-m", "amos_dask", "run", str(tmp_path), "--archive", ZIP]
    done = subprocess.run(
        [*command, "--dry_run"],
        env=clean | CREDENTIALS | ELSEWHERE | {"FSSPEC_S3_ENDPOINT_URL": proxy.url},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert proxy.downloads()


# ---------------------------------------------------------------- how much is transferred


def one_sample(url: str) -> Sample:
    (sample,) = discover_one(url).samples
    return sample


def volume_of(sample: Sample) -> FileRef:
    assert sample.volume is not None
    return sample.volume


def test_a_sample_of_a_large_zip_costs_that_sample_whatever_the_zip_holds(
    bucket: Bucket, proxy: FaultyProxy, noise: bytes
) -> None:
    transferred, requests = [], []
    for padding_bytes in (0, PADDING_BYTES):
        bucket.put(LARGE, zip_of(noise, padding_bytes))
        proxy.forget()
        sample = one_sample(LARGE)
        check_headers(sample)
        content = b"".join(read_blocks(volume_of(sample)))
        assert content == noise
        transferred.append(proxy.n_bytes())
        requests.append(len(proxy.exchanges))
    member = volume_of(sample).member
    assert member is not None
    assert member.compressed_size > 2 * remote.LARGEST_READ_BYTES
    assert max(transferred) < 1.02 * member.compressed_size + (1 << 16)
    assert abs(transferred[1] - transferred[0]) < 1 << 14
    assert max(requests) < 14


def test_no_byte_of_a_member_is_read_twice(
    bucket: Bucket, proxy: FaultyProxy, noise: bytes
) -> None:
    bucket.put(LARGE, zip_of(noise))
    ref = volume_of(one_sample(LARGE))
    proxy.forget()
    assert sum(map(len, read_blocks(ref))) == len(noise)
    ranges = [ends(exchange.range) for exchange in proxy.downloads()]
    assert ref.member is not None
    assert ranges[0][0] == ref.member.header_offset
    assert [start for start, _ in ranges[1:]] == [end + 1 for _, end in ranges[:-1]]
    largest = max(end + 1 - start for start, end in ranges)
    assert largest <= remote.LARGEST_READ_BYTES + remote.READ_AHEAD_BYTES


def ends(range_: str) -> tuple[int, int]:
    match = re.fullmatch(r"bytes=(\d+)-(\d+)", range_)
    assert match is not None
    return int(match[1]), int(match[2])


@pytest.mark.parametrize("form", ["zip", "folder"])
def test_headers_cost_little(bucket: Bucket, proxy: FaultyProxy, noise: bytes, form: str) -> None:
    bucket.put(LARGE, zip_of(noise))
    folder = "s3://bucket/large/folder"
    bucket.put(f"{folder}/imagesTr/amos_0001.nii.gz", noise)
    sample = one_sample(LARGE if form == "zip" else folder)
    proxy.forget()
    audit = check_headers(sample)
    assert audit.files[0].shape == (128, 128, 100)
    assert proxy.n_bytes() < 1 << 15
    assert len(proxy.exchanges) == 2


def test_the_directory_of_a_zip_is_read_in_few_requests(bucket: Bucket, proxy: FaultyProxy) -> None:
    list_files(ZIP)
    assert len(proxy.exchanges) <= 4
    assert proxy.n_bytes() < 1 << 15


# ---------------------------------------------------------------- what changed


def test_a_folder_tells_what_identifies_its_files(bucket: Bucket, proxy: FaultyProxy) -> None:
    url = "s3://bucket/changing/imagesTr/amos_0001.nii.gz"
    found = []
    for content in (b"one", b"two"):
        bucket.put(url, content)
        found += list_files("s3://bucket/changing")
    assert [ref.size for ref in found] == [3, 3]
    assert None not in {ref.etag for ref in found}
    assert found[0].etag != found[1].etag


def test_a_zip_that_was_replaced_is_seen_anew_in_the_same_process(
    bucket: Bucket, proxy: FaultyProxy
) -> None:
    url = "s3://bucket/changing/amos22.zip"
    sizes = []
    for content in (b"one", b"another"):
        bucket.put(url, zip_of(content))
        sizes.append(volume_of(discover_one(url).samples[0]).size)
        discover_one(url)  # which lists what lies beside it
    assert sizes == [3, 7]


def test_a_zip_that_is_replaced_while_it_is_read_is_noticed(
    bucket: Bucket, proxy: FaultyProxy, noise: bytes
) -> None:
    bucket.put(LARGE, zip_of(noise))
    blocks = read_blocks(volume_of(one_sample(LARGE)))
    next(blocks)
    bucket.put(LARGE, zip_of(noise[::-1]))
    with pytest.raises(InaccessibleFileError, match="replaced while it was read"):
        list(blocks)


# ---------------------------------------------------------------- faults of one file

FAULTS = {
    "500": {"kind": "status", "status": 500},
    "503": {"kind": "status", "status": 503, "code": "SlowDown"},
    "429": {"kind": "status", "status": 429, "code": "TooManyRequests"},
    "cut": {"kind": "cut", "after_bytes": 5000},
    "cut at once": {"kind": "cut", "after_bytes": 0},
    "stall": {"kind": "stall"},
}
SAYS = {
    "500": "the server answers 500",
    "503": "the server answers 503",
    "429": "the server answers 429",
    "cut": "the connection fails",
    "cut at once": "the connection fails",
    "stall": "does not answer in time",
}


def signed_url(bucket: Bucket, proxy: FaultyProxy, url: str) -> str:
    signed = bucket.filesystem.sign(url.removeprefix("s3://"))
    return f"{proxy.url}/{signed.split('/', 3)[3]}"


@pytest.fixture(params=["s3", "http"])
def ref(
    request: pytest.FixtureRequest,
    bucket: Bucket,
    proxy: FaultyProxy,
    noise: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> FileRef:
    """A file of 3 MB, by S3 and by a signed URL."""
    monkeypatch.setitem(remote._HTTP_TIMEOUT_SECONDS, "sock_read", 1.0)
    url = "s3://bucket/files/amos_0001.nii.gz"
    bucket.put(url, noise)
    if request.param == "http":
        url = signed_url(bucket, proxy, url)
    return FileRef("amos_0001.nii.gz", url, len(noise))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_passes_is_not_noticed(
    ref: FileRef, proxy: FaultyProxy, noise: bytes, name: str
) -> None:
    how: dict[str, Any] = dict(FAULTS[name])
    second = re.compile(f"bytes={remote.READ_AHEAD_BYTES + FIRST_BYTES}-")
    proxy.fail(how.pop("kind"), "amos_0001", **how)
    later = proxy.fail("cut", "amos_0001", after_bytes=70_000)
    later.matches = lambda method, path, range_: second.match(range_) is not None
    assert b"".join(read_blocks(ref)) == noise
    assert [fault.times for fault in proxy.faults] == [0, 0]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_that_stays_ends_after_as_many_attempts_as_we_make(
    ref: FileRef, proxy: FaultyProxy, name: str
) -> None:
    how: dict[str, Any] = dict(FAULTS[name])
    fault = proxy.fail(how.pop("kind"), "amos_0001", times=99, **how)
    with pytest.raises(InaccessibleFileError) as caught:
        list(read_blocks(ref))
    assert SAYS[name] in str(caught.value)
    assert "3 attempts" in str(caught.value)
    assert 99 - fault.times == 3


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (404, "NoSuchKey")])
def test_what_will_not_pass_is_not_tried_again(
    ref: FileRef, proxy: FaultyProxy, status: int, code: str
) -> None:
    fault = proxy.fail("status", "amos_0001", status=status, code=code, times=99)
    with pytest.raises(InaccessibleFileError) as caught:
        list(read_blocks(ref))
    assert {403: "access is denied", 404: "there is no such file"}[status] in str(caught.value)
    assert 99 - fault.times == 1


# ---------------------------------------------------------------- faults of a whole archive


def refusal(url: str, **how: Any) -> str:
    with pytest.raises(ArchiveError) as caught:
        discover_one(url, **how)
    return str(caught.value)


def test_what_is_not_there_is_said(bucket: Bucket, proxy: FaultyProxy) -> None:
    there = {
        "s3://nowhere/amos22.zip": "there is no such bucket",
        "s3://nowhere/amos22": "there is no such bucket",
        "s3://bucket/none/amos22.zip": "there is no such file",
        "s3://bucket/none": "no scans found",
    }
    for url, text in there.items():
        message = refusal(url)
        assert message.startswith(f"{url}: ")
        assert text in message
    assert "nothing.csv" in refusal(ZIP, labeled_data_meta="s3://bucket/nothing.csv")


@pytest.mark.parametrize("url", [ZIP, FOLDER])
def test_denied_access_is_said_and_not_tried_again(
    bucket: Bucket, proxy: FaultyProxy, url: str
) -> None:
    for method in ("GET", "HEAD"):
        proxy.fail("status", "/bucket", method, status=403, code="AccessDenied", times=99)
    message = refusal(url)
    assert message.startswith(f"{url}: ")
    assert "access is denied" in message
    assert len(proxy.exchanges) == 1


def test_without_listings_a_zip_is_read_and_the_csv_can_be_named(
    bucket: Bucket, proxy: FaultyProxy, sources: dict[str, amos_dask.Archive]
) -> None:
    proxy.fail("status", "list-type", status=403, code="AccessDenied", times=99)
    assert "metadata_missing" in {issue.code for issue in discover_one(ZIP).issues}
    csv = f"s3://bucket/zipped/{sources[ZIP].metadata_path.name}"
    assert "metadata_missing" not in {issue.code for issue in discover_one(ZIP, csv).issues}


def test_listings_that_fail_do_not_pass_for_nothing_to_list(
    bucket: Bucket, proxy: FaultyProxy
) -> None:
    proxy.fail("status", "list-type", status=500, times=99)
    assert "--labeled_data_meta" in refusal(ZIP)
    assert "the server answers 500, at 3 attempts" in refusal(FOLDER)


def test_a_directory_of_a_zip_that_comes_at_the_second_attempt(
    bucket: Bucket, proxy: FaultyProxy
) -> None:
    proxy.fail("cut", "amos22.zip", after_bytes=100)
    proxy.fail("status", "amos22.zip", "HEAD", status=500)
    assert len(discover_one(ZIP).samples) == 4


def test_without_credentials(
    bucket: Bucket, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    import s3fs

    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        assert "no credentials were found" in refusal(ZIP)
        assert "no credentials were found" in refusal(FOLDER)
    finally:
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_signed_url_is_read_and_its_signature_not_shown(
    bucket: Bucket, proxy: FaultyProxy, sources: dict[str, amos_dask.Archive]
) -> None:
    url = signed_url(bucket, proxy, ZIP)
    assert "Signature" in url
    csv = str(sources[ZIP].metadata_path)
    there, here = discover_one(url, csv), discover_one(str(sources[ZIP].path), csv)
    assert [s.sample_id for s in there.samples] == [s.sample_id for s in here.samples]
    for one, other in zip(there.samples, here.samples, strict=True):
        assert list(read_blocks(volume_of(one))) == list(read_blocks(volume_of(other)))
    message = refusal(url.replace("amos22.zip", "none.zip"))
    assert message == f"{proxy.url}/bucket/zipped/none.zip: there is no such file."


def test_no_message_of_the_program_shows_a_signature(
    bucket: Bucket,
    proxy: FaultyProxy,
    cluster: str,
    sources: dict[str, amos_dask.Archive],
    tmp_path: Path,
) -> None:
    url = signed_url(bucket, proxy, ZIP)
    absent = url.replace("amos22.zip", "none.zip")
    csv = sources[ZIP].metadata_path
    on = ("--cluster", cluster)
    plan = ["run", tmp_path / "R", "--archive", url, "--labeled_data_meta", csv, "--dry_run"]
    said = [
        program(*plan),
        program(*plan, "--json"),
        program("verify", url, *on),
        program("verify", url, *on, "--md5", "--json", exit_code=3),  # smaller than the published
        program("verify", absent, *on, "--md5", exit_code=1),
    ]
    for result in said:
        assert "Signature" not in result.output
        assert f"{proxy.url}/bucket/zipped/" in result.output


def test_a_file_at_a_url_is_as_one_on_disk(
    bucket: Bucket, proxy: FaultyProxy, noise: bytes
) -> None:
    bucket.put("s3://bucket/files/noise", noise)
    random = np.random.default_rng(1)
    with open_location("s3://bucket/files/noise") as there, io.BytesIO(noise) as here:
        actions: list[Callable[[Any], Any]] = [lambda f: f.seek(0, io.SEEK_END), lambda f: f.read()]
        for _ in range(60):
            place, size = int(random.integers(len(noise) + 9)), int(random.integers(1 << 18))
            actions += [lambda f, p=place: f.seek(p), lambda f, n=size: f.read(n)]
        actions += [lambda f: f.seek(5), lambda f: f.seek(3, io.SEEK_CUR), lambda f: f.read()]
        assert all(action(there) == action(here) for action in actions)
        assert there.tell() == here.tell()
