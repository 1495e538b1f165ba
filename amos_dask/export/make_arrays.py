"""One sample's arrays: made and written on a worker, with a record that tells from what and how."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.export.files import (
    ExportTask,
    LeftOutError,
    Placing,
    export_sample,
    is_in_place,
    not_finite,
    with_values,
)
from amos_dask.export.resampling import (
    Grid,
    Volume,
    find_body_box,
    find_label_box,
    plan_grid,
    resample_mask,
    resample_volume,
    scale_to_window,
)
from amos_dask.export.wanted import RESULT_VERSION
from amos_dask.nifti import ImageInfo, Mask, make_header, write_image
from amos_dask.params import ArraySettings
from amos_dask.records import StepResult
from amos_dask.root.export_mark import identity_of
from amos_dask.root.staging import identity
from amos_dask.sample.source import CANNOT_BE_READ
from amos_dask.steps.header_check import bad_affine
from amos_dask.steps.mask import FittedMask

Arrays = Mapping[str, NDArray[Any]]
_LEVEL = 1
_CHUNK = (1, 96, 96, 96)  # channel, x, y, z: what is read at once of zarr


@dataclass(frozen=True, slots=True)
class Making:
    """How a sample's arrays are made; what its record says is known before they are."""

    settings: ArraySettings
    label_names: tuple[str, ...]
    channels: tuple[str, ...]

    def made_from(self, task: ExportTask) -> dict[str, Any]:
        """Return what tells whether a sample was made as it would be now, as JSON holds it."""
        files = [path for path in (*task.folder.volumes, task.folder.mask) if path.is_file()]
        told = {
            "sample": [task.name, task.subset, task.modality],
            "sources": {task.ours.key(path): identity(path) for path in files},
            "settings": asdict(self.settings),
            "labels": dict(enumerate(self.label_names)),
            "values_of_labels": dict(task.values),
            "channels": self.channels,
            "result_version": RESULT_VERSION,
        }
        return dict(json.loads(json.dumps(told)))

    def find_record(self, task: ExportTask) -> dict[str, Any] | None:
        """Return a sample's record, where it is as we wrote it and would be made from the same."""
        (record,) = task.others
        with suppress(OSError, ValueError, *CANNOT_BE_READ):
            if task.ours.ownership(record).is_as_written(record) and not task.has_non_finite_voxels:
                found = json.loads(record.read_bytes())
                if found["made_from"] == self.made_from(task):
                    return dict(found)
        return None


def make_arrays(task: ExportTask, making: Making) -> StepResult[Placing]:
    """Make one sample's arrays, on a worker, unless they are there; results as `export_sample`."""
    made = _find_made(task, making)
    return StepResult(task.name, made) if made else export_sample(task, partial(_make, making))


def _find_made(task: ExportTask, making: Making) -> Placing | None:
    """Return where a sample's arrays are, as they were made and would be now."""
    found, (record,) = making.find_record(task), task.others
    if found is None:
        return None
    files = {record: identity_of(record)}
    files |= {record.with_name(name): known for name, known in found["files"].items()}
    if not all(is_in_place(path, known) for path, known in files.items()):
        return None
    label = task.label if found["has_mask"] else None
    placing = Placing(task.ours, task.name, images=task.images, label=label)
    for path, known in files.items():
        placing.note(path, known, _sources(task)[path])
    return placing


def _sources(task: ExportTask) -> dict[Path, Path]:
    """Return file of the export -> the file of ROOT_DIR that verifying compares it with."""
    mask, volumes, (record,) = task.folder.mask, task.folder.volumes, task.others
    found = {record: mask if mask.exists() else volumes[0]}
    if task.label is not None:
        found[task.label] = mask
    return found | dict(zip(task.images, volumes, strict=False))  # one file may hold both


def _make(
    making: Making, task: ExportTask, info: ImageInfo, fitted: FittedMask | None, placing: Placing
) -> None:
    """Make and write a sample's arrays; its record comes last."""
    settings = making.settings
    if not geometry.is_usable(info.affine):
        file = task.layout.shown(task.folder.volume)
        raise LeftOutError(bad_affine(task.sample_id, file, "volume"))
    grid = plan_grid(info.shape, info.affine, settings.orientation, settings.spacing_mm)
    volume, mask, box = _read_volume(task, info, grid, 0), None, None
    if fitted is not None:
        mask = geometry.turned(grid.turn, with_values(task, fitted.labels))
    if settings.crop == "body":
        box = find_body_box(volume, task.modality)
    elif settings.crop == "labels" and mask is not None:
        box = find_label_box(mask)
    grid = grid if box is None else grid.cut(box, settings.margin_mm)
    volumes, windows = list[Volume](), list[tuple[float, float]]()
    for channel in range(len(task.folder.volumes)):
        if channel > 0:
            volume = _read_volume(task, info, grid, channel)
        window = settings.window
        if settings.percentiles is not None:
            low, high = (float(v) for v in np.percentile(volume, settings.percentiles))
            window = low, high
        volumes.append(resample_volume(volume, grid, settings.interpolation))
        if window is not None:
            windows.append(window)
            volumes[-1] = scale_to_window(volumes[-1], *window)
    mask = None if mask is None else resample_mask(mask, grid)
    placing.images, placing.label = task.images, None if mask is None else task.label
    sources, (record,) = _sources(task), task.others
    for path, write in _writers(making, task, grid, info.affine_code, volumes, mask).items():
        placing.write(path, write, sources[path])
    content = {
        "made_from": making.made_from(task),
        "files": {Path(key).name: file.identity for key, file in placing.files.items()},
        "has_mask": mask is not None,
        "shape": grid.shape,
        "affine": grid.affine.tolist(),
        "spacing_mm": geometry.voxel_sizes_mm(grid.affine).tolist(),
        "orientation": geometry.orientation_to(grid.affine),
        "is_cropped": box is not None,
        "cut_off_before": grid.start,
        "windows": windows,  # of each channel: the values that became 0 and 1
    }
    placing.write_json(record, content, indent=1, source=sources[record])


def _read_volume(task: ExportTask, info: ImageInfo, grid: Grid, channel: int) -> Volume:
    """Return a channel after the grid's turn, as (x, y, z) float32."""
    chunks = list[Volume]()
    if issues := task.show_volume(info.shape, chunks.append, channel):
        raise LeftOutError(*issues)
    values = np.concatenate(chunks)
    if not np.isfinite(values).all():
        raise not_finite(task)
    return geometry.turned(grid.turn, values.reshape(info.shape, order="F"))


def _writers(
    making: Making,
    task: ExportTask,
    grid: Grid,
    affine_code: int,
    volumes: Sequence[Volume],
    mask: Mask | None,
) -> dict[Path, Callable[[Path], None]]:
    """Return file of a sample -> what writes it under a temporary name."""
    if making.settings.form == "nifti":
        images = dict[Path, NDArray[Any]](zip(task.images, volumes, strict=True))
        if mask is not None and task.label is not None:
            images[task.label] = mask
        header = partial(make_header, grid.shape, affine=grid.affine, affine_code=affine_code)
        return {
            path: partial(write_image, header=header(array.dtype.type), array=array)
            for path, array in images.items()
        }
    volume = volumes[0] if len(volumes) == 1 else np.stack(volumes)
    arrays: dict[str, NDArray[Any]] = {"volume": volume}
    if mask is not None:
        arrays["mask"] = mask
    about = {
        "affine": grid.affine.tolist(),
        "label_names": list(making.label_names),
        "channel_names": list(making.channels),
    }
    write = _write_npz if making.settings.form == "npz" else _write_zarr
    return {task.images[0]: partial(write, arrays=arrays, about=about)}


def _write_npz(path: Path, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write arrays, and what is told about them as arrays; the same content is the same bytes."""
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=_LEVEL) as file:
        for name, array in {**arrays, **about}.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _write_zarr(path: Path, arrays: Arrays, about: Mapping[str, Any]) -> None:
    """Write arrays, and what is told as attributes of a group; as bytes like `_write_npz`."""
    import zarr

    store = dict[str, Any]()
    group = zarr.create_group(zarr.storage.MemoryStore(store), attributes=dict(about))
    for name, array in arrays.items():
        axes = ("channel", "x", "y", "z")[-array.ndim :]
        chunks = tuple(map(min, array.shape, _CHUNK[-array.ndim :]))
        group.create_array(name, data=array, chunks=chunks, dimension_names=axes)
    with ZipFile(path, "w", ZIP_STORED) as file:  # chunks are packed already
        for key, content in sorted(store.items()):
            with file.open(key, "w", force_zip64=True) as member:
                member.write(content.to_bytes())
