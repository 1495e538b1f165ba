"""One sample's arrays: made and written on a worker, with a record that tells from what and how."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from amos_dask import geometry
from amos_dask.export.array_files import write_arrays
from amos_dask.export.files import (
    Exported,
    ExportFolder,
    ExportTask,
    LeftOutError,
    Places,
    Placing,
    export_sample,
    is_in_place,
    not_finite,
    with_values,
)
from amos_dask.export.resampling import (
    Box,
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
from amos_dask.root.export_mark import ExportedFile, identity_of
from amos_dask.root.identity import identity
from amos_dask.sample.source import CANNOT_BE_READ
from amos_dask.steps.header_check import bad_affine
from amos_dask.steps.mask import FittedMask


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
            "sources": {_of(task).key(path): identity(path) for path in files},
            "settings": asdict(self.settings),
            "labels": dict(enumerate(self.label_names)),
            "values_of_labels": dict(task.values),
            "channels": self.channels,
            "result_version": RESULT_VERSION,
        }
        return dict(json.loads(json.dumps(told)))

    def find_record(self, task: ExportTask) -> dict[str, Any] | None:
        """Return a sample's record, where it is as we wrote it and would be made from the same."""
        record = task.record
        if record is None or task.has_non_finite_voxels:
            return None
        with suppress(OSError, ValueError, *CANNOT_BE_READ):
            if _of(task).ownership(record).is_as_written(record):
                found = json.loads(record.read_bytes())
                if found["made_from"] == self.made_from(task):
                    return dict(found)
        return None

    def find_made(self, task: ExportTask) -> Exported | None:
        """Return where a sample's arrays are, as they were made and would be now."""
        found = self.find_record(task)
        if found is None or task.record is None:
            return None
        files = {task.record: identity_of(task.record)}
        files |= {task.record.parent / name: known for name, known in found["files"].items()}
        if not all(is_in_place(path, known) for path, known in files.items()):
            return None
        placing, sources = Placing(_of(task), task.name), _sources(task)
        for path, known in files.items():
            source = sources[path]
            told = ExportedFile(known, placing.folder.key(source), identity(source))
            placing.files[placing.folder.key(path)] = told
        return task.images, task.label if found["has_mask"] else None, placing


def _of(task: ExportTask) -> ExportFolder:
    """Return what of the export is ours of a sample's files."""
    if task.export is None:
        raise ValueError(f"{task.name}: the export is not known")
    return task.export


def _sources(task: ExportTask) -> dict[Path, Path]:
    """Return file of the export -> the file of ROOT_DIR that verifying compares it with."""
    mask = task.folder.mask
    found = {} if task.label is None else {task.label: mask}
    found |= dict(zip(task.images, task.folder.volumes, strict=False))
    if task.record is not None:
        found[task.record] = mask if mask.exists() else task.folder.volume
    return found


def make_arrays(task: ExportTask, making: Making) -> StepResult[Exported]:
    """Make one sample's arrays, on a worker, unless they are there; results as `export_sample`."""
    made = making.find_made(task)
    if made is not None:
        return StepResult(task.name, made)
    return export_sample(task, partial(_make, making=making))


def _make(
    task: ExportTask,
    info: ImageInfo,
    fitted: FittedMask | None,
    placing: Placing,
    making: Making,
) -> Places:
    """Make and write a sample's arrays; its record comes last."""
    settings = making.settings
    if not geometry.is_usable(info.affine):
        file = task.layout.shown(task.folder.volume)
        raise LeftOutError(bad_affine(task.sample_id, file, "volume"))
    grid = plan_grid(info.shape, info.affine, settings.orientation, settings.spacing_mm)
    mask = None
    if fitted is not None:
        mask = geometry.turned(grid.turn, with_values(task, fitted.labels))
    first, windows = _read_volume(task, info, 0), list[tuple[float, float]]()
    box = _find_box(settings, task.modality, geometry.turned(grid.turn, first), mask)
    grid = grid if box is None else grid.cut(box, settings.margin_mm)
    arrays = dict[Path, Any]()  # the arrays that each file holds
    for channel, image in enumerate(task.folder.volumes):
        volume = first if channel == 0 else _read_volume(task, info, channel)
        window = settings.window
        if settings.percentiles is not None:
            low, high = (float(v) for v in np.percentile(volume, settings.percentiles))
            window = low, high
        turned = geometry.turned(grid.turn, volume)
        made = resample_volume(turned, grid, settings.interpolation)
        if window is not None:
            windows.append(window)
            made = scale_to_window(made, *window)
        if settings.form == "nifti":
            _write_image(placing, task.images[channel], grid, info, made, image)
        else:
            arrays[image] = made
    made_mask = None if mask is None else resample_mask(mask, grid)
    label = None if made_mask is None else task.label
    if settings.form != "nifti":
        _write_one(task, placing, making, grid, [*arrays.values()], made_mask)
    elif label is not None and made_mask is not None:
        _write_image(placing, label, grid, info, made_mask, task.folder.mask)
    _write_record(task, placing, making, grid, box, windows, has_mask=label is not None)
    return task.images, label


def _read_volume(task: ExportTask, info: ImageInfo, channel: int) -> Volume:
    """Return a channel as (x, y, z) float32, in Fortran order."""
    chunks: list[Volume] = []
    issues = task.show_volume(info.shape, chunks.append, channel)
    if issues:
        raise LeftOutError(*issues)
    values = np.concatenate(chunks)
    if not np.isfinite(values).all():
        raise not_finite(task)
    return values.reshape(info.shape, order="F")


def _find_box(
    settings: ArraySettings, modality: str, volume: Volume, mask: Mask | None
) -> Box | None:
    if settings.crop == "body":
        return find_body_box(volume, modality)
    return find_label_box(mask) if settings.crop == "labels" and mask is not None else None


def _write_image(
    placing: Placing, path: Path, grid: Grid, info: ImageInfo, voxels: Any, source: Path
) -> None:
    header = make_header(grid.shape, voxels.dtype.type, grid.affine, info.affine_code)
    placing.write(path, partial(write_image, header=header, array=voxels), source)


def _write_one(
    task: ExportTask,
    placing: Placing,
    making: Making,
    grid: Grid,
    channels: Sequence[Volume],
    mask: Mask | None,
) -> None:
    """Write all arrays of a sample into one file."""
    arrays: dict[str, Any] = {"volume": channels[0] if len(channels) == 1 else np.stack(channels)}
    if mask is not None:
        arrays["mask"] = mask
    about = {
        "affine": grid.affine.tolist(),
        "label_names": list(making.label_names),
        "channel_names": list(making.channels),
    }
    write = partial(write_arrays, form=making.settings.form, arrays=arrays, about=about)
    placing.write(task.images[0], write, task.folder.volume)


def _write_record(
    task: ExportTask,
    placing: Placing,
    making: Making,
    grid: Grid,
    box: Box | None,
    windows: Sequence[tuple[float, float]],
    *,
    has_mask: bool,
) -> None:
    if task.record is None:
        return
    content = {
        "made_from": making.made_from(task),
        "files": {Path(key).name: file.identity for key, file in placing.files.items()},
        "has_mask": has_mask,
        "shape": grid.shape,
        "affine": grid.affine.tolist(),
        "spacing_mm": geometry.voxel_sizes_mm(grid.affine).tolist(),
        "orientation": geometry.orientation_to(grid.affine),
        "is_cropped": box is not None,
        "cut_off_before": grid.start,
        "windows": windows,  # of each channel: the values that became 0 and 1
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    write = partial(Path.write_text, data=text, encoding="utf-8")
    placing.write(task.record, write, _sources(task)[task.record])
