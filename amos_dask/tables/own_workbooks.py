"""Workbooks of ours: written anew when what they show changed, with what people put into them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd
from openpyxl import Workbook

from amos_dask.errors import ForeignFileError, ManifestError, WorkbookLockedError
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.receipts import AlteredFile, Change, find_altered
from amos_dask.root.table_state import IndexOf, OwnFile, OwnSheet
from amos_dask.tables.carrying import restore_titles, write_into
from amos_dask.tables.cells import (
    COLUMNS_SHEET,
    Cells,
    cells_of_frames,
    cells_of_sheets,
    columns_table,
    describe,
    unpacked,
)
from amos_dask.tables.drafts import Drafted, put_drafted
from amos_dask.tables.new_workbook import save_workbook
from amos_dask.tables.twins import put_twins
from amos_dask.tables.workbook import describe_worksheet, load, loses_something

Sheets = Mapping[str, pd.DataFrame]


def put_workbook(
    own: OwnFiles,
    path: Path,
    sheets: Sheets,
    *,
    index_of: IndexOf | None = None,
    cells: Mapping[str, Cells] | None = None,
    drafted: Drafted | None = None,
) -> None:
    """Have a workbook of ours hold frames as worksheets.

    One that holds them already stays the file it is. Whatever else people put into it stays in it;
    where that is not possible, or cells of ours were edited, it goes to ``replaced/`` first.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR.
    path : Path
        The ``.xlsx``; absolute.
    sheets : mapping of str to DataFrame
        Worksheet title -> frame.
    index_of : IndexOf, optional
        What it is an index of.
    cells : mapping of str to Cells, optional
        Worksheets as `cells_of_sheets` gives them, where they are known.
    drafted : Drafted, optional
        What a worker has made of these frames.

    Raises
    ------
    ForeignFileError
        When a workbook that is not ours and holds something else is in the way, or ours cannot be
        read; in a run it is an issue.
    WorkbookLockedError
        When it is open in another program; in a run it is an issue.
    """
    held = cells_of_sheets(own.layout.root, path, sheets) if cells is None else cells
    if drafted is None:
        held = unpacked(held)
    described = describe(held) if drafted is None else drafted.sheets
    told = OwnFile(sheets=described, index_of=index_of)
    save = partial(save_workbook, sheets=held)
    if drafted is not None and drafted.path is not None:
        save = partial(put_drafted, sheets=held, written=drafted.path)
    with own.trying():
        before = own.find_written(path)
        if before is None and (path.is_symlink() or not path.is_file()):
            own.write(path, save, told=told)  # which says what is the matter with a folder or link
        elif before is None:
            _look_into(own, path, held, told, save)
        elif before.sheets == told.sheets:
            own.note(path, replace(before, index_of=index_of))
        elif before.is_shared or before.sheets.keys() - held.keys():
            _look_into(own, path, held, told, save)
        else:
            require_closed(path)
            own.write(path, save, told=told)
        if own.has_twins:
            put_twins(own, path, {title: held[title] for title in sheets}, whole=True)


def require_closed(path: Path) -> None:
    """Raise `WorkbookLockedError` when another program has a workbook open."""
    # Of Excel, which leaves two letters of a longer name out, and of LibreOffice.
    names = (f"~${path.name}", f"~${path.name[2:]}", f".~lock.{path.name}#")
    for name in names if path.exists() else ():
        if path.with_name(name).exists():
            raise WorkbookLockedError(path, name)


def _look_into(
    own: OwnFiles,
    path: Path,
    sheets: Mapping[str, Cells],
    told: OwnFile,
    save: Callable[[Path], None],
) -> None:
    """Write a workbook that is not known to be all ours."""
    write_new = partial(own.write, path, save, told=told)
    own.make_way_to(path)
    try:
        workbook = load(path)
    except ManifestError as error:
        if not own.ownership.adopt:
            why = "cannot be read: a password protects it, or it is damaged"
            raise ForeignFileError(path, why) from error
        write_new()
        return
    with closing(workbook):
        if _is_columns_of_others(own, path, workbook, told):
            sheets = {title: table for title, table in sheets.items() if title != COLUMNS_SHEET}
            told = replace(told, sheets={title: told.sheets[title] for title in sheets})
        restore_titles(workbook, sheets)
        if _holds(own, path, workbook, told):
            known = own.find(path)
            is_of_run = known is not None and known.is_of_run
            own.note(path, replace(told, is_shared=True, is_of_run=is_of_run))
        elif not own.ownership.lists(path):
            write_new()  # unless it is to stay
        else:
            require_closed(path)
            _write_into(own, path, workbook, sheets, told)


def _is_columns_of_others(own: OwnFiles, path: Path, workbook: Workbook, told: OwnFile) -> bool:
    """Return whether worksheet ``Columns`` is not ours to write.

    Somebody has one; or the workbook, which may be of an earlier version, is not known as ours.
    """
    ours, known = told.sheets.get(COLUMNS_SHEET), own.find(path)
    if ours is None:
        return False
    has_ours = known is not None and COLUMNS_SHEET in known.sheets
    for title in workbook.sheetnames:
        if title.casefold() == COLUMNS_SHEET.casefold():
            header = {str(cell.value) for cell in workbook[title][1]}
            if has_ours and header.issuperset(ours.columns):
                return False
            return not describe_worksheet(workbook, title, ours.columns).is_like(ours)
    return not (has_ours or own.ownership.lists(path))


def _holds(own: OwnFiles, path: Path, workbook: Workbook, told: OwnFile) -> bool:
    """Return whether a workbook holds what is to be written, and no columns of ours besides."""
    ours = _known_columns(own, path, workbook)
    return all(
        title in workbook.sheetnames
        and describe_worksheet(workbook, title, sheet.columns).is_like(sheet)
        and set(ours.get(title, ())) <= set(sheet.columns)
        for title, sheet in told.sheets.items()
    )


def _known_columns(own: OwnFiles, path: Path, workbook: Workbook) -> dict[str, tuple[str, ...]]:
    """Return worksheet -> columns that we wrote there, as far as it is known."""
    before = own.find(path)
    if before is not None:
        return {title: sheet.columns for title, sheet in before.sheets.items()}
    if not own.is_of_earlier_version(path):
        return {}
    return _all_columns(workbook)  # version 0.1.0 left none of others


def _all_columns(workbook: Workbook) -> dict[str, tuple[str, ...]]:
    return {
        sheet.title: tuple(str(cell.value) for cell in sheet[1] if cell.value is not None)
        for sheet in workbook.worksheets
    }


def add_worksheets(
    own: OwnFiles,
    path: Path,
    sheets: Sheets,
    *,
    keep_copy: bool = False,
    whole: bool = False,
) -> None:
    """Write worksheets of ours into a workbook, whoever's it is; all others stay.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR. A workbook that was as we wrote it is so afterwards.
    path : Path
        The workbook; absolute.
    sheets : mapping of str to DataFrame
        Worksheet title -> frame.
    keep_copy : bool
        The workbook that was there goes to ``replaced/`` first.
    whole : bool
        Worksheets of these titles are replaced with all that is in them.

    Raises
    ------
    ManifestError
        When it cannot be read.
    WorkbookLockedError
        When it is open in another program.
    """
    require_closed(path)
    before = own.find_written(path)
    told = None
    given = cells_of_frames(own.layout.root, path, sheets)
    book = dict(given)
    if before is not None:
        known = {**before.sheets, **describe(given)}
        if COLUMNS_SHEET in before.sheets and COLUMNS_SHEET not in sheets:
            others = {t: s.columns for t, s in known.items() if t != COLUMNS_SHEET}
            book[COLUMNS_SHEET] = columns_table(others)
        told = replace(before, sheets={**known, **describe(book)}, is_shared=True)
    with closing(load(path)) as workbook:
        restore_titles(workbook, book)
        is_lossy = loses_something(path)
        ours = _all_columns(workbook) if whole else {}
        aside = not write_into(workbook, book, ours) or is_lossy or keep_copy
        own.write(
            path,
            workbook.save,
            told=told,
            carried=not aside,
            aside=aside,
            lists=told is not None,
        )
    if own.has_twins:
        put_twins(own, path, given, whole=False)


def _write_into(
    own: OwnFiles,
    path: Path,
    workbook: Workbook,
    sheets: Mapping[str, Cells],
    told: OwnFile,
) -> None:
    before = own.find(path)
    known = {} if before is None else before.sheets
    is_edited = not own.is_as_written(path) and (
        before is None or bool(find_edited(workbook, known))
    )
    is_lossy = loses_something(path)
    is_whole = write_into(workbook, sheets, _known_columns(own, path, workbook))
    aside = is_edited or is_lossy or not is_whole
    own.write(
        path, workbook.save, told=replace(told, is_shared=True), carried=not aside, aside=aside
    )


def find_edited(workbook: Workbook, known: Mapping[str, OwnSheet]) -> list[str]:
    """Return the worksheets of ours that are there and do not hold what we wrote."""
    return [
        title
        for title, sheet in known.items()
        if title in workbook.sheetnames
        and not describe_worksheet(workbook, title, sheet.columns).is_like(sheet)
    ]


def find_altered_files(
    own: OwnFiles, names: Iterable[str], *, of_run: bool = False
) -> list[AlteredFile]:
    """Return the files that do not hold what `run` wrote; workbooks may hold more.

    Parameters
    ----------
    own : OwnFiles
        The files of ROOT_DIR.
    names : iterable of str
        Paths relative to ROOT_DIR.
    of_run : bool
        What a single command wrote counts as altered: it may tell of other things than a run's.
    """
    found = list[AlteredFile]()
    for name in names:
        path = own.layout.root / name
        known = own.find(path)
        if known is None:
            found += _not_listed(own, path, name)
        elif of_run and not known.is_of_run:
            found.append(AlteredFile(name, Change.OTHER, "was written by a single command"))
        else:
            altered = find_altered(own.layout.root, {name: known.identity})
            if altered and _holds_all(path, known):
                own.note(path, replace(known, is_shared=True))  # so that it is not opened again
            else:
                found += altered
    return found


def _not_listed(own: OwnFiles, path: Path, name: str) -> Sequence[AlteredFile]:
    if own.is_of_earlier_version(path):
        return ()
    if path.exists():
        return [AlteredFile(name, Change.OTHER, "is not as it was written")]
    return [AlteredFile(name, Change.GONE, "is gone")]


def _holds_all(path: Path, known: OwnFile) -> bool:
    """Return whether a workbook that was saved by others holds what we wrote."""
    if not known.sheets or not path.is_file():
        return False
    try:
        with closing(load(path, read_only=True)) as workbook:
            return set(known.sheets) <= set(workbook.sheetnames) and not find_edited(
                workbook, known.sheets
            )
    except ManifestError:
        return False
