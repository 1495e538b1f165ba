"""Work on a ROOT_DIR: alone, or as a reader, and ended in order by Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amos_dask.interruption import raise_on_sigterm
from amos_dask.root.layout import Layout
from amos_dask.root.lock import hold_lock
from amos_dask.root.staging import remove_if_empty, remove_leftovers_below


@contextmanager
def working_on(layout: Layout, *outputs: Path, no_lock: bool = False) -> Iterator[None]:
    """Hold ROOT_DIR's lock within the ``with`` block, and leave no temporary files on a failure.

    SIGTERM raises `Terminated`. Where nothing was kept in the state folder, which holds the lock,
    it is gone afterwards as it was before.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    *outputs : Path
        Folders that tasks write to and that may lie elsewhere.
    no_lock : bool
        Take no lock, on a file system that has none.

    Raises
    ------
    AmosDaskError
        When somebody else works there, or ROOT_DIR cannot be written to.
    """
    made = [path for path in (layout.state, *layout.state.parents) if not path.exists()]
    try:
        with raise_on_sigterm(), hold_lock(layout, no_lock=no_lock):
            try:
                yield
            except BaseException:
                remove_leftovers_below(layout.descriptor, layout.grouped, layout.state, *outputs)
                raise
    finally:
        remove_if_empty(*made)


@contextmanager
def working_where_possible(layout: Layout) -> Iterator[None]:
    """As `working_on`, but without a lock where ROOT_DIR cannot be written to.

    For what need not write there: nobody else can either, as far as can be told from here.
    """
    if os.access(layout.state if layout.state.exists() else layout.root, os.W_OK):
        with working_on(layout):
            yield
    else:
        with reading_from(layout):
            yield


@contextmanager
def reading_from(layout: Layout) -> Iterator[None]:
    """Keep those who write off a ROOT_DIR within the ``with`` block; other readers may share it.

    SIGTERM raises `Terminated`. Nothing is left behind.

    Raises
    ------
    AmosDaskError
        When somebody works there.
    """
    with raise_on_sigterm(), hold_lock(layout, shared=True):
        yield
