"""One sample as arrays: read, put on the grid that is asked for, written in a format."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask.export import resampling as on_grid
from amos_dask.export.files import (
    Exported,
    ExportTask,
    LeftOutError,
    Placing,
    read_fitting_mask,
    require_volume,
)
from amos_dask.export.resampling import GridSettings, Volume
from amos_dask.geometry import Affine
from amos_dask.nifti import ImageInfo, Mask, make_header, write_image
from amos_dask.records import StepResult

ENDINGS = {"nifti": ".nii.gz", "npz": ".npz", "zarr": ".zarr.zip"}
_ORDERS = {"linear": 1, "cubic": 3}


@dataclass(frozen=True)
class Arrays:
    """A sample on its new grid."""

    channels: tuple[Volume, ...]  # (x, y, z) float32
    label: Mask | None  # (x, y, z) uint8; None without a mask
    affine: Affine  # voxel index to RAS+ mm, of all of them


@dataclass(frozen=True)
class ArrayMaker:
    """Makes the files of one sample, on a worker."""

    settings: GridSettings  # with a spacing in mm
    form: str  # a key of `ENDINGS`
    channels: tuple[str, ...]  # names
    labels: tuple[str, ...]  # name of each value

    def __call__(self, task: ExportTask) -> StepResult[Exported]:
        """Place a sample's arrays, unless they are there, made of the same.

        Returns
        -------
        StepResult of (tuple of Path, Path or None, Placing)
            As `export_sample`.
        """
        if task.export is None:
            raise ValueError(f"{task.name}: the export is not known")
        mask_file, placing = task.folder.mask, Placing(task.export, task.name)
        try:
            volume = require_volume(task)
            # Scans for testing may have none.
            has_mask = task.subset != "test" or mask_file.exists()
            sources = (*task.folder.volumes, *([mask_file] if has_mask else []))
            told = placing.made_from(*sources, made_with=self._made_with(task))
            label = task.label if has_mask else None
            finals = (*task.images, *([] if label is None else [label]))
            # All or none: what is in one of them depends on the others.
            if not all(placing.keep(final, told) for final in finals):
                arrays = make_arrays(task, volume, self.settings, has_mask=has_mask)
                for final, write in zip(finals, self._writers(arrays, volume), strict=True):
                    placing.write(final, write, told)
        except LeftOutError as error:
            return StepResult(task.name, None, error.issues)
        return StepResult(task.name, (task.images, label, placing))

    def _made_with(self, task: ExportTask) -> str:
        """Return what else the content of the files depends on."""
        settings = {**asdict(self.settings), "values": dict(task.values), "form": self.form}
        names = [on_grid.RESULT_VERSION, self.channels, self.labels]
        return json.dumps([settings, *names], sort_keys=True)

    def _writers(self, arrays: Arrays, volume: ImageInfo) -> list[Any]:
        """Return a function that writes each file: images, then the mask where it has its own."""
        if self.form == "npz":
            return [lambda path: _write_npz(path, arrays)]
        if self.form == "zarr":
            return [lambda path: _write_zarr(path, arrays, self.channels, self.labels)]
        each: list[NDArray[Any]] = list(arrays.channels)
        each += [] if arrays.label is None else [arrays.label]
        return [_nifti_writer(array, arrays.affine, volume.affine_code) for array in each]


def make_arrays(
    task: ExportTask, volume: ImageInfo, settings: GridSettings, *, has_mask: bool
) -> Arrays:
    """Return a sample's volume and mask on the grid that is asked for.

    Parameters
    ----------
    task : ExportTask
        The sample.
    volume : ImageInfo
        Header of its scan.
    settings : GridSettings
        Which grid, and which intensities.
    has_mask : bool
        Read the mask as well.
    """
    label: Mask | None = None
    if has_mask:
        label = task.valued(read_fitting_mask(task, volume).labels)
        label, _ = on_grid.reoriented(label, volume.affine, settings.orientation)
    channels, affine = list[Volume](), volume.affine
    for path in task.folder.volumes:
        values, affine = on_grid.reoriented(
            _read_values(task, path), volume.affine, settings.orientation
        )
        channels.append(values)
    ends = [_find_ends(values, settings) for values in channels]
    if settings.spacing is not None and settings.spacing != "median":
        before, shape = affine, channels[0].shape
        shape, affine = on_grid.respaced(shape, before, settings.spacing)
        ratios = np.diag(np.linalg.solve(before, affine))[:3].tolist()
        order = _ORDERS[settings.interpolation]
        channels = [on_grid.resampled(values, ratios, shape, order) for values in channels]
        label = None if label is None else on_grid.resampled_labels(label, ratios, shape)
    box = _find_box(channels[0], label, task.modality, settings)
    if box is not None:
        channels, affine = [values[box] for values in channels], on_grid.moved(affine, box)
        label = None if label is None else label[box]
    found = (
        values if each is None else on_grid.scaled(values, *each)
        for values, each in zip(channels, ends, strict=True)
    )
    return Arrays(tuple(found), label, affine)


def _read_values(task: ExportTask, path: Path) -> Volume:
    """Return the voxels of one of a sample's volumes."""
    with task.open(path) as image:
        values = np.concatenate([chunk.astype(np.float32, copy=False) for chunk in image.chunks()])
        return values.reshape(image.info.shape, order="F")


def _find_ends(values: Volume, settings: GridSettings) -> tuple[float, float] | None:
    """Return which values become 0 and 1; None where all stay as they are."""
    if settings.percentiles is None:
        return settings.window
    low, high = np.percentile(values, settings.percentiles)
    return float(low), float(high)


def _find_box(
    volume: Volume, label: Mask | None, modality: str, settings: GridSettings
) -> on_grid.Box | None:
    """Return what to crop to; None for all, as where there are no labels to crop to."""
    box = None
    if settings.crop == "body":
        box = on_grid.body_box(volume, modality)
    elif settings.crop == "labels" and label is not None:
        box = on_grid.labels_box(label)
    return None if box is None else on_grid.with_margin(box, settings.margin, volume.shape)


# ---------------------------------------------------------------- formats


def _nifti_writer(array: NDArray[Any], affine: Affine, code: int) -> Any:
    header = make_header(array.shape, array.dtype.type, affine, code, "")
    return lambda path: write_image(path, header, array)


def _write_npz(path: Path, arrays: Arrays) -> None:
    """Write ``image`` (channel, x, y, z), ``affine`` and, where there is one, ``label``."""
    found: dict[str, Any] = {"image": np.stack(arrays.channels), "affine": arrays.affine}
    if arrays.label is not None:
        found["label"] = arrays.label
    with path.open("wb") as file:  # numpy adds an ending to names
        np.savez_compressed(file, **found)


def _write_zarr(
    path: Path, arrays: Arrays, channels: tuple[str, ...], labels: tuple[str, ...]
) -> None:
    """Write the same as a group of a zarr store in a zip file, with names as attributes."""
    import zarr

    kept: dict[str, Any] = {}
    group = zarr.open_group(zarr.storage.MemoryStore(kept), mode="w")
    group.attrs.update(
        {"affine": arrays.affine.tolist(), "channels": list(channels), "labels": list(labels)}
    )
    group.create_array("image", data=np.stack(arrays.channels))
    if arrays.label is not None:
        group.create_array("label", data=np.ascontiguousarray(arrays.label))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(kept):  # zarr's own zip store says when each was written
            with file.open(name, "w") as entry:
                entry.write(kept[name].to_bytes())
