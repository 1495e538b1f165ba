"""The metadata csv: reading it, and finding the row of a scan.

The official csv is shifted by one for MR: its rows 500..599 belong to scans 501..600. Which of
the two numberings a csv has is decided from the csv itself and said in an issue.
"""

from __future__ import annotations

import csv
import re
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

from amos_dask.archive.sources import read_bytes
from amos_dask.csv_text import decode, split_rows
from amos_dask.datasets import AMOS22, DatasetDefinition, MetadataCsv
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.issues import Issue, make_issue
from amos_dask.metadata_forms import Understood, read_dates, read_sexes
from amos_dask.records import UNDEFINED, FileRef, Metadata

OFFSETS = ("auto", "0", "-1")
_MISSING = frozenset({"", "nan", "none", "null", "n/a"})
_LARGEST_FILE = 16 << 20
_MOST_NAMED = 100  # rows or columns in issues and messages
_MOST_SHOWN = 5  # values of a column

_READ_COLUMN: Mapping[str, Callable[[Iterable[str]], Understood]] = {
    "sex": read_sexes,
    "birth_date": read_dates,
    "acquisition_date": read_dates,
}

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
    definition : DatasetDefinition
        Which scanners are MR, and where MR numbers begin and end.
    """

    rows: Rows
    mr_offset: int = 0
    path: str = ""
    definition: DatasetDefinition = AMOS22

    def find_row(self, number: int) -> tuple[Metadata, list[Issue]]:
        """Return the metadata of a scan, and an issue where its row is missing or ambiguous."""
        is_mr = bool(self.mr_offset) and number >= self.definition.mr_numbers[0]
        row_number = number + self.mr_offset if is_mr else number
        candidates = self.rows.get(row_number, [])
        modality = self.definition.id_modality(number)
        fitting = [row for row in candidates if modality and self._modality_of(row) == modality]
        if len(candidates) == 1 or len(fitting) == 1:
            return (fitting or candidates)[0], []
        issue = partial(make_issue, sample=self.definition.sample_id(number), file=self.path)
        if not candidates:
            missing = issue("metadata_row_missing", f"no row {row_number}", action="UND used")
            return Metadata(), [missing] if self.path else []
        found = f"{len(candidates)} rows {row_number}, of which {len(fitting)} fit the modality"
        chosen = (fitting or candidates)[0]
        return chosen, [issue("duplicate_metadata_row", found, action="first of them used")]

    def with_mr_offset(
        self, requested: str, mr_scans: Mapping[int, bool]
    ) -> tuple[MetadataTable, list[Issue]]:
        """Decide which row MR scan N takes: N + offset.

        Parameters
        ----------
        requested : {"auto", "0", "-1"}
            The user's choice.
        mr_scans : mapping of int to bool
            Number of an MR scan in the archive -> whether it has a mask.

        Returns
        -------
        table : MetadataTable
            The same with the offset.
        issues : list of Issue
            The evidence, or that there is none.

        Raises
        ------
        ArchiveError
            When the csv has MR rows for both numberings.
        """
        if requested not in OFFSETS:
            raise ArchiveError(
                f"mr_metadata_offset {requested!r} is not one of {', '.join(OFFSETS)}."
            )
        if requested != "auto":
            offset, evidence = int(requested), "chosen by the user"
        else:
            labelled = [number for number, has_mask in mr_scans.items() if has_mask]
            offset, evidence = self._find_offset(labelled)
        row = "N" if offset == 0 else f"N{offset}"
        message = f"MR scan N takes row {row} of the metadata: {evidence}"
        issue = make_issue("mr_metadata_offset", message, file=self.path)
        if not evidence:
            issue = make_issue(
                "mr_metadata_offset_unknown",
                "the metadata does not tell whether MR scan N stands in row N or N-1",
                file=self.path,
                action="row N used; choose with --mr-metadata-offset",
            )
        return replace(self, mr_offset=offset), [issue] if mr_scans else []

    def _find_offset(self, labelled: Collection[int]) -> tuple[int, str]:
        """Return the offset that the csv tells, and by what; 0 and nothing where it does not."""
        first, last = self.definition.mr_numbers[0], self.definition.mr_numbers[-1]
        below, at_end = self._mr_scanners(first - 1), self._mr_scanners(last)
        if below and at_end:
            raise ArchiveError(
                f"{self.path}: rows {first - 1} and {last} both name an MR scanner, so it is "
                "unclear which row MR scans take; say it with --mr-metadata-offset 0 or -1."
            )
        if below:
            return -1, f"row {first - 1} names an MR scanner and row {last} does not"
        if at_end:
            return 0, f"row {last} names an MR scanner and row {first - 1} does not"
        without_masks = self.definition.unlabelled_mr_scanners
        fitting = [
            offset
            for offset in (0, -1)
            if all(self._mr_scanners(number + offset) - without_masks for number in labelled)
        ]
        if len(fitting) != 1:
            return 0, ""
        n_scans = len(labelled)
        return fitting[0], f"only so does each of {n_scans} labelled MR scans find a fitting row"

    def _mr_scanners(self, number: int) -> set[str]:
        rows = self.rows.get(number, ())
        return {row.manufacturer_model_name for row in rows if self._modality_of(row) == "mri"}

    def _modality_of(self, row: Metadata) -> str | None:
        return self.definition.scanner_modality(row.manufacturer_model_name)


def read_rows(
    ref: FileRef, definition: DatasetDefinition = AMOS22, encoding: str | None = None
) -> tuple[Rows, list[Issue]]:
    """Read the rows of a metadata csv.

    Sexes and dates are brought to one form as far as they are understood; the rest stays as it is,
    and is said.

    Parameters
    ----------
    ref : FileRef
        The csv.
    definition : DatasetDefinition
        Whose csv; its columns.
    encoding : str, optional
        The csv's, such as ``gb18030``; by default it is recognised.

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
        decoded = decode(content, encoding)
    except ValueError as error:
        raise ArchiveError(
            f"{ref.path}: {error}; name the right one with --metadata_encoding, such as gb18030."
        ) from error
    scan_id = re.compile(rf"(?:{re.escape(definition.prefix)}_)?([0-9]{{1,9}})(?:\.0*)?")
    try:
        rows, issues = _parse(iter(split_rows(decoded.text)), csv_form, scan_id, ref.path)
    except csv.Error as error:
        raise ArchiveError(f"{ref.path}: not a readable csv ({error}).") from error
    if decoded.recognised:
        message = f"read as {decoded.recognised}, as in {decoded.word!r}"
        action = "if that is wrong, name the encoding with --metadata_encoding"
        issues.append(make_issue("metadata_encoding", message, file=ref.path, action=action))
    rows, found = _in_one_form(rows, csv_form, ref.path)
    return rows, issues + found


def _parse(
    lines: Iterator[list[str]], form: MetadataCsv, scan_id: re.Pattern[str], path: str
) -> tuple[Rows, list[Issue]]:
    header = [name.strip() for name in next(lines, [])]
    missing = [name for name in (form.id_column, *form.columns.values()) if name not in header]
    if missing:
        found = ", ".join(map(reprlib.repr, header[:_MOST_NAMED]))
        raise ArchiveError(f"{path}: column {missing[0]!r} is missing; found {found or 'none'}.")
    where = {name: header.index(column) for name, column in form.columns.items()}
    rows: Rows = {}
    bad: list[str] = []
    for number, line in enumerate(lines, start=2):
        if not any(cell.strip() for cell in line):
            continue
        cells = line + [""] * (len(header) - len(line))
        cell = cells[header.index(form.id_column)]
        match = scan_id.fullmatch(cell.strip())
        if match is None:
            bad.append(f"row {number}: {form.id_column} {reprlib.repr(cell)} is not a number")
            continue
        row = Metadata(**{name: _text(cells[index]) for name, index in where.items()})
        rows.setdefault(int(match[1]), []).append(row)
    if len(bad) > _MOST_NAMED:
        bad[_MOST_NAMED:] = [f"{len(bad) - _MOST_NAMED} more rows without a number"]
    left_aside = partial(make_issue, "bad_metadata_row", file=path, action="left aside")
    return rows, [left_aside(message) for message in bad]


def _text(cell: str) -> str:
    cell = " ".join(cell.split())
    return UNDEFINED if cell.lower() in _MISSING else cell


def _in_one_form(rows: Rows, form: MetadataCsv, path: str) -> tuple[Rows, list[Issue]]:
    """Return rows with each sex and date in the form that is kept, and what is not understood."""
    left = partial(make_issue, file=path, action="left as it is")
    forms: dict[str, dict[str, str]] = {}
    issues = []
    for name, title in form.columns.items():
        read = _READ_COLUMN.get(name)
        if read is None:
            continue
        texts = {getattr(row, name) for same_id in rows.values() for row in same_id}
        found = read(texts - {UNDEFINED})
        forms[name] = found.forms
        if found.ambiguous:
            message = (
                f"{title}: no row tells whether day or month is first: {_some(found.ambiguous)}"
            )
            issues.append(left("ambiguous_date", message))
        if found.unknown:
            message = f"{title}: not understood: {_some(found.unknown)}"
            issues.append(left("unknown_metadata_value", message))
    rows = {number: [_changed(row, forms) for row in found] for number, found in rows.items()}
    return rows, issues


def _changed(row: Metadata, forms: Mapping[str, Mapping[str, str]]) -> Metadata:
    found = {name: getattr(row, name) for name in forms}
    return replace(row, **{name: forms[name].get(text, text) for name, text in found.items()})


def _some(texts: Iterable[str]) -> str:
    shown = [reprlib.repr(text) for text in sorted(texts)]
    more = f" and {len(shown) - _MOST_SHOWN} more" if len(shown) > _MOST_SHOWN else ""
    return ", ".join(shown[:_MOST_SHOWN]) + more
