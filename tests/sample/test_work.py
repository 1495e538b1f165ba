"""What is left to do for a sample: a change asks for what depends on it, and for nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from roots import truncate

from amos_dask.archive.discover import discover
from amos_dask.datasets import AMOS22
from amos_dask.exclusions import EVERY_LABEL
from amos_dask.labels import LabelMap
from amos_dask.params import DenoiseParams, Params
from amos_dask.phantom import write_archive
from amos_dask.records import FileRef, Sample
from amos_dask.root.layout import Layout, SampleFolder, sample_folder
from amos_dask.root.receipts import EVERY_PART, Part, Receipt, Receipts
from amos_dask.sample import todo as work
from amos_dask.sample.make import run_sample
from amos_dask.sample.todo import Reason, RunTask, current_record, find_work
from amos_dask.steps import binary_masks, denoise, describe, mask, relabel, volume
from amos_dask.steps import small_regions as regions

VOLUME, MASKS = frozenset({Part.VOLUME}), frozenset({Part.MASKS})
NOTHING: frozenset[Part] = frozenset()
PARAMS = Params(denoise=DenoiseParams(region_area_thresh=100.0))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Sample]]:
    """Return a folder with an archive and a ROOT_DIR after a run, and its samples."""
    folder = tmp_path_factory.mktemp("work")
    archive = write_archive(folder, n_ct=3, n_mri=2, size="tiny", seed=7)
    samples = {sample.seq: sample for sample in discover(str(archive.path)).samples}
    for sample in samples.values():
        run_sample(RunTask(sample, Layout(folder / "AMOS22"), PARAMS))
    return folder, samples


class Place:
    """A finished sample whose files a test may change."""

    def __init__(self, folder: Path, sample: Sample) -> None:
        self.layout = Layout(folder / "AMOS22")
        self.task = RunTask(sample, self.layout, PARAMS, has_earlier_output=True)

    def _path_of(self, sample: Sample) -> Path:
        return sample_folder(self.layout.group(sample.modality), sample).path

    @property
    def folder(self) -> SampleFolder:
        return SampleFolder(self._path_of(self.task.sample), self.task.sample.seq)

    @property
    def volume(self) -> Path:
        """The volume in the archive."""
        assert self.task.sample.volume is not None
        return Path(self.task.sample.volume.location)

    @property
    def mask(self) -> Path:
        """The mask in the archive."""
        assert self.task.sample.mask is not None
        return Path(self.task.sample.mask.location)

    @property
    def restore(self) -> Path:
        (path,) = self.layout.restore.glob(f"{self.task.name}-*")
        return path

    def left(self) -> tuple[Reason, frozenset[Part]]:
        """Return why and what is left to do."""
        found = find_work(self.task)
        assert (found.result is not None) is (found.reason == Reason.COMPLETE) is (not found.parts)
        return found.reason, found.parts

    def do(self) -> None:
        """Do what is left."""
        run_sample(replace(self.task, parts=find_work(self.task).parts))

    def with_sample(self, **changes: object) -> None:
        self.task = replace(self.task, sample=replace(self.task.sample, **changes))  # type: ignore[arg-type]

    def with_params(self, **changes: object) -> None:
        self.task = replace(self.task, params=replace(PARAMS, **changes))  # type: ignore[arg-type]


def moved(ref: FileRef | None, old: Path, new: Path) -> FileRef | None:
    """Return the same file in the copied archive."""
    return None if ref is None else replace(ref, location=ref.location.replace(str(old), str(new)))


@pytest.fixture
def places(made: tuple[Path, dict[str, Sample]], tmp_path: Path) -> Callable[[str], Place]:
    """Return a function from seq to its place in a copy of everything."""
    source, samples = made
    folder = tmp_path / "copy"
    shutil.copytree(source, folder)

    def place(seq: str) -> Place:
        sample = samples[seq]
        refs = {k: moved(getattr(sample, k), source, folder) for k in ("volume", "mask")}
        return Place(folder, replace(sample, **refs))  # type: ignore[arg-type]

    return place


@pytest.fixture
def place(places: Callable[[str], Place]) -> Place:
    """Return a CT of a man, with a mask."""
    return places("0004")


@pytest.fixture
def without_mask(places: Callable[[str], Place]) -> Place:
    """Return a CT of the test subset."""
    place = places("0500")
    assert place.task.sample.mask is None
    return place


# ---------------------------------------------------------------- complete, new, failed


@pytest.mark.parametrize("seq", ["0001", "0004", "0500", "0507"])
def test_nothing_is_left_of_a_finished_sample(places: Callable[[str], Place], seq: str) -> None:
    place = places(seq)
    found = find_work(place.task)
    assert (found.reason, found.parts) == (Reason.COMPLETE, NOTHING)
    receipt = Receipts(place.layout).read(place.task.name)
    assert receipt is not None
    assert found.result == work.summarise(receipt.record, receipt.digest)
    assert found.result == run_sample(place.task)  # as if it were done again


def test_a_sample_without_a_receipt_is_new(place: Place) -> None:
    Receipts(place.layout).forget(place.task.name)
    assert place.left() == (Reason.NEW, EVERY_PART)
    place.task = replace(place.task, has_earlier_output=False)
    shutil.rmtree(place.layout.root)
    assert place.left() == (Reason.NEW, EVERY_PART)


def test_a_sample_whose_receipt_is_damaged_is_new(place: Place) -> None:
    truncate(place.layout.receipts / "amos_0004.json")
    assert place.left() == (Reason.NEW, EVERY_PART)


def test_a_failed_sample_is_tried_again_whole(place: Place) -> None:
    place.mask.write_bytes(b"no gzip")
    place.do()
    assert place.left() == (Reason.FAILED, EVERY_PART)
    place.do()
    assert place.left() == (Reason.FAILED, EVERY_PART)


def test_a_sample_whose_volume_failed_is_tried_again_whole(place: Place) -> None:
    place.volume.write_bytes(b"no gzip")
    place.do()
    assert not place.folder.path.exists()
    assert place.left()[1] == EVERY_PART


def test_a_copy_of_a_samples_folder_stays(place: Place) -> None:
    second = place.folder.path.with_name("amos_0004_X")
    shutil.copytree(place.folder.path, second)
    assert place.left() == (Reason.COMPLETE, NOTHING)
    place.do()
    assert len(list(second.iterdir())) == len(list(place.folder.path.iterdir()))


# ---------------------------------------------------------------- changed


def test_another_volume_changes_everything(places: Callable[[str], Place]) -> None:
    place, other = places("0004"), places("0001")
    shutil.copyfile(other.volume, place.volume)
    assert place.left() == (Reason.CHANGED, EVERY_PART)


def test_another_mask_changes_masks_only(places: Callable[[str], Place]) -> None:
    place, other = places("0004"), places("0001")
    shutil.copyfile(other.mask, place.mask)
    assert place.left() == (Reason.CHANGED, MASKS)


@pytest.mark.parametrize(("name", "parts"), [("volume", EVERY_PART), ("mask", MASKS)])
def test_a_file_out_of_reach_counts_as_changed(
    place: Place, name: str, parts: frozenset[Part]
) -> None:
    getattr(place, name).unlink()
    assert place.left() == (Reason.CHANGED, parts)


def test_a_file_of_which_nothing_can_be_told_counts_as_changed(place: Place) -> None:
    url = FileRef("labelsVa/amos_0004.nii.gz", "https://host/a.nii.gz", 5)
    place.with_sample(mask=url)
    Receipts(place.layout).write(
        replace(receipt_of(place), origin=work.origin_of(place.task.sample))
    )
    assert place.left() == (Reason.CHANGED, MASKS)


def receipt_of(place: Place) -> Receipt:
    receipt = Receipts(place.layout).read(place.task.name)
    assert receipt is not None
    return receipt


def test_a_mask_that_vanished_or_came_changes_masks_only(place: Place) -> None:
    mask_ref = place.task.sample.mask
    place.with_sample(mask=None)
    assert place.left() == (Reason.CHANGED, MASKS)
    place.do()
    assert place.left() == (Reason.COMPLETE, NOTHING)
    place.with_sample(mask=mask_ref)
    assert place.left() == (Reason.CHANGED, MASKS)


def test_the_same_files_in_another_place_change_nothing(place: Place, tmp_path: Path) -> None:
    sample = place.task.sample
    (tmp_path / "copy").rename(tmp_path / "moved")
    layout = Layout(tmp_path / "moved" / "AMOS22")
    refs = {
        k: moved(getattr(sample, k), tmp_path / "copy", tmp_path / "moved")
        for k in ("volume", "mask")
    }
    task = RunTask(replace(sample, **refs), layout, PARAMS)  # type: ignore[arg-type]
    assert find_work(task).reason == Reason.COMPLETE


@pytest.mark.parametrize(
    "change", ["sex", "age", "birth_date", "site", "manufacturer", "acquisition_date"]
)
def test_another_metadata_row_changes_everything(place: Place, change: str) -> None:
    metadata = place.task.sample.metadata
    place.with_sample(metadata=replace(metadata, **{change: "other"}))
    assert place.left() == (Reason.CHANGED, EVERY_PART)


@pytest.mark.parametrize("change", ["subset", "modality", "scanner"])
def test_another_folder_changes_everything(place: Place, change: str) -> None:
    other = {"subset": "train", "modality": "und", "scanner": "UND"}[change]
    place.with_sample(**{change: other})
    assert place.left() == (Reason.CHANGED, EVERY_PART)


OTHER_PARAMS: dict[str, dict[str, object]] = {
    "label map": {"label_map": LabelMap((*AMOS22.label_map.entries[:-1], (16, "womb")))},
    "kernel": {"denoise": replace(PARAMS.denoise, kernel_size=(5, 3))},
    "half-edge": {"denoise": replace(PARAMS.denoise, filter_halfedge=2)},
    "area": {"denoise": replace(PARAMS.denoise, region_area_thresh=99.5)},
    "new threshold": {"region_volume_thresh": (100.0, 300.0)},
    "another threshold": {"region_volume_thresh": (300.0,)},
    "an excluded label": {"excluded": frozenset({6})},
    "all excluded": {"excluded": EVERY_LABEL},
}


@pytest.mark.parametrize("change", OTHER_PARAMS)
def test_other_parameters_change_masks_only(place: Place, without_mask: Place, change: str) -> None:
    place.with_params(**OTHER_PARAMS[change])
    assert place.left() == (Reason.CHANGED, MASKS)
    without_mask.with_params(**OTHER_PARAMS[change])
    assert without_mask.left() == (Reason.COMPLETE, NOTHING)
    place.do()
    assert place.left() == (Reason.COMPLETE, NOTHING)


@pytest.mark.parametrize("thresholds", [(), (100.0,), (300.0,)])
def test_fewer_thresholds_change_nothing(place: Place, thresholds: tuple[float, ...]) -> None:
    place.with_params(region_volume_thresh=(100.0, 300.0))
    place.do()
    place.with_params(region_volume_thresh=thresholds)
    assert place.left() == (Reason.COMPLETE, NOTHING)


@pytest.mark.parametrize("area", [100, 100.0])
def test_the_same_parameters_as_other_numbers_change_nothing(place: Place, area: float) -> None:
    place.with_params(denoise=replace(PARAMS.denoise, region_area_thresh=area))
    assert place.left() == (Reason.COMPLETE, NOTHING)


STAGES: dict[ModuleType, frozenset[Part]] = {
    volume: VOLUME,
    describe: VOLUME,
    **dict.fromkeys((mask, relabel, regions, denoise, binary_masks), MASKS),
}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__.rpartition(".")[2])
def test_a_stage_that_makes_something_else_changes_its_part(
    place: Place, without_mask: Place, stage: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "RESULT_VERSION", stage.RESULT_VERSION + 1)
    monkeypatch.setattr(
        work, "_VOLUME_VERSIONS", [s.RESULT_VERSION for s in STAGES if STAGES[s] == VOLUME]
    )
    monkeypatch.setattr(
        work, "_MASK_VERSIONS", [s.RESULT_VERSION for s in STAGES if STAGES[s] == MASKS]
    )
    assert place.left() == (Reason.CHANGED, STAGES[stage])
    changed = STAGES[stage] == VOLUME
    expected = (Reason.CHANGED, VOLUME) if changed else (Reason.COMPLETE, NOTHING)
    assert without_mask.left() == expected


def test_every_stage_of_a_sample_has_its_version_in_the_receipt() -> None:
    known = work.made_with(PARAMS)
    assert known[Part.VOLUME] == [s.RESULT_VERSION for s in STAGES if STAGES[s] == VOLUME]
    assert known[Part.MASKS][0] == [s.RESULT_VERSION for s in STAGES if STAGES[s] == MASKS]


# ---------------------------------------------------------------- to be repaired


def other_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


OUTPUTS: dict[str, tuple[Callable[[Place], Path], frozenset[Part]]] = {
    "volume": (lambda place: place.folder.volume, VOLUME),
    "info": (lambda place: place.folder.info, VOLUME),
    "mask": (lambda place: place.folder.mask, MASKS),
    "binary mask": (lambda place: place.folder.binary_masks()[5], MASKS),
    "restore data": (lambda place: place.restore, MASKS),
}


@pytest.mark.parametrize("alter", [Path.unlink, truncate, other_bytes])
@pytest.mark.parametrize("name", OUTPUTS)
def test_an_output_that_was_altered_is_repaired(
    place: Place, name: str, alter: Callable[[Path], object]
) -> None:
    find, parts = OUTPUTS[name]
    path = find(place)
    content = path.read_bytes()
    alter(path)
    assert place.left() == (Reason.REPAIRED, parts)
    place.do()
    assert place.left() == (Reason.COMPLETE, NOTHING)
    assert path.read_bytes() == content


@pytest.mark.parametrize("seq", ["0004", "0500"])
def test_one_more_binary_mask_stays(places: Callable[[str], Place], seq: str) -> None:
    place = places(seq)
    extra = place.folder.binary_mask("mask_99_extra")
    extra.write_bytes(b"extra")
    assert place.left() == (Reason.COMPLETE, NOTHING)
    place.do()
    assert extra.read_bytes() == b"extra"


def test_a_folder_of_another_name_is_somebodys_and_ours_is_made_again(place: Place) -> None:
    renamed = place.folder.path.with_name("amos_0004_X")
    place.folder.path.rename(renamed)
    assert place.left() == (Reason.REPAIRED, EVERY_PART)
    place.do()
    assert any(renamed.iterdir())
    assert place.folder.volume.exists()


def test_a_change_and_a_repair_are_done_together(place: Place) -> None:
    place.folder.volume.unlink()
    place.with_params(denoise=DenoiseParams())
    assert place.left() == (Reason.CHANGED, EVERY_PART)
    place.folder.mask.unlink()
    place.with_params()
    assert place.left() == (Reason.REPAIRED, EVERY_PART)


# ---------------------------------------------------------------- a part is as good as the whole


@pytest.mark.parametrize("seq", ["0001", "0004", "0500", "0507"])
@pytest.mark.parametrize("part", Part)
def test_a_part_made_alone_leaves_the_receipt_of_the_whole(
    places: Callable[[str], Place], seq: str, part: Part
) -> None:
    place = places(seq)
    path = place.layout.receipts / f"{place.task.name}.json"
    content = path.read_bytes()
    done = run_sample(replace(place.task, parts=frozenset({part})))
    assert path.read_bytes() == content
    assert done == find_work(place.task).result


# ---------------------------------------------------------------- without asking the archive


def test_a_receipt_speaks_for_files_as_they_are(place: Place) -> None:
    receipt = receipt_of(place)
    found = current_record(place.folder, place.layout, PARAMS)
    assert found == (receipt.record, receipt.digest)
    shutil.rmtree(place.volume.parents[1])  # the archive is not asked
    assert current_record(place.folder, place.layout, PARAMS) == found


def test_a_receipt_does_not_speak_for_other_files(place: Place) -> None:
    elsewhere = SampleFolder(place.folder.path.with_name("amos_0004_X"), "0004")
    shutil.copytree(place.folder.path, elsewhere.path)
    assert current_record(elsewhere, place.layout, PARAMS) is None
    place.folder.mask.unlink()
    assert current_record(place.folder, place.layout, PARAMS) is None


@pytest.mark.parametrize("change", OTHER_PARAMS)
def test_a_receipt_does_not_speak_for_other_parameters(place: Place, change: str) -> None:
    place.with_params(**OTHER_PARAMS[change])
    assert current_record(place.folder, place.layout, place.task.params) is None
