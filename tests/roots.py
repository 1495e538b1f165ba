"""Comparing two ROOT_DIRs: images and YAML byte by byte, workbooks cell by cell; looking inside.

Of a report, what it tells is compared, but for its times and ROOT_DIR's name.
"""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterator, Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar
from zipfile import ZipFile

import nibabel as nib
import numpy as np
import pandas as pd
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from openpyxl import load_workbook

from amos_dask.cli import main
from amos_dask.datasets import AMOS22
from amos_dask.params import Params
from amos_dask.phantom import write_archive
from amos_dask.records import Sample
from amos_dask.root.layout import Layout
from amos_dask.root.staging import Staging
from amos_dask.sample.source import ArchiveSource
from amos_dask.sample.todo import EVERY_STEP, SampleTask
from amos_dask.tables.cells import cells_of
from amos_dask.tables.new_workbook import save_workbook

# What costs half of a small run, where nothing of it is looked at.
BARE = ("--no_report", "--no_statistics")


def contents(root: Path, *folders: str) -> dict[str, Any]:
    """Return relative path -> bytes, or for a workbook its cells by worksheet."""
    return {
        path.relative_to(root).as_posix(): _content(path)
        for folder in folders or ("descriptor", "grouped")
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def _content(path: Path) -> Any:
    if path.name == "report.html":
        told = report_data(path)
        known = told.get("content", {})  # none where a test has spoilt it
        # Where it lay, and what only a run remembers; single commands leave these unknown.
        of_run = {"root": "", "archive": [], "denoising": None}
        return {**told, "content": {**known, **of_run}, "times": None}
    content = path.read_bytes()
    return Cells(content) if path.suffix == ".xlsx" else content


class Cells(Mapping[str, tuple[tuple[Any, ...], ...]]):
    """The rows of each worksheet of a workbook, read when somebody looks; openpyxl is slow.

    Workbooks with the same parts are read once at most, and not at all to find them the same; when
    one was saved is no part of what it holds.
    """

    _read: ClassVar[dict[frozenset[tuple[str, int]], dict[str, tuple[tuple[Any, ...], ...]]]] = {}

    def __init__(self, workbook: bytes) -> None:
        self._workbook = workbook
        with ZipFile(BytesIO(workbook)) as parts:
            self._parts = frozenset(
                (part.filename, part.CRC)
                for part in parts.infolist()
                if part.filename != "docProps/core.xml"
            )

    def _sheets(self) -> dict[str, tuple[tuple[Any, ...], ...]]:
        if self._parts not in self._read:
            book = load_workbook(BytesIO(self._workbook))
            self._read[self._parts] = {sheet.title: tuple(sheet.values) for sheet in book}
        return self._read[self._parts]

    def __getitem__(self, title: str) -> tuple[tuple[Any, ...], ...]:
        return self._sheets()[title]

    def __iter__(self) -> Iterator[str]:
        return iter(self._sheets())

    def __len__(self) -> int:
        return len(self._sheets())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Cells):
            return NotImplemented
        return self._parts == other._parts or self._sheets() == other._sheets()

    __hash__ = None  # type: ignore[assignment]


def report_data(page: Path) -> dict[str, Any]:
    """Return id -> content of the data in a report: ``content``, ``times``, ``pictures-…``."""
    scripts = re.findall(
        r'<script type="application/json" id="([^"]+)">(.*?)</script>',
        page.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    return {name: json.loads(text) for name, text in scripts}


def besides_replaced(found: dict[str, Any]) -> dict[str, Any]:
    """Return contents without what tells that files had to make way."""
    told = ("descriptor/issues.xlsx", "descriptor/issues.jsonl", "descriptor/report.html")
    return {name: content for name, content in found.items() if name not in told}


def assert_same(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Fail with the names of the files that differ or are missing on one side."""
    assert sorted(first) == sorted(second), sorted(set(first) ^ set(second))
    different = [name for name in first if first[name] != second[name]]
    assert different == [], different


def program(*arguments: str | Path, exit_code: int = 0) -> Result:
    """Run the program and return what it said on stdout and stderr."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == exit_code, result.output
    return result


def sample_dir(root: Path, seq: str) -> Path:
    """Return the only folder of an organised sample below a folder."""
    (folder,) = (path for path in root.rglob(f"amos_{seq}_*") if path.is_dir())
    return folder


def archive_task(
    sample: Sample, root: Path, params: Params | None = None, *, has_earlier_output: bool = False
) -> SampleTask:
    """Return the task of making a sample from the archive, as a run has it."""
    layout, source = Layout(root), ArchiveSource(sample, AMOS22, has_earlier_output)
    target = layout.folder_for(layout.group(sample.modality), sample)
    return SampleTask(
        source, layout, target, EVERY_STEP, params or Params(AMOS22, AMOS22.label_map)
    )


def put_back(kept: Path, place: Path) -> Path:
    """Have a folder hold what another holds, whatever it held; files that are the same stay."""
    for path in list(place.iterdir()) if place.is_dir() else []:
        other = kept / path.name
        if path.is_symlink() or not other.exists() or path.is_dir() != other.is_dir():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    place.mkdir(parents=True, exist_ok=True)
    for path in kept.iterdir():
        if path.is_dir():
            put_back(path, place / path.name)
        elif not _is_same_file(path, place / path.name):
            shutil.copy2(path, place)
    return place


def _is_same_file(first: Path, second: Path) -> bool:
    if not second.exists():
        return False
    a, b = first.stat(), second.stat()
    return (a.st_mtime_ns, a.st_size, a.st_mode) == (b.st_mtime_ns, b.st_size, b.st_mode)


def ct_archive(folder: Path, n: int, seed: int = 7, *, has_val: bool = False) -> Path:
    """Write a tiny archive of CT scans, none of which is for validation unless asked for.

    Rows of other scans in the csv, and tables of another part of the split, would take time.
    """
    made = write_archive(folder, n_ct=n, n_mri=0, size="tiny", seed=seed)
    numbers = {str(int(sample.seq)) for sample in made.samples}
    header, *rows = made.metadata_path.read_text(encoding="utf-8").splitlines(keepends=True)
    own = [row for row in rows if row.partition(",")[0] in numbers]
    made.metadata_path.write_text("".join([header, *own]), encoding="utf-8")
    if not has_val:
        _give_to_training(made.path)
    return made.path


def _give_to_training(archive: Path) -> None:
    for path in archive.glob("*Va/*"):
        path.rename(path.parent.with_name(path.parent.name.replace("Va", "Tr")) / path.name)
    for part in archive.glob("*Va"):
        part.rmdir()
    listing = (archive / "dataset.json").read_text(encoding="utf-8").replace("Va/", "Tr/")
    listed = json.loads(listing)
    listed["training"] += listed.pop("validation")
    listed |= {"validation": [], "numValidation": 0, "numTraining": len(listed["training"])}
    (archive / "dataset.json").write_text(json.dumps(listed), encoding="utf-8")


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return relative path -> bytes of every file below a folder; times in receipts left out."""
    return {
        path.relative_to(folder).as_posix(): _without_times(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _without_times(path: Path) -> bytes:
    content = path.read_bytes()
    if path.parent.name != "receipts" or path.suffix != ".json":
        return content
    return re.sub(rb'"seconds": *\{[^}]*\}', b"", content)


def table(workbook: Path, title: str = "Manifest") -> dict[str, dict[str, Any]]:
    """Return ID -> row of a worksheet with an ``ID`` column."""
    header, *rows = Cells(workbook.read_bytes())[title]
    return {str(row["ID"]): row for row in (dict(zip(header, r, strict=True)) for r in rows)}


def issues(root: Path) -> list[dict[str, str]]:
    """Return the issues that a ROOT_DIR tells."""
    lines = (root / "descriptor" / "issues.jsonl").read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line]


def errors(root: Path) -> set[tuple[str, str]]:
    """Return sample and code of every error that a ROOT_DIR tells."""
    return {(i["sample"], i["code"]) for i in issues(root) if i["severity"] == "error"}


def voxels(path: Path) -> NDArray[Any]:
    """Return the voxels of an image."""
    return np.asarray(nib.load(path).dataobj)


def truncate(path: Path) -> None:
    """Damage a file: its second half is lost."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def make_inaccessible(path: Path) -> None:
    """Put a symbolic link that leads nowhere in a file's place."""
    path.unlink()
    path.symlink_to(path.with_name("not mounted"))


def change_sex(metadata: Path, number: int, sex: str) -> None:
    """Change a patient's sex in a metadata csv."""
    rows = list(csv.reader(metadata.read_text(encoding="utf-8").splitlines()))
    column = rows[0].index("Patient's Sex")
    for row in rows[1:]:
        if row[0] == str(number):
            row[column] = sex
    with metadata.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_workbook(path: Path, sheets: Mapping[str, pd.DataFrame]) -> None:
    """Write a workbook that is somebody's, with frames as worksheets."""
    with Staging() as staging:
        tables = {title: cells_of(frame) for title, frame in sheets.items()}
        save_workbook(staging.path_for(path), tables)
        staging.publish()
