"""The metadata csv: reading it, and finding the row of a scan.

The official csv is shifted by one for MR: its rows 500..599 belong to scans 501..600. Which of
the two numberings a csv has is decided from the csv itself and said in an issue.
"""

from __future__ import annotations

import csv
import io
import re
import reprlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from amos_dask.archive.sources import read_bytes
from amos_dask.datasets import AMOS22, DatasetDefinition, MetadataCsv
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.records import UNDEFINED, FileRef, Metadata

OFFSETS = ("auto", "0", "-1")
_MISSING = frozenset({"", "nan", "none", "null", "n/a"})
_LARGEST_FILE = 16 << 20
_MOST_NAMED = 100  # rows or columns in issues and messages

Rows = dict[int, list[Metadata]]


@dataclass(frozen=True)
class MetadataTable:
    """The rows of a metadata csv by scan number, and the offset that MR scans take.

    Parameters
    ----------
    rows : dict of int to list of Metadata
        Rows by number, in file order.
    mr_offset : int
        0 or -1: what is added to an MR scan's number to find its row.
    path : str
        The csv, for messages; empty when there is none.
    """

    rows: Rows
    mr_offset: int = 0
    path: str = ""


def read_rows(ref: FileRef, definition: DatasetDefinition = AMOS22) -> tuple[Rows, list[Issue]]:
    """Read the rows of a metadata csv.

    Parameters
    ----------
    ref : FileRef
        The csv.
    definition : DatasetDefinition
        Whose csv; its columns.

    Raises
    ------
    ArchiveError
        When the file cannot be read or lacks a column.
    """
    csv_form = definition.metadata
    if csv_form is None:
        raise ArchiveError(f"{ref.path}: {definition.name} has no metadata csv.")
    try:
        content = read_bytes(ref, _LARGEST_FILE)
    except (UnreadableImageError, InaccessibleFileError) as error:
        raise ArchiveError(f"{ref.path}: {error}.") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    reader = csv.reader(io.StringIO(text, newline=""), strict=False)
    try:
        return _parse(reader, csv_form, definition.prefix, ref.path)
    except csv.Error as error:
        raise ArchiveError(f"{ref.path}: not a readable csv ({error}).") from error


def _parse(
    lines: Iterable[list[str]], form: MetadataCsv, prefix: str, path: str
) -> tuple[Rows, list[Issue]]:
    lines = iter(lines)
    scan_id = re.compile(rf"(?:{re.escape(prefix)}_)?([0-9]{{1,9}})(?:\.0*)?")
    header = [name.strip() for name in next(lines, [])]
    missing = [name for name in (form.id_column, *form.columns.values()) if name not in header]
    if missing:
        found = ", ".join(map(reprlib.repr, header[:_MOST_NAMED]))
        raise ArchiveError(f"{path}: column {missing[0]!r} is missing; found {found or 'none'}.")
    where = {name: header.index(column) for name, column in form.columns.items()}
    id_column = header.index(form.id_column)
    rows: Rows = {}
    issues: list[Issue] = []
    n_bad = 0
    for number, line in enumerate(lines, start=2):
        if not any(cell.strip() for cell in line):
            continue
        cells = line + [""] * (len(header) - len(line))
        match = scan_id.fullmatch(cells[id_column].strip())
        if match is None:
            n_bad += 1
            if n_bad <= _MOST_NAMED:
                cell = f"{form.id_column} {reprlib.repr(cells[id_column])}"
                issues.append(_bad_row(path, f"row {number}: {cell} is not a number"))
            continue
        row = Metadata(**{name: _text(cells[index]) for name, index in where.items()})
        rows.setdefault(int(match[1]), []).append(row)
    if n_bad > _MOST_NAMED:
        issues.append(_bad_row(path, f"{n_bad - _MOST_NAMED} more rows without a number"))
    return rows, issues


def _bad_row(path: str, message: str) -> Issue:
    return make_issue("bad_metadata_row", message, file=path, action="left aside")


def _text(cell: str) -> str:
    cell = " ".join(cell.split())
    return UNDEFINED if cell.lower() in _MISSING else cell


def decide_mr_offset(
    requested: str,
    rows: Rows,
    mr_scans: Collection[int],
    labelled_mr_scans: Collection[int],
    definition: DatasetDefinition,
    path: str,
) -> tuple[int, list[Issue]]:
    """Decide which row MR scan N takes: N + offset.

    Parameters
    ----------
    requested : {"auto", "0", "-1"}
        The user's choice.
    rows : dict of int to list of Metadata
        The csv.
    mr_scans, labelled_mr_scans : collection of int
        Numbers of the MR scans in the archive, and of those with a mask.
    definition : DatasetDefinition
        Which scanners are MR, and where MR numbers begin and end.
    path : str
        The csv, for messages.

    Returns
    -------
    offset : int
        0 or -1.
    issues : list of Issue
        The evidence, or that there is none.

    Raises
    ------
    ArchiveError
        When the csv has MR rows for both numberings.
    """
    if requested not in OFFSETS:
        raise ArchiveError(f"mr_metadata_offset {requested!r} is not one of {', '.join(OFFSETS)}.")
    if requested != "auto":
        offset, evidence = int(requested), "chosen by the user"
    else:
        found = _offset_from_evidence(rows, labelled_mr_scans, definition, path)
        if found is None:
            message = "the metadata does not tell whether MR scan N stands in row N or N-1"
            action = "row N used; choose with --mr-metadata-offset"
            unknown = make_issue("mr_metadata_offset_unknown", message, file=path, action=action)
            return 0, [unknown] if mr_scans else []
        offset, evidence = found
    if not mr_scans:
        return offset, []
    row = "N" if offset == 0 else f"N{offset}"
    message = f"MR scan N takes row {row} of the metadata: {evidence}"
    return offset, [make_issue("mr_metadata_offset", message, file=path)]


def _offset_from_evidence(
    rows: Rows, labelled: Collection[int], definition: DatasetDefinition, path: str
) -> tuple[int, str] | None:
    first, last = definition.mr_numbers[0], definition.mr_numbers[-1]

    def mr_scanners(number: int) -> list[str]:
        names = [row.manufacturer_model_name for row in rows.get(number, ())]
        return [name for name in names if definition.scanner_modality(name) == "mri"]

    below, at_end = mr_scanners(first - 1), mr_scanners(last)
    if below and at_end:
        raise ArchiveError(
            f"{path}: rows {first - 1} and {last} both name an MR scanner, so it is unclear which "
            "row MR scans take; say it with --mr-metadata-offset 0 or -1."
        )
    if below:
        return -1, f"row {first - 1} names an MR scanner and row {last} does not"
    if at_end:
        return 0, f"row {last} names an MR scanner and row {first - 1} does not"
    without_masks = definition.unlabelled_mr_scanners
    fitting = [
        offset
        for offset in (0, -1)
        if all(set(mr_scanners(number + offset)) - without_masks for number in labelled)
    ]
    if len(fitting) != 1:
        return None
    return fitting[0], f"only so does each of {len(labelled)} labelled MR scans find a fitting row"


def find_row(
    table: MetadataTable, number: int, definition: DatasetDefinition, sample_id: str
) -> tuple[Metadata, list[Issue]]:
    """Return the metadata of a scan, and an issue where its row is missing or ambiguous.

    Parameters
    ----------
    table : MetadataTable
        The csv, and which of its rows MR scans take.
    number : int
        The scan's.
    definition : DatasetDefinition
        The dataset.
    sample_id : str
        The scan, for issues.
    """
    row_number = number
    if table.mr_offset and number >= definition.mr_numbers[0]:
        row_number += table.mr_offset

    def issue(code: str, message: str, action: str) -> Issue:
        return make_issue(code, message, sample=sample_id, file=table.path, action=action)

    candidates = table.rows.get(row_number, [])
    if not candidates:
        return Metadata(), [issue("metadata_row_missing", f"no row {row_number}", "UND used")]
    if len(candidates) == 1:
        return candidates[0], []
    modality = definition.id_modality(number)
    fitting = [
        row
        for row in candidates
        if modality and definition.scanner_modality(row.manufacturer_model_name) == modality
    ]
    if len(fitting) == 1:
        return fitting[0], []
    found = f"{len(candidates)} rows {row_number}, of which {len(fitting)} fit the modality"
    chosen = (fitting or candidates)[0]
    return chosen, [issue("duplicate_metadata_row", found, "first of them used")]
