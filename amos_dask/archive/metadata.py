"""The metadata, a csv, tsv or xlsx: reading it, and finding the row of a scan.

AMOS22's official csv is shifted by one for MR: its rows 500..599 belong to scans 501..600. Which of
the two numberings a csv has is decided from the csv itself and said in an issue.
"""

from __future__ import annotations

import csv
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from amos_dask.archive.metadata_lines import read_lines
from amos_dask.datasets import SUBSETS_AS_WRITTEN, DatasetDefinition, MetadataFile, number_seq
from amos_dask.errors import ArchiveError
from amos_dask.file_refs import FileRef
from amos_dask.issues import Issue, make_issue
from amos_dask.metadata_forms import Understood, read_dates, read_sexes
from amos_dask.records import UNDEFINED, Metadata

OFFSETS = ("auto", "0", "-1")
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
    """The rows of the metadata by seq, and the offset that MR scans take.

    Parameters
    ----------
    definition : DatasetDefinition
        Which scanners are MR, and where MR numbers begin and end.
    rows : dict of str to list of Metadata
        Rows by seq, in file order.
    mr_offset : int
        0 or -1: what is added to an MR scan's number to find its row.
    path : str
        The file, for messages; empty when there is none.
    subsets : dict of str to str
        Seq -> subset, where a column tells it.
    """

    definition: DatasetDefinition
    rows: Rows = field(default_factory=dict)
    mr_offset: int = 0
    path: str = ""
    subsets: Mapping[str, str] = field(default_factory=dict)

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
            labelled = [int(seq) for seq, has_mask in mr_scans.items() if has_mask]
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
        A csv, tsv or xlsx file.
    definition : DatasetDefinition
        Whose metadata; its columns.
    encoding : str, optional
        The csv's, such as ``gb18030``; by default it is recognised.

    Raises
    ------
    ArchiveError
        When the file cannot be read or lacks a column.
    """
    form = definition.metadata
    if form is None:
        raise ArchiveError(f"{ref.path}: {definition.name} has no metadata.")
    try:
        lines, issues = read_lines(ref, encoding)
        table, bad = _read_table(lines, definition, form, ref.path)
    except csv.Error as error:
        raise ArchiveError(f"{ref.path}: not a readable csv ({error}).") from error
    issues += _name_bad(bad, ref.path)
    rows, found = _in_one_form(table.rows, form, ref.path)
    return replace(table, rows=rows), issues + found


def _read_table(
    lines: Iterator[list[str]], definition: DatasetDefinition, form: MetadataFile, path: str
) -> tuple[MetadataTable, list[str]]:
    """Return the table, and the rows that tell of no scan."""
    header = [name.strip() for name in next(lines, [])]
    of_subset = definition.subset_column
    needed = (form.id_column, *form.columns.values(), *((of_subset,) if of_subset else ()))
    missing = [name for name in needed if name not in header]
    if missing:
        found = ", ".join(map(reprlib.repr, header[:_MOST_NAMED]))
        raise ArchiveError(f"{path}: column {missing[0]!r} is missing; found {found or 'none'}.")
    where = {name: header.index(name) for name in needed}
    rows, subsets, bad = Rows(), dict[str, str](), list[str]()
    for number, line in enumerate(lines, start=2):
        if not any(cell.strip() for cell in line):
            continue
        cells = line + [""] * (len(header) - len(line))
        told = {name: cells[index] for name, index in where.items()}
        cell = told[form.id_column]
        seq = definition.find_seq(cell.strip())
        if seq is None:
            what = "a number" if definition.has_numbers else "an id"
            bad.append(f"row {number}: {form.id_column} {reprlib.repr(cell)} is not {what}")
            continue
        row = {name: _text(told[column]) for name, column in form.columns.items()}
        rows.setdefault(seq, []).append(Metadata(**row))
        subset = SUBSETS_AS_WRITTEN.get(told.get(of_subset, "").strip().lower())
        if subset is not None:
            subsets.setdefault(seq, subset)
    return MetadataTable(definition, rows, path=path, subsets=subsets), bad


def _name_bad(bad: list[str], path: str) -> list[Issue]:
    if len(bad) > _MOST_NAMED:
        bad = [*bad[:_MOST_NAMED], f"{len(bad) - _MOST_NAMED} more rows without a number"]
    left_aside = partial(make_issue, "bad_metadata_row", file=path, action="left aside")
    return [left_aside(message) for message in bad]


def _text(cell: str) -> str:
    cell = " ".join(cell.split())
    return UNDEFINED if cell.lower() in _MISSING else cell


def _in_one_form(rows: Rows, form: MetadataFile, path: str) -> tuple[Rows, list[Issue]]:
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
