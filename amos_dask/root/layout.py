"""Where everything lies under ROOT_DIR, and names that are safe to use there."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from amos_dask.datasets import (
    AMOS22,
    MODALITIES,
    DatasetDefinition,
    read_definition,
)
from amos_dask.errors import DatasetError
from amos_dask.file_refs import is_url
from amos_dask.labels import LabelMap
from amos_dask.records import UNDEFINED, Sample, SampleFiles, by_number

MANIFEST_SHEET = "Manifest"
REGIONS_SHEET = "Regions"
CHANGES_SHEET = "Changes"
OVERLAPS_SHEET = "Overlaps"
SPLIT_NAME = "split01_standard"

# Not allowed in names on one of the common file systems.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]')
_LONGEST_NAME = 100  # bytes; file systems allow 255, and the sample's id goes before it
_REGIONS = re.compile(
    r"small_connected_region_(\d+(?:\.\d+)?(?:e[+-]\d+)?)(?:_after_modification)?_manifest\.xlsx"
)


def safe_name(text: str) -> str:
    """Return the text as one folder name: no separators, no leading or trailing dot or space."""
    name = _UNSAFE.sub("_", text).strip(". ").encode()[:_LONGEST_NAME].decode(errors="ignore")
    return name.rstrip(". ") or UNDEFINED


def _below(name: str) -> Any:
    """Return the field of a path below ROOT_DIR, which its root gives."""
    return field(init=False, repr=False, compare=False, metadata={"below": name})


@dataclass(frozen=True)
class Layout:
    """The paths of a ROOT_DIR.

    Parameters
    ----------
    root : Path
        ROOT_DIR.
    dataset : DatasetDefinition
        What it is a ROOT_DIR of; one that does not say so is of the default dataset.
    """

    root: Path
    dataset: DatasetDefinition = AMOS22

    descriptor: Path = _below("descriptor")  # archive manifest, label map, region manifests, issues
    archive_manifest: Path = _below("descriptor/archive_manifest.xlsx")
    label_map: Path = _below("descriptor/label_map.yaml")  # read when present
    dataset_yaml: Path = _below("descriptor/dataset.yaml")  # the definition, if not the default
    denoise_exclude: Path = _below("descriptor/denoise_exclude.csv")  # read when present
    denoise_changes: Path = _below("descriptor/denoise_changes.xlsx")  # what denoising changed
    overlaps: Path = _below("descriptor/overlaps.xlsx")  # what masks of labels share
    issues_workbook: Path = _below("descriptor/issues.xlsx")
    issues_text: Path = _below("descriptor/issues.jsonl")
    statistics_workbook: Path = _below("descriptor/statistics.xlsx")
    statistics_text: Path = _below("descriptor/statistics.json")
    report: Path = _below("descriptor/report.html")
    card: Path = _below("dataset_card.md")
    croissant: Path = _below("croissant.json")
    grouped: Path = _below("grouped")  # the organised dataset
    replaced: Path = _below("replaced")  # what had to make way for our files
    state: Path = _below(".amos-dask")  # what is remembered between runs:
    receipts: Path = _below(".amos-dask/receipts")  # one a sample
    restore: Path = _below(".amos-dask/restore")  # beside receipts, such as what undoes denoising
    issue_log: Path = _below(".amos-dask/issues.jsonl")  # issues with the steps that found them
    logs: Path = _below(".amos-dask/logs")  # what is known of samples that failed
    tables: Path = _below(".amos-dask/tables.json")  # what the manifests were made from
    remembered: Path = _below(".amos-dask/remembered.json")  # what the next run goes on with
    journals: Path = _below(".amos-dask/journal")  # what is being written
    own_files: Path = _below(".amos-dask/files.json")  # files of ours that are no samples'
    exports: Path = _below(".amos-dask/exports.jsonl")  # where exports of the samples are
    run_number: Path = _below(".amos-dask/run")  # of the run that is going on or was killed
    lock: Path = _below(".amos-dask/lock")  # who works on ROOT_DIR
    # Below which no link is followed.
    tops: tuple[Path, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for place in fields(self):
            if "below" in place.metadata:
                object.__setattr__(self, place.name, self.root / place.metadata["below"])
        object.__setattr__(self, "tops", (self.grouped, self.descriptor))

    def __reduce__(self) -> tuple[type[Layout], tuple[Path, DatasetDefinition]]:
        """Send no paths that were worked out already."""
        return type(self), (self.root, self.dataset)

    @classmethod
    def of(cls, root: Path) -> Layout:
        """Return the layout of a ROOT_DIR, made or not: the dataset is the one it was made of.

        Raises
        ------
        DatasetError
            When the definition that is kept in it is not usable.
        """
        layout = cls(root)
        kept = layout.dataset_yaml
        if not kept.exists():
            return layout
        dataset = read_definition(kept)
        if dataset.open_questions:
            raise DatasetError(
                f"{kept}: {dataset.open_questions[0]} is left to dataset.json; give such a file "
                "with --dataset."
            )
        return cls(root, dataset)

    def shown(self, path: Path) -> str:
        """Return a path as issues show it: POSIX and relative to ROOT_DIR, else its name."""
        return self.key(path) if path.is_relative_to(self.root) else path.name

    def key(self, path: Path) -> str:
        """Return a path as it is listed: POSIX and relative to ROOT_DIR, else absolute."""
        path = path.relative_to(self.root) if path.is_relative_to(self.root) else absolute(path)
        return path.as_posix()

    def keys(self, paths: Iterable[Path]) -> list[str]:
        """Return paths as they are listed."""
        return [self.key(path) for path in paths]

    def regions_manifest(self, threshold_mm3: float, *, after: bool) -> Path:
        """Return the manifest of small regions, before or after denoising."""
        moment = "_after_modification" if after else ""
        threshold = repr(float(threshold_mm3)).removesuffix(".0")
        return self.descriptor / f"small_connected_region_{threshold}{moment}_manifest.xlsx"

    def region_thresholds(self) -> list[float]:
        """Return the volume thresholds in mm3 of the region manifests that are there."""
        found = (_REGIONS.fullmatch(path.name) for path in self.descriptor.glob("*.xlsx"))
        return sorted({float(match[1]) for match in found if match is not None})

    @cached_property
    def groups(self) -> dict[str, str]:
        """Modality -> name of its folder, such as ``AMOS-CT``."""
        return {modality: group_name(self.dataset.prefix, modality) for modality in MODALITIES}

    def group(self, modality: str) -> Path:
        """Return the folder of a modality's dataset, such as ``grouped/AMOS-CT``."""
        return self.grouped / self.groups[modality]

    def modality_of(self, folder: str) -> str | None:
        """Return the modality whose folder holds another, POSIX and relative to ``grouped``."""
        group = folder.partition("/")[0]
        return next((modality for modality, name in self.groups.items() if name == group), None)

    def folder_of(self, files: SampleFiles) -> SampleFolder:
        """Return the folder that a row of the dataset manifest speaks of, as it was written."""
        return replace(self.current_folder_of(files), channels=files.channels)

    def current_folder_of(self, files: SampleFiles) -> SampleFolder:
        """Return the same with the channels that the definition has now."""
        return self.sample_folder(self.grouped / files.folder, files.sample_id)

    def sample_folder(self, path: Path, sample_id: str) -> SampleFolder:
        """Return the folder of a sample that is given by its id, such as ``amos_0001``."""
        seq = sample_id.removeprefix(f"{self.dataset.prefix}_")
        return SampleFolder(path, seq, self.dataset.prefix, self.dataset.channel_names)

    def folder_for(self, group: Path, sample: Sample) -> SampleFolder:
        """Return where a sample lies below its modality's folder."""
        name = f"{sample.sample_id}_{safe_name(sample.metadata.sex)}"
        path = group / sample.subset / safe_name(sample.scanner) / name
        return self.sample_folder(path, sample.sample_id)

    def dataset_manifest(self, modality: str | None = None) -> Path:
        """Return the dataset manifest of everything or of one modality."""
        if modality is None:
            return self.grouped / "dataset_manifest.xlsx"
        name = f"dataset_manifest_{self.dataset.prefix.lower()}_{modality}.xlsx"
        return self.group(modality) / name

    def splits(self, modality: str | None = None) -> Path:
        """Return the folder of the official split's index manifests."""
        base = self.grouped if modality is None else self.group(modality)
        return base / "splits" / SPLIT_NAME


def channel_columns(channels: Sequence[str]) -> tuple[str, ...]:
    """Return such as ``volume_00_FLAIR``: columns of the manifest and stems of files."""
    names = (name.replace(" ", "_") for name in channels)
    return tuple(f"volume_{k:02d}_{name}" for k, name in enumerate(names))


def group_name(prefix: str, modality: str) -> str:
    """Return the name of a modality's folder, such as ``AMOS-CT``."""
    return f"{prefix.upper()}-{modality.upper()}"


@dataclass(frozen=True, order=True)
class SampleFolder:
    """The folder of one organised sample and the files in it."""

    path: Path  # …/{subset}/{scanner}/{sample_id}_{sex}
    seq: str  # the scan's number with at least four digits, or its id
    prefix: str  # the dataset's
    channels: tuple[str, ...] = ()  # their names; none where there is but one

    @cached_property
    def sample_id(self) -> str:
        """Prefix and seq, such as ``amos_0001``."""
        return f"{self.prefix}_{self.seq}"

    @cached_property
    def info(self) -> Path:
        """The sample's metadata as YAML."""
        return self.path / f"{self.sample_id}_info.yaml"

    @cached_property
    def volume(self) -> Path:
        """The scan, float32; of several channels the first."""
        return self.volumes[0]

    @cached_property
    def volumes(self) -> tuple[Path, ...]:
        """The channels of the scan, float32."""
        columns = channel_columns(self.channels) or ("volume",)
        return tuple(self.path / f"{self.sample_id}_{column}.nii.gz" for column in columns)

    @cached_property
    def mask(self) -> Path:
        """The multi-label mask, uint8."""
        return self.path / f"{self.sample_id}_mask.nii.gz"

    def binary_mask(self, column: str) -> Path:
        """Return the binary mask of a label map column such as ``mask_01_spleen``."""
        return self.path / f"{self.sample_id}_{column}.nii.gz"

    def binary_mask_paths(self, label_map: LabelMap) -> dict[int, Path]:
        """Return label -> the binary mask that a label map asks for."""
        columns = label_map.columns()
        return {label: self.binary_mask(column) for label, column in columns.items()}

    def binary_masks(self) -> list[Path]:
        """Return the binary masks that exist, sorted."""
        start = f"{self.sample_id}_mask_"
        with suppress(FileNotFoundError):
            names = os.listdir(self.path)  # noqa: PTH208  (ten times as fast as Path.glob)
            masks = (n for n in names if n.startswith(start) and n.endswith(".nii.gz"))
            return sorted(self.path / name for name in masks)
        return []


def find_sample_folders(root: Path, dataset: DatasetDefinition) -> list[SampleFolder]:
    """Find a dataset's organised samples below a folder, by number or id and then path.

    A sample folder is named such as ``amos_{seq}_{sex}`` and holds files of its sample.
    """
    found, layout = [], Layout(root, dataset)
    for place, folders, files in os.walk(root):  # links lead to what is somebody else's
        folders[:] = [folder for folder in folders if not folder.startswith(".")]
        name = _sample_of(Path(place).name, files, dataset)
        if name is not None:
            folder = layout.sample_folder(Path(place), name)
            found.append(replace(folder, channels=_channels_of(folder, files)))
    return sorted(found, key=lambda sample: (by_number(sample.sample_id), sample.path))


def _sample_of(folder: str, files: Sequence[str], dataset: DatasetDefinition) -> str | None:
    """Return the id of the sample that a folder's name and files speak of.

    An id may hold ``_`` itself, and so may what follows it: the longest of which there are files.
    """
    sample_id = folder
    while folder.startswith(f"{dataset.prefix}_") and "_" in sample_id:
        sample_id = sample_id.rpartition("_")[0]
        seq = sample_id.removeprefix(f"{dataset.prefix}_")
        is_seq = sample_id != seq and dataset.find_seq(sample_id) == seq
        is_named = is_seq and folder != f"{sample_id}_"
        if is_named and any(file.startswith(f"{sample_id}_") for file in files):
            return sample_id
    return None


def _channels_of(folder: SampleFolder, files: Sequence[str]) -> tuple[str, ...]:
    """Return the channels, by the names of their files where the definition has had others."""
    if not folder.channels:
        return ()
    start = f"{folder.sample_id}_volume_"
    stems = (file.removeprefix(start) for file in files if file.startswith(start))
    found = sorted(stem.removesuffix(".nii.gz") for stem in stems if stem.endswith(".nii.gz"))
    names = tuple(stem[3:] for stem in found)
    is_whole = found == [f"{k:02d}_{name}" for k, name in enumerate(names)]
    are_others = not {name.replace(" ", "_") for name in folder.channels}.issuperset(names)
    return names if is_whole and are_others else folder.channels


def find_samples_of(layout: Layout) -> list[SampleFolder]:
    """Find the organised samples of a ROOT_DIR, by number or id and then path."""
    return find_sample_folders(layout.grouped, layout.dataset)


def absolute(path: str | Path) -> Path:
    """Return an absolute path without ``..``, symbolic links kept."""
    return Path(os.path.abspath(path))  # noqa: PTH100  (resolve() would follow the links)


def find_root(root_dir: Path, output: Path | None = None) -> Path:
    """Return the ROOT_DIR that a single command works in.

    The nearest ancestor of ``root_dir`` or of the output that holds ``descriptor/``, else the
    parent of ``root_dir``.
    """
    found = [_nearest_root(path) for path in (root_dir, output) if path is not None]
    _, root = min((f for f in found if f is not None), default=(0, absolute(root_dir).parent))
    return root


def find_root_beside_archive(archive: str, output: Path) -> Path:
    """Return the ROOT_DIR that a command which reads the archive writes to.

    As `find_root`, but the output is asked first: the archive may lie in another ROOT_DIR, or at a
    URL, and is never written to. A ``descriptor/`` that writing the output makes counts as well.
    """
    found = _nearest_root(output, is_made=True)
    if is_url(archive):
        return found[1] if found is not None else absolute(output).parent
    found = found or _nearest_root(Path(archive))
    return found[1] if found is not None else absolute(archive).parent


def _nearest_root(path: Path, *, is_made: bool = False) -> tuple[int, Path] | None:
    """Return the nearest ancestor with ``descriptor/`` and how far away it is.

    Where the path is yet to be made, the folders on the way to it count as if they were there.
    """
    for distance, folder in enumerate((absolute(path), *absolute(path).parents)):
        descriptor = folder / "descriptor"
        if descriptor.is_dir() or (is_made and absolute(path).is_relative_to(descriptor)):
            return distance, folder
    return None
