"""Work on a ROOT_DIR: alone, and ended in order by Ctrl-C and SIGTERM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from amos_dask.engine.interruption import raise_on_sigterm
from amos_dask.root.layout import Layout
from amos_dask.root.lock import hold_lock, require_unlocked
from amos_dask.root.staging import remove_if_empty, remove_leftovers_below


@contextmanager
def working_on(layout: Layout, *outputs: Path, break_lock: bool = False) -> Iterator[None]:
    """Hold ROOT_DIR's lock within the ``with`` block, and leave no temporary files on a failure.

    SIGTERM raises `Terminated`. Where nothing was kept in the state folder, which holds the lock,
    it is gone afterwards as it was before.

    Parameters
    ----------
    layout : Layout
        ROOT_DIR.
    *outputs : Path
        Folders that tasks write to and that may lie elsewhere.
    break_lock : bool
        Take the lock from whoever holds it.

    Raises
    ------
    AmosDaskError
        When somebody else who may be alive works there, or ROOT_DIR cannot be written to.
    """
    made = [path for path in (layout.state, *layout.state.parents) if not path.exists()]
    try:
        with raise_on_sigterm(), hold_lock(layout, break_lock=break_lock):
            try:
                yield
            except BaseException:
                remove_leftovers_below(layout.descriptor, layout.grouped, layout.state, *outputs)
                raise
    finally:
        remove_if_empty(*made)


@contextmanager
def working_where_possible(layout: Layout) -> Iterator[None]:
    """As `working_on`, but only look for a lock where ROOT_DIR cannot be written to.

    For what need not write there: nobody else can either, as far as can be told from here.
    """
    if os.access(layout.state if layout.state.exists() else layout.root, os.W_OK):
        with working_on(layout):
            yield
        return
    require_unlocked(layout)
    yield
