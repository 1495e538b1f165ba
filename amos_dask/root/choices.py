"""What ROOT_DIR keeps of people's choices, and what it remembers of the last run."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from pydantic import TypeAdapter

from amos_dask.archive.listing import list_files, sort_names
from amos_dask.archive.recognise import require_outside_archives
from amos_dask.datasets import DEFAULT, DatasetDefinition, find_definition, read_definition
from amos_dask.errors import AmosDaskError, DatasetError, LabelMapError
from amos_dask.file_refs import is_one_file, is_url, shown
from amos_dask.handwritten import read_text
from amos_dask.labels import LabelMap, read_label_map
from amos_dask.params import NO_EXCLUSIONS, DenoiseParams, Exclusions, read_exclusions
from amos_dask.root.layout import Layout, SampleFolder, absolute, find_sample_folders
from amos_dask.root.own_files import OwnFiles
from amos_dask.root.receipts import Receipts
from amos_dask.root.staging import write_text


def layout_for(root: Path, dataset: str | Path | None) -> Layout:
    """Return the layout of a ROOT_DIR, made or not, for a dataset, by default the one it holds.

    The dataset is given by the name of a packaged definition, or the path of one.

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
    kept, theirs = Layout.of(layout.root), definition
    ours = kept.dataset
    is_begun = any(p.exists() for p in (kept.receipts, kept.grouped, kept.archive_manifest))
    if is_begun and (ours.name, ours.prefix) != (theirs.name, theirs.prefix):
        of_ids = "" if ours.name != theirs.name else f" with ids {theirs.prefix}_…"
        raise DatasetError(
            f"{layout.root} holds {ours.name}, and {theirs.name}{of_ids} was asked for; choose "
            "another ROOT_DIR."
        )
    return replace(layout, dataset=definition)


def keep_dataset(own: OwnFiles, dataset: DatasetDefinition) -> None:
    """Write ROOT's ``dataset.yaml``, which later commands go by; the default needs none."""
    path = own.layout.dataset_yaml
    if dataset == find_definition(DEFAULT):
        own.remove(path)
    elif not path.exists() or read_definition(path) != dataset:
        _keep_text(own, path, dataset.to_yaml())


def find_label_map(layout: Layout, label_explanation: str | Path | None) -> LabelMap:
    """Return the label map: the file given, else ROOT's ``label_map.yaml``, else the dataset's."""
    if label_explanation is not None:
        return read_label_map(Path(label_explanation))
    if layout.label_map.exists():
        return read_label_map(layout.label_map)
    return layout.dataset.label_map


def keep_label_map(own: OwnFiles, label_map: LabelMap, *, replace: bool = False) -> None:
    """Write ROOT's ``label_map.yaml`` where it is absent, or is another and to be replaced."""
    path, said = own.layout.label_map, None
    if path.exists():
        with suppress(LabelMapError):
            said = read_label_map(path)
        if not replace or said == label_map:
            return
    _keep_text(own, path, label_map.to_yaml())


def find_exclusions(layout: Layout, exclude: str | Path | None, label_map: LabelMap) -> Exclusions:
    """Return what denoising leaves: as the file given or ROOT's says, and the dataset."""
    path, found = layout.denoise_exclude if exclude is None else Path(exclude), NO_EXCLUSIONS
    if exclude is not None or path.exists():
        found = read_exclusions(path, label_map, layout.dataset)
    return found.with_dataset(layout.dataset, label_map)


def keep_exclusions(own: OwnFiles, exclusions: Exclusions) -> None:
    """Write ROOT's ``denoise_exclude.csv`` where another list was given; keep the one before."""
    path = own.layout.denoise_exclude
    if not path.exists() or read_text(path) != exclusions.text:
        _keep_text(own, path, exclusions.text, keep_copy=True)


def _keep_text(own: OwnFiles, path: Path, text: str, *, keep_copy: bool = False) -> None:
    """Write what people chose in place of what they chose before, which is set aside if theirs."""
    own.write_content(path, text.encode(), aside=keep_copy or not own.is_as_written(path))


def require_sample_folders(root_dir: Path, layout: Layout) -> list[SampleFolder]:
    """Return the organised samples of ROOT_DIR's dataset below a folder; raise without any."""
    folders = Receipts(layout).leave_out_copies(find_sample_folders(root_dir, layout.dataset))
    if not folders:
        such = f"{layout.dataset.prefix}_XXXX_*"
        raise AmosDaskError(
            f"{root_dir}: no sample folders ({such}) here; name a ROOT_DIR that 'amos-dask run' "
            "has made, or run it first (of the single steps, confirm-pairs)."
        )
    return folders


def require_outside_archive(path: Path, archive: str) -> None:
    """Raise when an output would lie inside the archive, which is never written to."""
    if is_url(archive) or is_one_file(archive):
        return
    inside, outside = Path(os.path.realpath(path)), Path(os.path.realpath(archive))
    if inside.is_relative_to(outside):
        raise AmosDaskError(f"{path} lies inside the archive {archive}; write somewhere else.")


def require_no_archive(layout: Layout, *outputs: Path) -> None:
    """Raise when a file or folder that is to be written would lie in ROOT_DIR's archive, or any."""
    archives = [str(layout.root / "archive")]
    with suppress(AmosDaskError):
        archives += find_archives(layout, None)
    for output in outputs:
        for archive in archives:
            require_outside_archive(output, archive)
        require_outside_archives(output, layout.dataset)


def find_archives(
    layout: Layout, archive: str | Path | Sequence[str | Path] | None
) -> tuple[str, ...]:
    """Return where the archive is: as given, else as remembered, else in ROOT_DIR.

    There it is ``archive`` or ``amos22.zip``. A folder that holds nothing but the zip stands for
    the zip. The names are those under which the dataset is published, such as the tars of the
    Decathlon's tasks; a dataset without any is looked for in ``archive`` only.

    Returns
    -------
    tuple of str
        Paths or URLs; several where the archive is in several files or folders.

    Raises
    ------
    AmosDaskError
        When none is given and none is found, or ROOT_DIR holds several that differ.
    """
    if archive is None:
        places = read_remembered(layout).archives
        archive = tuple(find_place(layout, place) for place in places)
        if not (archive and all(map(is_there, archive))):
            archive = _find_archive_inside(layout, places)
    given = [archive] if isinstance(archive, (str, Path)) else archive
    return tuple(_file_of(layout, str(one)) for one in given)


def _file_of(layout: Layout, location: str) -> str:
    """Return the zip or tar that a folder stands for, which holds no scans; else what is given."""
    if is_url(location):
        return location
    path = Path(location)
    inside = [path / name for name in layout.dataset.published if (path / name).is_file()]
    return str(inside[0]) if len(inside) == 1 and not any(path.glob("**/images*")) else str(path)


def _find_archive_inside(layout: Layout, places: Sequence[str]) -> Path:
    """Return the archive in ROOT_DIR: the folder where there is the zip or tar as well."""
    published = tuple(layout.dataset.published)
    existing = [layout.root / n for n in ("archive/", *published) if is_there(layout.root / n)]
    is_told = not layout.dataset.open_questions  # else no names of scans are known to compare
    if is_told and len(existing) == 2 and existing[0].name == "archive":
        _require_alike(layout, *existing)
    elif len(existing) > 1:
        named = " and ".join(path.name for path in existing)
        raise AmosDaskError(f"{layout.root}: {named} are here; name one with --archive.")
    if existing:
        return existing[0]
    folder = layout.root / "archive"
    if folder.is_dir() and not places:
        raise AmosDaskError(f"{folder} is empty; put the scans there, or name them with --archive.")
    what = published[0] if len(published) == 1 else "published file"
    neither = f"neither archive/ nor {what} is" if published else "no archive/ is"
    if not places:
        raise AmosDaskError(f"{layout.root}: {neither} here; name it with --archive.")
    gone = " and ".join(p for p in places if not is_there(find_place(layout, p)))
    raise AmosDaskError(
        f"{layout.root}: its archive {gone} is gone, and {neither} here; name it "
        "with --archive (stats, report, export, verify, make-split and denoise need none)."
    )


def _require_alike(layout: Layout, folder: Path, zip_file: Path) -> None:
    """Raise unless a folder holds all scans and masks of a zip, by name and size."""
    sizes = list[dict[tuple[object, ...], int]]()
    for location in (folder, zip_file):
        scans = sort_names(list_files(str(location)), layout.dataset).scans
        sizes.append({(k, *part): r.size for k, refs in scans.items() for part, r in refs.items()})
    unpacked, packed = sizes
    n_alike = len(unpacked.items() & packed.items())
    if n_alike < len(packed):
        raise AmosDaskError(
            f"{layout.root}: of the {len(packed)} scans and masks in {zip_file.name}, "
            f"{folder.name}/ beside it holds {n_alike} with the same name and size; name one of "
            "the two with --archive."
        )


def find_metadata_csv(
    layout: Layout, labeled_data_meta: str | Path | None, *, without_metadata: bool = False
) -> str | None:
    """Return the metadata csv that is named, else the one that was named before; None without.

    Raises
    ------
    AmosDaskError
        When the one named before is gone, unless the run goes on without.
    """
    if labeled_data_meta is not None:
        return str(labeled_data_meta)
    place = read_remembered(layout).labeled_data_meta
    location = None if place is None else find_place(layout, place)
    if location is None or is_there(location):
        return location
    if without_metadata:
        return None
    raise metadata_gone(layout, f"its metadata csv {place} is gone")


def metadata_gone(layout: Layout, what: str) -> AmosDaskError:
    """Return the error that a metadata csv which there was is gone."""
    return AmosDaskError(
        f"{layout.root}: {what}; name it with --labeled_data_meta, or give --without_metadata to "
        "go on without what it tells."
    )


def choose_denoising(
    layout: Layout,
    kernel_size: Sequence[int] | None,
    filter_halfedge: int | None,
    region_area_thresh: float | None,
) -> DenoiseParams:
    """Return parameters of denoising: each as given, else as remembered, else its default."""
    before = read_remembered(layout).denoise or DenoiseParams()
    return DenoiseParams.of(
        before.kernel_size if kernel_size is None else kernel_size,
        before.filter_halfedge if filter_halfedge is None else filter_halfedge,
        before.region_area_thresh if region_area_thresh is None else region_area_thresh,
    )


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the next run goes on with, unless it is told otherwise; None: nothing is known.

    The dataset, the label map and the exclusions are files in ``descriptor``.
    """

    # As `place_of` keeps it; several where it is in several files or folders.
    archive: str | tuple[str, ...] | None = None
    labeled_data_meta: str | None = None  # the csv that was named; None for the archive's own
    has_metadata: bool = False  # whether there was a csv
    metadata_encoding: str | None = None  # of the csv, where that was said
    mr_metadata_offset: str | None = None  # what was asked for: ``auto``, ``0`` or ``-1``
    denoise: DenoiseParams | None = None
    exclusions: str | None = None  # checksum of the list

    @property
    def archives(self) -> tuple[str, ...]:
        """Where the archive is; empty where that is not known."""
        if self.archive is None:
            return ()
        return (self.archive,) if isinstance(self.archive, str) else self.archive


_REMEMBERED = TypeAdapter(Remembered)


def read_remembered(layout: Layout) -> Remembered:
    """Return what is remembered; nothing where that is not known, or cannot be understood."""
    with suppress(OSError, ValueError):
        return _REMEMBERED.validate_json(layout.remembered.read_bytes())
    return Remembered()


def write_remembered(layout: Layout, remembered: Remembered) -> None:
    """Keep what the next run goes on with, unless it is the same."""
    if remembered != read_remembered(layout):
        text = json.dumps(asdict(remembered), ensure_ascii=False, indent=1)
        write_text(layout.remembered, text + "\n")


def place_of(layout: Layout, location: str | Path) -> str:
    """Return a path or URL as it is kept: relative to ROOT_DIR inside it, a URL without secrets.

    A name that is not UTF-8 cannot be kept as it is; what it stands for is not found again.
    """
    if is_url(str(location)):
        return shown(str(location))
    key = layout.key(absolute(location))
    return os.fsencode(key).decode("utf-8", "replace")


def find_place(layout: Layout, place: str) -> str:
    """Return the path or URL that was kept."""
    return place if is_url(place) else str(layout.root / place)


def is_there(location: str | Path) -> bool:
    """Return whether there is a file, or a folder that holds something; of a URL it is assumed."""
    if is_url(str(location)):
        return True
    path = Path(location)
    try:
        return path.is_file() or (path.is_dir() and any(path.iterdir()))
    except OSError:  # whoever reads it says what is the matter
        return True
