"""Twins of workbooks for programs: each worksheet as a csv file, or as Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from amos_dask.errors import AmosDaskError
from amos_dask.root.layout import MANIFEST_SHEET, safe_name
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.table_state import OwnFile
from amos_dask.tables.cells import LARGEST_SHEET, Cells

# What a program for spreadsheets would take for a formula when it opens a csv file.
_FORMULA = tuple("=+-@\t\r")


def require_twins(own: OwnFiles) -> None:
    """Raise when there are Parquet files to write, or to keep up to date, and nothing to do so."""
    if "parquet" in _forms(own, own.find_twins()):
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise AmosDaskError(
                "Parquet needs pyarrow: pip install 'amos-dask[parquet]'; or give --no_parquet, "
                "which removes the .parquet files of earlier runs."
            ) from error


def has_unwanted(own: OwnFiles) -> bool:
    """Return whether there are twins of ours in a form that is to go."""
    return any(own.twins.get(path.suffix[1:]) is False for path in own.find_twins())


def _forms(own: OwnFiles, ours: Iterable[Path]) -> set[str]:
    """Return the forms that are asked for, or there already and not to go."""
    forms = dict.fromkeys((path.suffix[1:] for path in ours), True) | own.twins
    return {form for form, is_wanted in forms.items() if is_wanted}


def put_twins(own: OwnFiles, book: Path, sheets: Mapping[str, Cells], *, whole: bool) -> None:
    """Write the twins of worksheets, in the forms that are asked for or there already.

    ``dataset_manifest.csv`` is the worksheet ``Manifest``, or the only one; others have their
    title in the name: ``dataset_manifest.split01_standard.csv``. Parquet that is longer than a
    worksheet can be is a folder of part files.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR, and which twins are asked for.
    book : Path
        The workbook; absolute.
    sheets : mapping of str to Cells
        Worksheet title -> table.
    whole : bool
        These are all worksheets of ours; other twins go.
    """
    ours = own.find_twins(book)
    forms = _forms(own, ours)
    twins = dict[Path, bytes]()
    for title, table in sheets.items() if forms else ():
        is_main = title == MANIFEST_SHEET or (whole and len(sheets) == 1)
        stem = book.stem if is_main else f"{book.stem}.{safe_name(title)}"
        if "csv" in forms:
            twins[book.with_name(f"{stem}.csv")] = _csv(table)
        if "parquet" in forms:
            path, parts = book.with_name(f"{stem}.parquet"), list(_parquet(table))
            names = [path / f"part-{number:05d}.parquet" for number in range(len(parts))]
            twins |= zip(names if len(parts) > 1 else [path], parts, strict=True)
    for path in ours:
        if path not in twins and (whole or path.suffix[1:] not in forms):
            own.remove(path)
    for path, content in twins.items():
        with own.trying():  # one that has no place hinders no other
            own.write_content(path, content, told=OwnFile(twin_of=own.layout.key(book)))


def _csv(table: Cells) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([_no_formula(value) for value in row] for row in (table.columns, *table.rows))
    return text.getvalue().encode()


def _no_formula(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _parquet(table: Cells) -> Iterator[bytes]:
    """Yield a table as Parquet files, each with as many rows as a worksheet has at most."""
    import pyarrow as pa
    from pyarrow import parquet

    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.columns)
    whole = pa.table(dict(zip(table.columns, map(_column, columns), strict=True)))
    for start in range(0, whole.num_rows or 1, LARGEST_SHEET - 1):
        packed = io.BytesIO()
        parquet.write_table(whole.slice(start, LARGEST_SHEET - 1), packed)
        yield packed.getvalue()


def _column(values: tuple[Any, ...]) -> Any:
    """Return an array of one type: that of the values, else text."""
    import pyarrow as pa

    try:
        found = pa.array(values)
    except pa.ArrowException:
        found = pa.array([None if value is None else str(value) for value in values])
    return found.cast(pa.string()) if pa.types.is_null(found.type) else found
