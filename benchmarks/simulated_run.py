"""A run from end to end over many scans that are a few, where making a sample is a stub.

    python -m benchmarks.simulated_run SCANS FOLDER

makes an archive there unless there is one, runs, and prints marks of the run as JSON.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import gc
import gzip
import json
import os
import re
import shutil
import sys
import time
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any
from unittest.mock import patch

import numpy as np
import psutil

import amos_dask
from amos_dask.engine.events import Event, WorkEnded, WorkStarted
from amos_dask.phantom import METADATA_NAME
from amos_dask.records import SampleResult
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import Output, Receipt, Receipts
from amos_dask.root.staging import gzip_trailer
from amos_dask.sample.todo import SampleTask, summarise

_FIRST_NUMBER = 10_001  # above those that tell a modality: these scans' scanners do
_N_PLANTED = 64  # of which those that are labelled and for training are the models of all others
_SCANS_A_COPY = 60_000  # ext4 allows a file so many names and some more
_SCANNERS = ("Aquilion ONE", "Brilliance16", "SOMATOM Force", "Optima CT660", "Optima CT540")
_HEADER_BYTES = 352


def write_archive(folder: Path, n_scans: int) -> None:
    """Write an archive of labelled CT that are links to a few, and a ROOT_DIR of those few."""
    few, archive = folder / "few" / "amos22", folder / "amos22"
    n_planted = max(8, min(_N_PLANTED, n_scans // 30))
    amos_dask.write_archive(few.parent, n_ct=n_planted, n_mri=0, size="tiny")
    one = amos_dask.ClusterOptions(workers=1, dashboard_port=0)
    amos_dask.run(folder / "models", few, cluster=one, progress="none")
    pairs = [
        [few / file.file_path for file in model.headers.files]
        for _, model in _models(folder / "models")
        if model.headers is not None
    ]
    for kind in ("images", "labels"):
        (archive / f"{kind}Tr").mkdir(parents=True)
    for k in range(n_scans):
        for kind, path in zip(("images", "labels"), pairs[k % len(pairs)], strict=True):
            copy = path.with_name(f"{k // len(pairs) // _SCANS_A_COPY}-{path.name}")
            if not copy.exists():
                shutil.copyfile(path, copy)
            os.link(copy, archive / f"{kind}Tr" / f"amos_{_FIRST_NUMBER + k}.nii.gz")
    _write_metadata(few / METADATA_NAME, archive / METADATA_NAME, n_scans)


def _write_metadata(few: Path, path: Path, n_scans: int) -> None:
    """Write a row a scan: the few rows again and again, of other patients and CT scanners."""
    with few.open(encoding="utf-8", newline="") as known, path.open("w", newline="") as file:
        (header, *rows), writer = csv.reader(known), csv.writer(file)
        writer.writerow(header)
        for k in range(n_scans):
            born = f"{1920 + k % 80}{k // 80 % 12 + 1:02d}{k // 960 % 28 + 1:02d}"
            _, _, sex, age, _, *rest = rows[k % len(rows)]
            writer.writerow([_FIRST_NUMBER + k, born, sex, age, _SCANNERS[k % 5], *rest])


@cache
def _models(root: Path) -> list[tuple[str, Receipt]]:
    """Return ids and receipts of the scans that all others are."""
    receipts = Receipts(Layout(root))
    found = ((name, receipts.read(name)) for name in receipts.sample_ids())
    return [
        (name, receipt)
        for name, receipt in found
        if receipt is not None
        and receipt.record.files is not None
        and receipt.record.files.subset == "train"
        and receipt.outputs[Output.VOLUME]
        and receipt.outputs[Output.MASKS]
    ]


def stub(models: Path, task: SampleTask) -> SampleResult:
    """Leave what making a sample leaves: a model's files as links, a volume and a receipt."""
    number = int(task.name.removeprefix("amos_")) - _FIRST_NUMBER
    known = _models(models)
    name, model = known[number % len(known)]
    target, layout = task.target, task.layout
    for folder in (target.path, layout.restore):
        folder.mkdir(parents=True, exist_ok=True)
    outputs = {}
    for output, files in model.outputs.items():  # the volume comes first
        outputs[output] = dict(files)
        for path, identity in files.items():
            source = models / path
            is_beside = source.parent.name == layout.restore.name
            to = layout.restore if is_beside else target.path
            to /= source.name.replace(name, task.name)
            del outputs[output][path]
            if to == target.volume:
                _write_volume(source, to, number)
            elif is_beside:
                _write_kept(source, to, target.volume)
            else:
                os.link(source, to)
            is_link = to.samefile(source)
            outputs[output] |= (
                {layout.key(to): identity} if is_link else Receipts(layout).identities(to)
            )
    receipt = _receipt(task, name, model, outputs)
    Receipts(layout).write(receipt)
    return summarise(receipt)


def _write_volume(model: Path, path: Path, number: int) -> None:
    """Write a volume with one other voxel, or all scans of a model would be duplicates."""
    content = bytearray(gzip.decompress(model.read_bytes()))
    content[_HEADER_BYTES : _HEADER_BYTES + 4] = np.float32(number).tobytes()
    path.write_bytes(gzip.compress(bytes(content), 1))


def _write_kept(model: Path, path: Path, volume: Path) -> None:
    """Write what is kept beside the receipt: it says of which volume it is."""
    with np.load(model) as file:
        arrays = dict(file)
    arrays["volume"] = np.frombuffer(bytes.fromhex(gzip_trailer(volume)), np.uint8)
    np.savez_compressed(path, **arrays)


def _receipt(
    task: SampleTask, name: str, model: Receipt, outputs: dict[Output, dict[str, str]]
) -> Receipt:
    """Return a model's receipt as that of another sample."""
    sample, record = task.source.sample, model.record
    files = replace(
        record.files,
        sample_id=task.name,
        seq=sample.seq,
        metadata=sample.metadata,
        folder=task.target.path.relative_to(task.layout.grouped).as_posix(),
    )
    issues = tuple(
        replace(found, issue=replace(found.issue, sample=task.name)) for found in record.issues
    )
    record = replace(record, sample_id=task.name, files=files, issues=issues)
    return replace(model, origin=task.planned, outputs=outputs, record=record, headers=task.headers)


@dataclass
class Watch:
    """A listener that notes time, CPU time and resident size at the marks of a run."""

    marks: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        """Note when a kind of work begins and ends."""
        if isinstance(event, (WorkStarted, WorkEnded)):
            self.mark(f"{event.work} {'begin' if isinstance(event, WorkStarted) else 'end'}")

    def mark(self, name: str) -> None:
        """Note where the run is."""
        gc.collect()
        self.marks.append(
            {
                "mark": name,
                "seconds": time.perf_counter(),
                "cpu_seconds": _cpu_seconds(),
                "held": _held_bytes(),
                "resident": _memory("VmRSS:"),
                "peak": _memory("VmHWM:"),
            }
        )


def _cpu_seconds() -> float:
    """Return the CPU time of this process and of those it has started."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(one.user + one.system for one in times)


_MALLOC_INFO = (
    *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
    *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
)


class _MallocInfo(ctypes.Structure):
    """What glibc's ``mallinfo2`` tells, in bytes or numbers."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in _MALLOC_INFO)


def _held_bytes() -> int:
    """Return the bytes that are in use: Python's own small blocks, and all others."""
    with TemporaryFile() as told:
        stderr = os.dup(2)
        os.dup2(told.fileno(), 2)
        try:
            sys._debugmallocstats()  # type: ignore[attr-defined]  # which writes there
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        told.seek(0)
        small = re.search(rb"bytes in allocated blocks\s*=\s*([0-9,]+)", told.read())
    libc = ctypes.CDLL(None)
    libc.mallinfo2.restype = _MallocInfo
    others = libc.mallinfo2()
    assert small is not None
    return int(small[1].replace(b",", b"")) + int(others.uordblks) + int(others.hblkhd)


def _memory(name: str) -> int:
    """Return a line of this process's status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))


def simulate(folder: Path) -> list[dict[str, Any]]:
    """Run over the archive in a folder, with two workers; return the marks."""
    import benchmarks.simulated_run as itself  # as workers import it

    root, watch = folder / "root", Watch()
    shutil.rmtree(root, ignore_errors=True)
    options = amos_dask.ClusterOptions(workers=2, dashboard_port=0, local_directory=str(folder))
    make = partial(itself.stub, folder / "models")
    watch.mark("begin")
    with patch("amos_dask.run.make_sample", make):
        result = amos_dask.run(root, folder / "amos22", cluster=options, progress=watch)
    watch.mark("end")
    if result.n_failed:
        raise RuntimeError(f"{result.n_failed} samples failed")
    return watch.marks


def main() -> None:
    """Run as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulated_run")
    parser.add_argument("n_scans", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--archive_only", action="store_true", help="make it and run nothing")
    options = parser.parse_args()
    if not (options.folder / "amos22" / METADATA_NAME).exists():
        shutil.rmtree(options.folder, ignore_errors=True)
        write_archive(options.folder, options.n_scans)
    print(json.dumps([] if options.archive_only else simulate(options.folder)))


if __name__ == "__main__":
    main()
