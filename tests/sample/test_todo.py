"""What is left to do for a sample: a change asks for what depends on it, and for nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from roots import archive_task, truncate
from samples import discover_one, with_files

from amos_dask.datasets import AMOS22
from amos_dask.file_refs import FileRef
from amos_dask.labels import LabelMap
from amos_dask.params import EVERY_LABEL, DenoiseParams, Params
from amos_dask.phantom import write_archive
from amos_dask.records import Sample
from amos_dask.root.layout import Layout, SampleFolder
from amos_dask.root.receipts import EVERY_OUTPUT, Output, Receipt, Receipts
from amos_dask.sample import todo
from amos_dask.sample.make import make_sample
from amos_dask.sample.todo import Reason, SampleTask, ToDo, current_receipt, find_todo
from amos_dask.steps import (
    denoise,
    info_file,
    mask,
    mask_labels,
    volume,
)

VOLUME, MASKS = frozenset({Output.VOLUME}), frozenset({Output.MASKS})
NOTHING: frozenset[Output] = frozenset()
PARAMS = Params(AMOS22, AMOS22.label_map, denoise=DenoiseParams(region_area_thresh=100.0))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Sample]]:
    """Return a folder with an archive and a ROOT_DIR after a run, and its samples."""
    folder = tmp_path_factory.mktemp("work")
    archive = write_archive(folder, n_ct=3, n_mri=2, size="tiny", seed=7)
    samples = {sample.seq: sample for sample in discover_one(str(archive.path)).samples}
    for sample in samples.values():
        make_sample(archive_task(sample, folder / "AMOS22", PARAMS))
    return folder, samples


class Place:
    """A finished sample whose files a test may change."""

    def __init__(self, folder: Path, sample: Sample) -> None:
        self.layout = Layout(folder / "AMOS22")
        self.sample, self.params = sample, PARAMS
        self.has_earlier_output = True

    @property
    def task(self) -> SampleTask:
        """What a run has to do with the sample, were nothing of it there."""
        return archive_task(
            self.sample,
            self.layout.root,
            self.params,
            has_earlier_output=self.has_earlier_output,
        )

    @property
    def folder(self) -> SampleFolder:
        return self.task.target

    @property
    def volume(self) -> Path:
        """The volume in the archive."""
        assert self.sample.volume is not None
        return Path(self.sample.volume.location)

    @property
    def mask(self) -> Path:
        """The mask in the archive."""
        assert self.sample.mask is not None
        return Path(self.sample.mask.location)

    @property
    def restore(self) -> Path:
        (path,) = self.layout.restore.glob(f"{self.task.name}-*")
        return path

    def find(self) -> ToDo:
        """Return what a run would find to do."""
        receipt = Receipts(self.layout).read(self.task.name)
        return find_todo(self.task, receipt, self.task.source.find_origin())

    def left(self) -> tuple[Reason, frozenset[Output]]:
        """Return why and what is left to do."""
        found = self.find()
        is_complete = found.reason == Reason.COMPLETE
        assert (found.result is not None) is is_complete is (not found.outputs)
        return found.reason, found.outputs

    def do(self) -> None:
        """Do what is left."""
        make_sample(replace(self.task, outputs=self.find().outputs))

    def with_sample(self, **changes: object) -> None:
        self.sample = replace(self.sample, **changes)  # type: ignore[arg-type]

    def with_mask(self, mask: FileRef | None) -> None:
        self.sample = with_files(self.sample, mask=mask)

    def with_params(self, **changes: object) -> None:
        self.params = replace(PARAMS, **changes)  # type: ignore[arg-type]


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
        return Place(folder, with_files(sample, **refs))

    return place


@pytest.fixture
def place(places: Callable[[str], Place]) -> Place:
    """Return a CT of a man, with a mask."""
    return places("0004")


@pytest.fixture
def without_mask(places: Callable[[str], Place]) -> Place:
    """Return a CT of the test subset."""
    place = places("0500")
    assert place.sample.mask is None
    return place


# ---------------------------------------------------------------- complete, new, failed


@pytest.mark.parametrize("seq", ["0001", "0004", "0500", "0507"])
def test_nothing_is_left_of_a_finished_sample(places: Callable[[str], Place], seq: str) -> None:
    place = places(seq)
    found = place.find()
    assert (found.reason, found.outputs) == (Reason.COMPLETE, NOTHING)
    assert found.result == todo.summarise(receipt_of(place))
    again = make_sample(place.task)  # as if it were done again
    assert found.result is not None
    assert found.result.digest == again.digest != ""
    assert (found.result.folder, found.result.issues) == (again.folder, again.issues)
    assert found.result.n_changed == again.n_changed


def test_a_sample_without_a_receipt_is_new(place: Place) -> None:
    Receipts(place.layout).forget(place.task.name)
    assert place.left() == (Reason.NEW, EVERY_OUTPUT)
    place.has_earlier_output = False
    shutil.rmtree(place.layout.root)
    assert place.left() == (Reason.NEW, EVERY_OUTPUT)


def test_a_sample_whose_receipt_is_damaged_is_new(place: Place) -> None:
    truncate(place.layout.receipts / "amos_0004.json")
    assert place.left() == (Reason.NEW, EVERY_OUTPUT)


def test_a_failed_sample_is_tried_again_whole(place: Place) -> None:
    place.mask.write_bytes(b"no gzip")
    place.do()
    assert place.left() == (Reason.FAILED, EVERY_OUTPUT)
    place.do()
    assert place.left() == (Reason.FAILED, EVERY_OUTPUT)


def test_a_sample_whose_volume_failed_is_tried_again_whole(place: Place) -> None:
    place.volume.write_bytes(b"no gzip")
    before = place.folder.volume.read_bytes()
    place.do()
    assert place.folder.volume.read_bytes() == before
    assert place.left()[1] == EVERY_OUTPUT


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
    assert place.left() == (Reason.CHANGED, EVERY_OUTPUT)


def test_another_mask_changes_masks_only(places: Callable[[str], Place]) -> None:
    place, other = places("0004"), places("0001")
    shutil.copyfile(other.mask, place.mask)
    assert place.left() == (Reason.CHANGED, MASKS)


@pytest.mark.parametrize(("name", "outputs"), [("volume", EVERY_OUTPUT), ("mask", MASKS)])
def test_a_file_out_of_reach_counts_as_changed(
    place: Place, name: str, outputs: frozenset[Output]
) -> None:
    getattr(place, name).unlink()
    assert place.left() == (Reason.CHANGED, outputs)


def test_a_file_of_which_nothing_can_be_told_counts_as_changed(place: Place) -> None:
    url = FileRef("labelsVa/amos_0004.nii.gz", "https://host/a.nii.gz", 5)
    place.with_mask(url)
    Receipts(place.layout).write(replace(receipt_of(place), origin=place.task.source.find_origin()))
    assert place.left() == (Reason.CHANGED, MASKS)


def receipt_of(place: Place) -> Receipt:
    receipt = Receipts(place.layout).read(place.task.name)
    assert receipt is not None
    return receipt


def test_a_mask_that_vanished_leaves_the_masks_and_is_asked_for_again(place: Place) -> None:
    mask_ref, before = place.sample.mask, place.folder.mask.read_bytes()
    place.with_mask(None)
    assert place.left() == (Reason.CHANGED, MASKS)
    place.do()
    assert place.folder.mask.read_bytes() == before
    assert place.left()[0] == Reason.FAILED
    place.with_mask(mask_ref)
    place.do()
    assert place.left() == (Reason.COMPLETE, NOTHING)


def test_the_same_files_in_another_place_change_nothing(place: Place, tmp_path: Path) -> None:
    sample = place.sample
    (tmp_path / "copy").rename(tmp_path / "moved")
    layout = Layout(tmp_path / "moved" / "AMOS22")
    refs = {
        k: moved(getattr(sample, k), tmp_path / "copy", tmp_path / "moved")
        for k in ("volume", "mask")
    }
    place.layout, place.sample = layout, with_files(sample, **refs)
    assert place.left() == (Reason.COMPLETE, NOTHING)


@pytest.mark.parametrize(
    "change", ["sex", "age", "birth_date", "site", "manufacturer", "acquisition_date"]
)
def test_another_metadata_row_changes_everything(place: Place, change: str) -> None:
    metadata = place.sample.metadata
    place.with_sample(metadata=replace(metadata, **{change: "other"}))
    assert place.left() == (Reason.CHANGED, EVERY_OUTPUT)


@pytest.mark.parametrize("change", ["subset", "modality", "scanner"])
def test_another_folder_changes_everything(place: Place, change: str) -> None:
    other = {"subset": "train", "modality": "und", "scanner": "UND"}[change]
    place.with_sample(**{change: other})
    assert place.left() == (Reason.CHANGED, EVERY_OUTPUT)


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


def test_every_step_of_a_sample_has_its_version_in_the_receipt() -> None:
    known = todo.made_with(PARAMS)
    assert known[Output.VOLUME] == [volume.RESULT_VERSION, info_file.RESULT_VERSION]
    assert known[Output.MASKS][0] == [
        mask.RESULT_VERSION,
        mask_labels.SPLIT_VERSION,
        denoise.REGIONS_VERSION,
        denoise.RESULT_VERSION,
        mask_labels.BINARY_MASKS_VERSION,
    ]


@pytest.mark.parametrize(
    ("versions", "outputs"), [("_VOLUME_VERSIONS", VOLUME), ("_MASK_VERSIONS", MASKS)]
)
def test_a_step_that_makes_something_else_changes_its_output(
    place: Place,
    without_mask: Place,
    versions: str,
    outputs: frozenset[Output],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, *others = getattr(todo, versions)
    monkeypatch.setattr(todo, versions, [first + 1, *others])
    assert place.left() == (Reason.CHANGED, outputs)
    expected = (Reason.CHANGED, VOLUME) if outputs == VOLUME else (Reason.COMPLETE, NOTHING)
    assert without_mask.left() == expected


# ---------------------------------------------------------------- to be repaired


def other_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")


OUTPUTS: dict[str, tuple[Callable[[Place], Path], frozenset[Output]]] = {
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
    find, outputs = OUTPUTS[name]
    path = find(place)
    content = path.read_bytes()
    alter(path)
    assert place.left() == (Reason.REPAIRED, outputs)
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
    assert place.left() == (Reason.REPAIRED, EVERY_OUTPUT)
    place.do()
    assert any(renamed.iterdir())
    assert place.folder.volume.exists()


def test_a_change_and_a_repair_are_done_together(place: Place) -> None:
    place.folder.volume.unlink()
    place.with_params(denoise=DenoiseParams())
    assert place.left() == (Reason.CHANGED, EVERY_OUTPUT)
    place.folder.mask.unlink()
    place.with_params()
    assert place.left() == (Reason.REPAIRED, EVERY_OUTPUT)


# ---------------------------------------------------------------- one output, as good as all


@pytest.mark.parametrize("seq", ["0001", "0004", "0500", "0507"])
@pytest.mark.parametrize("output", Output)
def test_an_output_made_alone_leaves_the_receipt_of_all(
    places: Callable[[str], Place], seq: str, output: Output
) -> None:
    place = places(seq)
    path = place.layout.receipts / f"{place.task.name}.json"
    content = path.read_bytes()
    done = make_sample(replace(place.task, outputs=frozenset({output})))
    assert path.read_bytes() == content
    found = place.find().result
    assert found is not None
    assert (done.digest, done.issues) == (found.digest, found.issues)


# ---------------------------------------------------------------- without asking the archive


def test_a_receipt_speaks_for_files_as_they_are(place: Place) -> None:
    shutil.rmtree(place.volume.parents[1])  # the archive is not asked
    assert current_receipt(place.folder, place.layout, PARAMS) == receipt_of(place)


def test_a_receipt_does_not_speak_for_other_files(place: Place) -> None:
    elsewhere = SampleFolder(place.folder.path.with_name("amos_0004_X"), "0004", "amos")
    shutil.copytree(place.folder.path, elsewhere.path)
    assert current_receipt(elsewhere, place.layout, PARAMS) is None
    place.folder.mask.unlink()
    assert current_receipt(place.folder, place.layout, PARAMS) is None


@pytest.mark.parametrize("change", OTHER_PARAMS)
def test_a_receipt_does_not_speak_for_other_parameters(place: Place, change: str) -> None:
    place.with_params(**OTHER_PARAMS[change])
    assert current_receipt(place.folder, place.layout, place.task.params) is None
