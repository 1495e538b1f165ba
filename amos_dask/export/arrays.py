"""Arrays to train on: turned, resampled, cut out, scaled; each sample's record tells how.

A sample is made on a worker, from its volumes and mask under ROOT_DIR. Its record, written last,
tells from what and how: so what is made already is known after a kill as well.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.engine.events import Listener
from amos_dask.errors import AmosDaskError
from amos_dask.export.files import (
    OWN_KEY,
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
    find_box,
    plan_grid,
    resample_and_scale,
    resample_mask,
)
from amos_dask.export.update import Form, export
from amos_dask.export.wanted import RESULT_VERSION, asked_for, find_headers
from amos_dask.nifti import ImageInfo, Mask, make_header, write_image
from amos_dask.params import ArraySettings
from amos_dask.records import StepResult
from amos_dask.results import CommandResult
from amos_dask.root.export_mark import identity_of, path_from
from amos_dask.root.layout import absolute
from amos_dask.root.staging import identity
from amos_dask.sample.selection import EVERYTHING, Selection
from amos_dask.sample.source import CANNOT_BE_READ
from amos_dask.steps.header_check import bad_affine
from amos_dask.steps.mask import FittedMask

_LARGEST = 1 << 31  # voxels of one array
# What a sample's file is called after its id; of NIfTI each image is a file.
_ENDINGS = {"npz": ".npz", "zarr": ".zarr.zip"}
_CHUNK = (1, 96, 96, 96)  # channel, x, y, z: what is read at once of zarr
_NEEDS_ZARR = "zarr files need zarr: pip install 'amos-dask[zarr]', also on the workers."


def export_arrays(
    root_dir: str | Path,
    directory: str | Path,
    *,
    orientation: str | None = None,
    spacing: Sequence[float] | str | None = None,
    interpolation: str = "linear",
    window: Sequence[float] | None = None,
    percentiles: Sequence[float] | None = None,
    crop: str | None = None,
    margin: float = 10.0,
    form: str = "nifti",
    merge_prostate_uterus: bool = False,
    mr_without_14_16: bool = False,
    label_explanation: str | Path | None = None,
    split_name: str | None = None,
    selection: Selection = EVERYTHING,
    adopt: bool = False,
    no_lock: bool = False,
    cluster: Any = None,
    progress: str | Listener = "auto",
) -> CommandResult:
    """Export organised samples as arrays to train on: turned, resampled, cut out, scaled.

    The first voxel of a resampled grid is where the scan's is, as in MONAI's ``Spacing``, and
    nothing is smoothed before. A mask's voxel gets the label with the largest share there: each
    label's binary mask is interpolated linearly. Made in the order of the parameters below.

    Parameters
    ----------
    root_dir : str or Path
        ROOT_DIR made by `run`, or a folder with sample folders below it.
    directory : str or Path
        Gets ``train``, ``val`` and ``test``, in which each sample has its files and a record
        (JSON), and ``arrays.json``, which lists them. An earlier export there is brought up to
        date; files in it that are not as it wrote them stay.
    orientation : str, optional
        Where the axes are to point to, such as ``RAS``; by default as the scan is stored.
    spacing : (float, float, float) or "median", optional
        Voxel size in mm along these axes; ``median`` is that of the chosen scans with labels.
    interpolation : {"linear", "cubic"}
        How volumes are resampled.
    window : (float, float), optional
        Values that become 0 and 1; what is outside becomes 0 or 1 as well.
    percentiles : (float, float), optional
        The same with percentiles of each channel of each scan, before it is resampled.
    crop : {"body", "labels"}, optional
        Cut out the box of the body (largest connected region above -500 HU, in other than CT above
        the mean) or of all labels above 0. A scan without them stays whole.
    margin : float
        Millimetres that a crop leaves around it.
    form : {"nifti", "npz", "zarr"}
        Files: ``.nii.gz`` under the names of ROOT_DIR; or one ``.npz`` or ``.zarr.zip`` a sample
        with ``volume`` (float32; (x, y, z), or (channel, x, y, z) of several), ``mask`` (uint8),
        ``affine`` (voxel index to RAS+ mm) and ``label_names``.
    merge_prostate_uterus, mr_without_14_16, label_explanation, split_name, selection
        As for `export_nnunet`; the parts of a split are told in ``arrays.json``.
    adopt, no_lock, cluster, progress
        As for `export_nnunet`.

    Returns
    -------
    CommandResult
        With a row a sample as ``frame``; samples that could not be exported are issues.

    Raises
    ------
    AmosDaskError
        When settings cannot be used, the extra ``amos-dask[zarr]`` is missing, there are no samples
        to train on, or the place is taken, in an archive, or has not enough room.

    Examples
    --------
    >>> result = amos_dask.export_arrays(
    ...     "data/AMOS22", "arrays", orientation="RAS", spacing=(3, 3, 5), progress="none"
    ... )
    >>> result.summary.partition(";")[0]
    '5 training, 3 validation and 4 test scans'
    """
    if isinstance(spacing, str) and spacing != "median":
        raise AmosDaskError(f"spacing must be three sizes in mm, or median, not {spacing!r}.")
    is_median = isinstance(spacing, str)
    settings = ArraySettings(
        form=form,
        orientation=orientation and orientation.upper(),
        spacing_mm=None if is_median else _numbers(spacing),
        is_median=is_median,
        interpolation=interpolation,
        window=_numbers(window),
        percentiles=_numbers(percentiles),
        crop=crop,
        margin_mm=float(margin) if crop else 0.0,  # without a crop it changes nothing
    )
    settings.require_valid()
    if settings.orientation is not None:
        geometry.pointing_to(settings.orientation)
    if form == "zarr" and find_spec("zarr") is None:
        raise AmosDaskError(_NEEDS_ZARR)
    base = absolute(directory)
    labels = label_explanation, merge_prostate_uterus, mr_without_14_16, split_name
    return export(
        replace(asked_for("arrays", root_dir, selection, *labels), arrays=settings),
        lambda mark, layout: _Arrays(mark, layout.dataset, base, base / "arrays.json"),
        adopt=adopt,
        no_lock=no_lock,
        cluster=cluster,
        progress=progress,
    )


def _numbers(values: Any) -> Any:
    return None if values is None else tuple(map(float, values))


class _Arrays(Form):
    copies = False

    @property
    def settings(self) -> ArraySettings:
        """How arrays are made."""
        return self.mark.arrays or ArraySettings()

    def grid(self, info: ImageInfo) -> Grid:
        """Return the grid of a scan that is not cut."""
        how = self.settings
        return plan_grid(info.shape, info.affine, how.orientation, how.spacing_mm)

    def place(self, task: ExportTask) -> ExportTask:
        folder, form = self.base / task.subset, self.settings.form
        if form == "nifti":
            images = tuple(folder / path.name for path in task.folder.volumes)
            label = folder / task.folder.mask.name
        else:
            label = folder / f"{task.name}{_ENDINGS[form]}"
            images = (label,)
        return replace(task, images=images, label=label, others=(folder / f"{task.name}.json",))

    def sizes(self, tasks: Iterable[ExportTask]) -> list[int]:
        """Return at most how many bytes each sample takes that is to be made; none with a crop."""
        sizes = []
        for task, info in find_headers(tasks):
            shape = self.grid(info).shape
            if (n_voxels := math.prod(shape)) > _LARGEST:
                told = f"{'x'.join(map(str, shape))} voxels are too many"
                raise AmosDaskError(f"{task.name}: {told}; give larger ones.")
            if self.settings.crop is None and self.find_record(task) is None:
                sizes.append(n_voxels * (4 * len(self.channels) + 1))
        return sizes

    def lists(self, placed: Sequence[ExportTask]) -> dict[Path, Any]:
        content = {
            **self.describe(self.dataset.name),
            "settings": asdict(self.settings),
            "channels": list(self.channels),
            "labels": {str(value): name for value, name in enumerate(self.mark.label_names)},
            "samples": [self._entry(task) for task in placed],
            OWN_KEY: self.mark.record,
        }
        return {self.sign: content}

    def _entry(self, task: ExportTask) -> Mapping[str, Any]:
        images = [path_from(self.base, path) for path in task.images]
        return {
            "id": task.name,
            "subset": task.subset,
            "part": self.part_of(task),
            "modality": task.modality,
            "image": images[0] if len(images) == 1 else images,
            "label": task.label and path_from(self.base, task.label),
            "record": path_from(self.base, task.others[0]),
        }

    def remark(self, placed: Sequence[ExportTask]) -> str:
        """Say how many scans a crop to labels has left whole."""
        n_whole = sum(task.label is None for task in placed)
        is_said = self.settings.crop == "labels" and n_whole
        return f"{n_whole} without labels are not cropped" if is_said else ""

    def made_from(self, task: ExportTask) -> dict[str, Any]:
        """Return what tells whether a sample was made as it would be now, as JSON holds it."""
        files = [path for path in (*task.folder.volumes, task.folder.mask) if path.is_file()]
        told = {
            "sample": [task.name, task.subset, task.modality],
            "sources": {task.ours.key(path): identity(path) for path in files},
            "settings": asdict(self.settings),
            "labels": dict(enumerate(self.mark.label_names)),
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

    def make(self, task: ExportTask) -> StepResult[Placing]:
        """Make one sample's arrays, unless they are there; results as of `export_sample`."""
        found, (record,), sources = self.find_record(task), task.others, _sources(task)
        if found is not None:
            files = {record: identity_of(record)}
            files |= {record.with_name(name): known for name, known in found["files"].items()}
            if all(is_in_place(path, known) for path, known in files.items()):
                label = task.label if found["has_mask"] else None
                placing = Placing(task.ours, task.name, images=task.images, label=label)
                for path, known in files.items():
                    placing.note(path, known, sources[path])
                return StepResult(task.name, placing)
        return export_sample(task, partial(_make, self))


def _sources(task: ExportTask) -> dict[Path, Path]:
    """Return file of the export -> the file of ROOT_DIR that verifying compares it with."""
    mask, volumes, (record,) = task.folder.mask, task.folder.volumes, task.others
    found = {record: mask if mask.exists() else volumes[0]}
    if task.label is not None:
        found[task.label] = mask
    return found | dict(zip(task.images, volumes, strict=False))  # one file may hold both


def _make(
    form: _Arrays, task: ExportTask, info: ImageInfo, fitted: FittedMask | None, placing: Placing
) -> None:
    """Make and write a sample's arrays; its record comes last."""
    settings = form.settings
    if not geometry.is_usable(info.affine):
        file = task.layout.shown(task.folder.volume)
        raise LeftOutError(bad_affine(task.sample_id, file, "volume"))
    grid = form.grid(info)
    first, mask = _read_volume(task, info, grid, 0), None
    if fitted is not None:
        mask = geometry.turned(grid.turn, with_values(task, fitted.labels))
    box = find_box(settings.crop, first, task.modality, mask)
    grid = grid if box is None else grid.cut(box, settings.margin_mm)
    made = [
        resample_and_scale(_read_volume(task, info, grid, n) if n else first, grid, settings)
        for n in range(len(task.folder.volumes))
    ]
    mask = None if mask is None else resample_mask(mask, grid)
    placing.images, placing.label = task.images, None if mask is None else task.label
    sources, (record,) = _sources(task), task.others
    volumes = [volume for volume, _ in made]
    for path, write in _writers(form, task, grid, info.affine_code, volumes, mask).items():
        placing.write(path, write, sources[path])
    content = {
        "made_from": form.made_from(task),
        "files": {Path(key).name: file.identity for key, file in placing.files.items()},
        "has_mask": mask is not None,
        "shape": grid.shape,
        "affine": grid.affine.tolist(),
        "spacing_mm": geometry.voxel_sizes_mm(grid.affine).tolist(),
        "orientation": geometry.orientation_to(grid.affine),
        "is_cropped": box is not None,
        "cut_off_before": grid.start,
        # Of each channel: the values that became 0 and 1.
        "windows": [window for _, window in made if window is not None],
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
    form: _Arrays,
    task: ExportTask,
    grid: Grid,
    affine_code: int,
    volumes: Sequence[Volume],
    mask: Mask | None,
) -> dict[Path, Callable[[Path], None]]:
    """Return file of a sample -> what writes it under a temporary name."""
    if form.settings.form == "nifti":
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
        "label_names": list(form.mark.label_names),
        "channel_names": list(form.channels),
    }
    write = _write_npz if form.settings.form == "npz" else _write_zarr
    return {task.images[0]: partial(write, arrays=arrays, about=about)}


def _write_npz(path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
    """Write arrays, and what is told about them as arrays; the same content is the same bytes."""
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as file:
        for name, array in {**arrays, **about}.items():
            with file.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def _write_zarr(path: Path, arrays: Mapping[str, NDArray[Any]], about: Mapping[str, Any]) -> None:
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
