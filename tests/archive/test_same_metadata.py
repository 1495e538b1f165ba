"""However people save the csv, the samples are the same."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import discover_one

import amos_dask
from amos_dask.archive.discover import Discovery
from amos_dask.phantom import Archive

SEXES = {"F": ["f", " Female ", "FEMALE", "女"], "M": ["m", "Male", "MALE ", "男"]}
DATES: dict[str, Callable[[str, str, str], str]] = {
    "iso": lambda y, m, d: f"{y}-{m}-{d}",
    "slashes": lambda y, m, d: f"{y}/{int(m)}/{int(d)}",
    "dots": lambda y, m, d: f"{d}.{m}.{y}",
    "spreadsheet": lambda y, m, d: f"{y}-{m}-{d} 00:00:00",
    "number": lambda y, m, d: f"{y}{m}{d}.0",
    "day first": lambda y, m, d: f"{d}/{m}/{y}",
    "month first": lambda y, m, d: f"{int(m)}/{int(d)}/{y}",
}


def saved(phantom: Archive, delimiter: str, dates: str, site: str = "龙岗") -> str:
    """The phantom's csv as somebody may have saved it, with another name for its sites."""
    rows = list(csv.DictReader(io.StringIO(phantom.metadata_path.read_text(encoding="utf-8"))))
    for number, row in enumerate(rows):
        row["Site"] = row["Site"].replace("center", site)
        sex = row["Patient's Sex"]
        row["Patient's Sex"] = SEXES[sex][number % 4] if sex else ""
        for column in ("Patient's Birth Date", "Acquisition Date"):
            date = row[column]
            row[column] = DATES[dates](date[:4], date[4:6], date[6:]) if date else ""
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def find(phantom: Archive, folder: Path, content: bytes, encoding: str | None = None) -> Discovery:
    path = folder / "meta.csv"
    path.write_bytes(content)
    return discover_one(str(phantom.path), str(path), metadata_encoding=encoding)


@pytest.fixture(scope="module")
def clean(phantom: Archive, tmp_path_factory: pytest.TempPathFactory) -> Discovery:
    text = phantom.metadata_path.read_text(encoding="utf-8").replace("center", "龙岗")
    return find(phantom, tmp_path_factory.mktemp("clean"), text.encode())


@pytest.mark.parametrize("dates", DATES)
@pytest.mark.parametrize(
    ("encoding", "delimiter"),
    [("utf-8-sig", ","), ("utf-16", "\t"), ("utf-16-le", ";"), ("gb18030", ",")],
)
def test_samples_are_the_same(
    phantom: Archive, tmp_path: Path, clean: Discovery, encoding: str, delimiter: str, dates: str
) -> None:
    content = saved(phantom, delimiter, dates).encode(encoding)
    found = find(phantom, tmp_path, content)
    assert list(found.samples) == list(clean.samples)
    said = sorted({issue.code for issue in found.issues} - {issue.code for issue in clean.issues})
    assert said == (["metadata_encoding"] if encoding == "gb18030" else [])
    if said:
        named = find(phantom, tmp_path, content, encoding)
        assert list(named.samples) == list(clean.samples)
        assert named.issues == clean.issues


def test_a_command_takes_the_encoding(phantom: Archive, tmp_path: Path) -> None:
    path = tmp_path / "meta.csv"
    text = saved(phantom, ";", "dots", "Győr").replace("男", "m").replace("女", "f")
    path.write_bytes(text.encode("cp1250"))

    def sites(encoding: str | None) -> set[str]:
        output = tmp_path / "R/descriptor/archive_manifest.xlsx"
        result = amos_dask.archive_manifest(
            phantom.path,
            output,
            labeled_data_meta=path,
            metadata_encoding=encoding,
            cluster=amos_dask.ClusterOptions(workers=1, dashboard_port=0),
            progress="none",
        )
        assert result.frame is not None
        return set(result.frame["site"])

    assert "Győr" in sites("cp1250")
    with pytest.raises(amos_dask.AmosDaskError, match=r"meta\.csv: .*--metadata_encoding"):
        sites("utf-8")
