"""Which dataset a ROOT_DIR is made of: as asked for, as kept in it, as the archive tells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from amos_dask.datasets import AMOS22, DatasetDefinition, find_definition
from amos_dask.errors import DatasetError
from amos_dask.root.layout import Layout
from amos_dask.root.staging import write_text


def layout_for(root: Path, dataset: str | Path | None) -> Layout:
    """Return the layout of a ROOT_DIR for the dataset asked for, by default the one it holds.

    Parameters
    ----------
    root : Path
        ROOT_DIR, made or not.
    dataset : str, Path or None
        ``amos22``, ``ct-org``, ``decathlon``, or the path of a definition.

    Raises
    ------
    DatasetError
        When there is no such dataset, or ROOT_DIR holds another one.
    """
    layout = Layout.of(root)
    if dataset is None:
        return layout
    definition = find_definition(dataset)
    if definition.open_questions:  # the archive is to tell first
        return replace(layout, dataset=definition)
    return settle_dataset(layout, definition)


def settle_dataset(layout: Layout, definition: DatasetDefinition) -> Layout:
    """Return the layout for a dataset that is known; raise when ROOT_DIR holds another one."""
    kept = Layout.of(layout.root)
    ours, theirs = kept.dataset, definition
    if _is_begun(kept) and (ours.name, ours.prefix) != (theirs.name, theirs.prefix):
        raise DatasetError(
            f"{layout.root} holds {ours.name}, and {theirs.name} was asked for; choose another "
            "ROOT_DIR."
        )
    return replace(layout, dataset=definition)


def _is_begun(layout: Layout) -> bool:
    """Return whether anything was made in a ROOT_DIR."""
    return any(p.exists() for p in (layout.receipts, layout.grouped, layout.archive_manifest))


def keep_dataset(layout: Layout) -> None:
    """Write ROOT's ``dataset.yaml``, which later commands go by; AMOS22 needs none."""
    path, text = layout.dataset_yaml, layout.dataset.to_yaml()
    if layout.dataset == AMOS22:
        path.unlink(missing_ok=True)
    elif not path.exists() or path.read_text(encoding="utf-8-sig") != text:
        write_text(path, text)
