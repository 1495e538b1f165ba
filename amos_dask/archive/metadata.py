"""The metadata, a csv, tsv or xlsx: reading it, and finding the row of a scan.

AMOS22's official csv is shifted by one for MR: its rows 500..599 belong to scans 501..600. Which of
the two numberings a csv has is decided from the csv itself and said in an issue.
"""

from __future__ import annotations

import csv
import datetime
import io
import reprlib
import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from amos_dask.archive.sources import read_bytes
from amos_dask.datasets import SUBSETS_AS_WRITTEN, DatasetDefinition, number_seq
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError, first_of
from amos_dask.file_refs import FileRef
from amos_dask.handwritten import Understood, decode, read_dates, read_sexes, split_rows
from amos_dask.issues import Issue, make_issue
from amos_dask.records import UNDEFINED, Metadata

OFFSETS = ("auto", "0", "-1")
_LARGEST_FILE, _LARGEST_UNPACKED = 16 << 20, 256 << 20  # of a worksheet, unpacked
_UNREADABLE = (zipfile.BadZipFile, ValueError, KeyError, IndexError, OSError, SyntaxError)
_MISSING = frozenset({"", "nan", "none", "null", "n/a"})
_MOST_NAMED = 100  # rows or columns in issues and messages
_MOST_SHOWN = 5  # values of a column

_READ_COLUMN: Mapping[str, Callable[[Iterable[str]], Understood]] = {
    "sex": read_sexes,
    "birth_date": read_dates,
    "acquisition_date": read_dates,
}

Rows = dict[str, list[Metadata]]


@dataclass(frozen=True)
class MetadataTable:
    """The rows of the metadata by seq, and the offset that MR scans take."""

    definition: DatasetDefinition  # which scanners are MR, and where MR numbers begin and end
    rows: Rows = field(default_factory=dict)  # in file order
    mr_offset: int = 0  # 0 or -1: what is added to an MR scan's number to find its row
    path: str = ""  # of the file, for messages; empty when there is none
    subsets: Mapping[str, str] = field(default_factory=dict)  # by seq, where a column tells it

    def find_row(self, seq: str) -> tuple[Metadata, list[Issue]]:
        """Return the metadata of a scan, and an issue where its row is missing or ambiguous."""
        row_number = seq
        if self.mr_offset and int(seq) >= self.definition.mr_numbers[0]:
            row_number = number_seq(int(seq) + self.mr_offset)
        candidates = self.rows.get(row_number, [])
        modality = self.definition.id_modality(seq)
        fitting = [row for row in candidates if modality and self._modality_of(row) == modality]
        if len(candidates) == 1 or len(fitting) == 1:
            return (fitting or candidates)[0], []
        issue = partial(make_issue, sample=self.definition.sample_id(seq), file=self.path)
        shown = row_number.lstrip("0") if self.definition.has_numbers else row_number
        if not candidates:
            missing = issue("metadata_row_missing", f"no row {shown or 0}", action="UND used")
            return Metadata(), [missing] if self.path else []
        found = f"{len(candidates)} rows {shown or 0}, of which {len(fitting)} fit the modality"
        chosen = (fitting or candidates)[0]
        return chosen, [issue("duplicate_metadata_row", found, action="first of them used")]

    def with_mr_offset(
        self, requested: str, mr_scans: Mapping[str, bool]
    ) -> tuple[MetadataTable, list[Issue]]:
        """Decide which row MR scan N takes: N + offset.

        Parameters
        ----------
        requested : {"auto", "0", "-1"}
            The user's choice.
        mr_scans : mapping of str to bool
            Seq of an MR scan in the archive -> whether it has a mask.

        Returns
        -------
        MetadataTable, list of Issue
            The same with the offset; the evidence, or that there is none.

        Raises
        ------
        ArchiveError
            When the csv has MR rows for both numberings.
        """
        if requested not in OFFSETS:
            raise ArchiveError(
                f"mr_metadata_offset {requested!r} is not one of {', '.join(OFFSETS)}."
            )
        if requested == "auto":
            labelled = [int(seq) for seq, has_mask in mr_scans.items() if has_mask]
            offset, evidence = self._find_offset(labelled)
        else:
            offset, evidence = int(requested), "chosen by the user"
        if evidence:
            row = f"N{offset or ''}"
            message = f"MR scan N takes row {row} of the metadata: {evidence}"
            issue = make_issue("mr_metadata_offset", message, file=self.path)
        else:
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
        without_masks = set(self.definition.unlabelled_mr_scanners)
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
        rows = self.rows.get(number_seq(number), ())
        return {row.manufacturer_model_name for row in rows if self._modality_of(row) == "mri"}

    def _modality_of(self, row: Metadata) -> str | None:
        return self.definition.scanner_modality(row.manufacturer_model_name)


def read_metadata(
    ref: FileRef, definition: DatasetDefinition, encoding: str | None = None
) -> tuple[MetadataTable, list[Issue]]:
    """Read the metadata.

    Sexes and dates are brought to one form as far as they are understood; the rest stays as it is,
    and is said.

    Parameters
    ----------
    ref : FileRef
        A csv, tsv or xlsx file of at most 16 MiB.
    definition : DatasetDefinition
        Tells its columns.
    encoding : str, optional
        The csv's, such as ``gb18030``; by default it is recognised, which is said.

    Raises
    ------
    ArchiveError
        When the file cannot be read or lacks a column.
    """
    form, of_subset = definition.metadata, definition.subset_column
    if form is None:
        raise ArchiveError(f"{ref.path}: {definition.name} has no metadata.")
    lines, issues = _read_lines(ref, encoding)
    header = [name.strip() for name in lines[0]] if lines else []
    for name in (form.id_column, *form.columns.values(), *([of_subset] if of_subset else [])):
        if name not in header:
            found = ", ".join(map(reprlib.repr, header[:_MOST_NAMED])) or "none"
            raise ArchiveError(f"{ref.path}: column {name!r} is missing; found {found}.")
    numbered = [
        (number, line + [""] * (len(header) - len(line)))
        for number, line in enumerate(lines[1:], start=2)
        if any(cell.strip() for cell in line)
    ]
    at_id = header.index(form.id_column)
    seqs = definition.find_seqs([cells[at_id].strip() for _, cells in numbered])
    what = "a number" if definition.has_numbers else "an id"
    bad = [
        f"row {number}: {form.id_column} {reprlib.repr(cells[at_id])} is not {what}"
        for seq, (number, cells) in zip(seqs, numbered, strict=True)
        if seq is None
    ]
    if len(bad) > _MOST_NAMED:
        bad[_MOST_NAMED:] = [f"{len(bad) - _MOST_NAMED} more rows without a number"]
    left_aside = partial(make_issue, "bad_metadata_row", file=ref.path, action="left aside")
    issues += map(left_aside, bad)
    told = [(seq, cells) for seq, (_, cells) in zip(seqs, numbered, strict=True) if seq is not None]
    columns = {}
    for name, title in form.columns.items():
        texts = [_text(cells[header.index(title)]) for _, cells in told]
        columns[name], found_issues = _in_one_form(texts, name, title, ref.path)
        issues += found_issues
    rows, subsets = Rows(), dict[str, str]()
    for n, (seq, cells) in enumerate(told):
        row = {name: texts[n] for name, texts in columns.items()}
        rows.setdefault(seq, []).append(Metadata(**row))
        subset = cells[header.index(of_subset)].strip().lower() if of_subset else ""
        if subset in SUBSETS_AS_WRITTEN:
            subsets.setdefault(seq, SUBSETS_AS_WRITTEN[subset])
    return MetadataTable(definition, rows, path=ref.path, subsets=subsets), issues


def _in_one_form(
    texts: list[str], name: str, title: str, path: str
) -> tuple[list[str], list[Issue]]:
    """Return a column's sexes or dates in the form that is kept, and what is not understood."""
    read = _READ_COLUMN.get(name)
    if read is None:
        return texts, []
    found = read(set(texts) - {UNDEFINED})
    left = partial(make_issue, file=path, action="left as it is")
    issues = []
    if found.ambiguous:
        message = f"{title}: no row tells whether day or month is first: {_some(found.ambiguous)}"
        issues.append(left("ambiguous_date", message))
    if found.unknown:
        message = f"{title}: not understood: {_some(found.unknown)}"
        issues.append(left("unknown_metadata_value", message))
    return [found.forms.get(text, text) for text in texts], issues


def _text(cell: str) -> str:
    cell = " ".join(cell.split())
    return UNDEFINED if cell.lower() in _MISSING else cell


def _some(texts: Iterable[str]) -> str:
    return first_of([reprlib.repr(text) for text in sorted(texts)], _MOST_SHOWN)


def _read_lines(ref: FileRef, encoding: str | None) -> tuple[list[list[str]], list[Issue]]:
    """Return the lines, the header first, and an issue where the encoding was recognised."""
    try:
        content = read_bytes(ref, _LARGEST_FILE)
    except (UnreadableImageError, InaccessibleFileError) as error:
        raise ArchiveError(f"{ref.path}: {error}.") from error
    if ref.path.lower().endswith(".xlsx"):
        return _read_worksheet(content, ref.path), []
    try:
        decoded = decode(content, encoding)
    except ValueError as error:
        raise ArchiveError(
            f"{ref.path}: {error}; name the right one with --metadata_encoding, such as gb18030."
        ) from error
    message = f"read as {decoded.recognised}, as in {decoded.word!r}"
    action = "if that is wrong, name the encoding with --metadata_encoding"
    issue = make_issue("metadata_encoding", message, file=ref.path, action=action)
    try:
        return split_rows(decoded.text), [issue] if decoded.recognised else []
    except csv.Error as error:
        raise ArchiveError(f"{ref.path}: not a readable csv ({error}).") from error


def _read_worksheet(content: bytes, path: str) -> list[list[str]]:
    """Return the rows of the first worksheet, as texts."""
    import openpyxl  # takes as long as all else

    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            if sum(member.file_size for member in packed.infolist()) > _LARGEST_UNPACKED:
                raise ValueError(f"larger than {_LARGEST_UNPACKED >> 20} MiB unpacked")
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        lines = book.worksheets[0].iter_rows(values_only=True)
        return [[_shown(cell) for cell in line] for line in lines]
    except _UNREADABLE as error:
        raise ArchiveError(f"{path}: not a readable workbook ({error}).") from error


def _shown(cell: Any) -> str:
    """Return what a cell shows: whole numbers without a point, days without hours."""
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    if isinstance(cell, datetime.datetime):
        return cell.strftime("%Y%m%d")
    return str(cell)
