"""What callers ask for, checked before anything is read or written."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

from amos_dask.archive.locations import is_url, is_zip
from amos_dask.errors import AmosDaskError
from amos_dask.exclusions import NO_EXCLUSIONS, Exclusions, read_exclusions
from amos_dask.labels import LabelMap, read_label_map
from amos_dask.root.layout import Layout, SampleFolder, find_sample_folders
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import write_text


def find_label_map(layout: Layout, label_explanation: str | Path | None) -> LabelMap:
    """Return the label map: the file given, else ROOT's ``label_map.yaml``, else the dataset's."""
    if label_explanation is not None:
        return read_label_map(Path(label_explanation))
    if layout.label_map.exists():
        return read_label_map(layout.label_map)
    return layout.dataset.label_map


def keep_label_map(layout: Layout, label_map: LabelMap, *, replace: bool = False) -> None:
    """Write ROOT's ``label_map.yaml`` where it is absent, or is another and to be replaced."""
    exists = layout.label_map.exists()
    if not exists or (replace and read_label_map(layout.label_map) != label_map):
        write_text(layout.label_map, label_map.to_yaml())


def find_exclusions(layout: Layout, exclude: str | Path | None, label_map: LabelMap) -> Exclusions:
    """Return what denoising leaves: as the file given says, else ROOT's, else nothing."""
    if exclude is not None:
        return read_exclusions(Path(exclude), label_map, layout.dataset.prefix)
    if layout.denoise_exclude.exists():
        return read_exclusions(layout.denoise_exclude, label_map, layout.dataset.prefix)
    return NO_EXCLUSIONS


def keep_exclusions(layout: Layout, exclusions: Exclusions) -> None:
    """Write ROOT's ``denoise_exclude.csv``, unless it is the same."""
    path = layout.denoise_exclude
    if not path.exists() or path.read_text(encoding="utf-8-sig") != exclusions.text:
        write_text(path, exclusions.text)


def require_threshold(name: str, value: float) -> float:
    """Return a threshold as a float; raise unless it is finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise AmosDaskError(f"{name} must be a finite number of at least 0, not {value}.")
    return float(value)


def require_kernel(kernel_size: Sequence[int], filter_halfedge: int) -> tuple[tuple[int, int], int]:
    """Return kernel size and half-edge as whole numbers; raise when they cannot be used."""
    sizes = [int(size) for size in kernel_size]
    if len(sizes) != 2 or min(sizes) < 1:
        raise AmosDaskError(f"kernel_size must be two sizes of at least 1, not {kernel_size}.")
    if int(filter_halfedge) < 0:
        raise AmosDaskError(f"filter_halfedge must be at least 0, not {filter_halfedge}.")
    return (sizes[0], sizes[1]), int(filter_halfedge)


def require_outside_archive(path: Path, archive: str) -> None:
    """Raise when an output would lie inside the archive, which is never written to."""
    if is_url(archive) or is_zip(archive):
        return
    inside, outside = Path(os.path.realpath(path)), Path(os.path.realpath(archive))
    if inside.is_relative_to(outside):
        raise AmosDaskError(f"{path} lies inside the archive {archive}; write somewhere else.")


def require_sample_folders(root_dir: Path, layout: Layout) -> list[SampleFolder]:
    """Return the organised samples of ROOT_DIR's dataset below a folder; raise without any."""
    prefix = layout.dataset.prefix
    folders = Receipts(layout).leave_out_copies(find_sample_folders(root_dir, prefix))
    if not folders:
        raise AmosDaskError(
            f"{root_dir}: no sample folders ({prefix}_XXXX_*) here; run confirm-pairs first."
        )
    return folders


def find_archive(layout: Layout, archive: str | Path | None) -> str:
    """Return where the archive is: as given, else ``archive`` or ``amos22.zip`` in ROOT_DIR.

    A folder that holds nothing but the zip stands for the zip. The zip's name is that under which
    the dataset is published; a dataset without one is looked for in ``archive`` only.

    Raises
    ------
    AmosDaskError
        When none is given and none is in ROOT_DIR.
    """
    published = layout.dataset.published_zip
    zips = () if published is None else (published.name,)
    if archive is None:
        candidates = [layout.root / name for name in ("archive", *zips)]
        existing = [p for p in candidates if p.is_file() or (p.is_dir() and any(p.iterdir()))]
        if not existing:
            raise AmosDaskError(f"{layout.root}: {_neither(zips)} here; name it with --archive.")
        archive = existing[0]
    if is_url(str(archive)):
        return str(archive)
    path = Path(archive)
    inside = [path / name for name in zips if (path / name).is_file()]
    if inside and not any(path.glob("**/images*")):
        return str(inside[0])
    return str(path)


def _neither(zips: Sequence[str]) -> str:
    return " nor ".join(("neither archive/", *zips)) if zips else "no archive/"
