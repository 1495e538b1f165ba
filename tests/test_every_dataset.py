"""Every packaged dataset from end to end: each file and cell held against what was planted."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import oracle
import pytest
from distributed import Client
from numpy.typing import NDArray
from openpyxl import load_workbook
from phantoms import (
    ABDOMENS,
    ATLAS_NAMES,
    DECATHLON,
    TASKS,
    TOTAL_NAMES,
    OtherArchive,
    OtherSample,
    write_abdomenatlas,
    write_abdomens,
    write_brats,
    write_decathlon,
    write_kits23,
    write_nnunet,
    write_totalsegmentator,
)
from roots import assert_same, contents, errors, issues, program, snapshot, table, voxels

import amos_dask
from amos_dask.datasets import find_definition
from amos_dask.engine.session import FEW
from amos_dask.handwritten import dump_yaml

AREA, KERNEL, HALF_EDGE = 40.0, (3, 3), 2
DENOISE: dict[str, Any] = {
    "kernel_size": KERNEL,
    "filter_halfedge": HALF_EDGE,
    "region_area_thresh": AREA,
}
SMALL: dict[str, Any] = {"statistics": False, "report": False, "progress": "none"}


@dataclass(frozen=True)
class Case:
    """A dataset, and what is to come of it.

    Attributes
    ----------
    write, dataset
        Its phantom and the name of its definition.
    group
        Folder of its samples.
    labels
        Names of its labels from 1.
    channels
        Names of its channels; empty for one.
    denoised
        The labels that denoising may change, besides the background.
    codes
        Codes of all issues but those that masks' affines and denoising give.
    """

    write: Callable[[Path], OtherArchive]
    dataset: str
    group: str
    labels: Sequence[str]
    channels: Sequence[str] = ()
    denoised: frozenset[int] = frozenset()
    codes: tuple[str, ...] = ("junk_ignored",)

    @property
    def label_map(self) -> dict[int, str]:
        return dict(enumerate(("background", *self.labels)))


_BRATS = (
    "necrotic tumor core",
    "edema",
    "enhancing tumor (2023)",
    "enhancing tumor (2021)",
)
_CONTRASTS = ("t1n", "t1c", "t2w", "t2f")
_OF_TASKS = {"heart": {1}, "liver": {1}, "hippocampus": {1, 2}, "prostate": {1, 2}} | {
    "pancreas": {1},
    "spleen": {1},
}


def _task(key: str) -> Case:
    task = TASKS[key]
    return Case(
        partial(write_decathlon, task=key),
        "decathlon",
        f"{task.prefix.upper()}-{'CT' if task.modality == 'CT' else 'MRI'}",
        tuple(task.labels),
        task.channels,
        frozenset(_OF_TASKS.get(key, ())),
    )


def _total(n_labels: int, n_scans: int) -> Case:
    organs = {*range(1, 25), 51, 90} - {23, 24}
    return Case(
        partial(write_totalsegmentator, n_scans=n_scans, n_labels=n_labels, shape=(20, 25, 12)),
        "totalsegmentator" if n_labels == len(TOTAL_NAMES) else "totalsegmentator.yaml",
        "TOTALSEG-CT",
        TOTAL_NAMES[:n_labels],
        denoised=frozenset(organs.intersection(range(1, n_labels + 1))),
        codes=("junk_ignored", "subset_counts"),
    )


def _abdomens(name: str) -> Case:
    labels = tuple(ABDOMENS[name].organs)
    left = {"portal vein and splenic vein"}
    return Case(
        partial(write_abdomens, name=name),
        name,
        f"{name.upper()}-CT",
        labels,
        denoised=frozenset(n for n, label in enumerate(labels, start=1) if label not in left),
        codes=("junk_ignored", "subset_counts"),
    )


_VESSELS = {"celiac_trunk", "hepatic_vessel", "portal_vein_and_splenic_vein"}
_NNUNET = partial(Case, dataset="nnunet", labels=("organ", "lesion"), codes=("junk_ignored",))
CASES = {
    "brats 2021": Case(partial(write_brats, year=2021), "brats", "BRATS-MRI", _BRATS, _CONTRASTS),
    "brats 2023": Case(partial(write_brats, year=2023), "brats", "BRATS-MRI", _BRATS, _CONTRASTS),
    "totalsegmentator": _total(12, 5),
    "kits23": Case(
        write_kits23,
        "kits23",
        "KITS23-CT",
        ("kidney", "tumor", "cyst"),
        denoised=frozenset({1}),
        codes=("junk_ignored", "subset_counts"),
    ),
    "abdomenatlas": Case(
        write_abdomenatlas,
        "abdomenatlas",
        "ABDOMENATLAS-CT",
        ATLAS_NAMES,
        denoised=frozenset(n for n, x in enumerate(ATLAS_NAMES, start=1) if x not in _VESSELS),
    ),
    **{name: _abdomens(name) for name in ABDOMENS},
    "nnunet": _NNUNET(write_nnunet, group="PHANTOM-MRI", channels=("T2", "ADC")),
    "nnunet prefixed": _NNUNET(
        partial(write_nnunet, prefixed=True), group="LIVER-MRI", channels=("T2", "ADC")
    ),
    "nnunet regions": _NNUNET(
        partial(write_nnunet, channels=["CT"], regions=True, ignore=True, file_ending=".nii"),
        group="PHANTOM-CT",
        labels=("organ and lesion", "lesion", "ignore"),
    ),
    **{key: _task(key) for key in DECATHLON if TASKS[key].channels},
}
WHOLE = {
    "all of totalsegmentator": _total(117, 4),
    **{key: _task(key) for key in DECATHLON if not TASKS[key].channels},
}
# Whole datasets, and those that are found and made as another that is looked at each time.
ALIKE = {*WHOLE, "flare22", "word", "nnunet prefixed", "prostate"}


@dataclass(frozen=True)
class Made:
    """A dataset after a run."""

    case: Case
    archive: OtherArchive
    root: Path
    dataset: str
    result: amos_dask.RunResult
    known: dict[str, NDArray[np.uint8]] = field(default_factory=dict)

    def folder(self, sample: OtherSample) -> Path:
        (found,) = self.root.glob(f"grouped/{self.case.group}/*/*/{sample.sample_id}_*/")
        assert found.name.rpartition("_")[0] == sample.sample_id
        assert (found.parts[-3], found.parts[-2]) == (sample.subset, "UND")
        return found

    def path(self, sample: OtherSample, end: str) -> Path:
        return self.folder(sample) / f"{sample.sample_id}_{end}"

    @property
    def volumes(self) -> list[str]:
        """Ends of the names of volumes."""
        names = [name.replace(" ", "_") for name in self.case.channels]
        return [f"volume_{k:02d}_{name}" for k, name in enumerate(names)] or ["volume"]

    @property
    def masks(self) -> list[str]:
        names = self.case.label_map.items()
        return [f"mask_{label:02d}_{name.replace(' ', '_')}" for label, name in names]

    @property
    def masked(self) -> list[OtherSample]:
        return [sample for sample in self.archive.samples if sample.labels is not None]

    def expected(self, sample: OtherSample) -> NDArray[np.uint8]:
        """Return the mask that the oracle makes, which takes longer than the run."""
        if sample.sample_id not in self.known:
            self.known[sample.sample_id] = self._denoised(sample)
        return self.known[sample.sample_id]

    def _denoised(self, sample: OtherSample) -> NDArray[np.uint8]:
        before, names = sample.labels, self.case.label_map
        assert before is not None
        zooms = nib.load(self.path(sample, f"{self.volumes[0]}.nii.gz")).header.get_zooms()
        spacing = [float(size) for size in zooms]
        if not self.case.denoised:
            return before
        after = oracle.denoise(before, spacing, AREA, KERNEL, HALF_EDGE, names)
        return oracle.undo_labels(before, after, names.keys() - {0} - self.case.denoised)


def definition_of(case: Case, folder: Path) -> str:
    """Return the dataset's name, or the file of a definition with so many of its labels."""
    if not case.dataset.endswith(".yaml"):
        return case.dataset
    content = dict(find_definition(case.dataset.removesuffix(".yaml")).content)
    labels = dict(list(content["labels"].items())[: len(case.labels) + 1])
    kept = [name for name in content["denoise"] if name in labels.values()]
    path = folder / case.dataset
    path.write_text(dump_yaml(content | {"labels": labels, "denoise": kept}))
    return str(path)


def make(case: Case, folder: Path, client: Client) -> Made:
    archive, dataset = case.write(folder), definition_of(case, folder)
    root = folder / "root"
    result = amos_dask.run(root, archive.path, dataset=dataset, cluster=client, **SMALL, **DENOISE)
    return Made(case, archive, root, dataset, result)


@pytest.fixture(scope="module")
def made_of(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    """Return what makes a case; what it made no test changes."""
    return cache(lambda name: make((CASES | WHOLE)[name], tmp_path_factory.mktemp("made"), client))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.integration] if name in ALIKE else [])
        for name in CASES | WHOLE
    ],
)
def made(request: pytest.FixtureRequest, made_of: Callable[[str], Made]) -> Made:
    return made_of(request.param)


def test_every_channel_is_float32_and_the_values_are_those_of_its_file(made: Made) -> None:
    for sample in made.archive.samples:
        theirs = [nib.load(made.archive.path / name) for name in sample.images]
        values = [np.asarray(image.dataobj, np.float32) for image in theirs]
        if made.case.channels and len(theirs) == 1:
            values = list(np.moveaxis(values[0], 3, 0))
        assert len(values) == len(made.volumes)
        for end, expected in zip(made.volumes, values, strict=True):
            ours = nib.load(made.path(sample, f"{end}.nii.gz"))
            assert ours.get_data_dtype() == np.float32
            np.testing.assert_array_equal(ours.dataobj, expected)
            np.testing.assert_allclose(ours.affine, theirs[0].affine, atol=1e-4)


def test_masks_are_the_oracle_s_and_nothing_else_is_there(made: Made) -> None:
    n_changed = 0
    for sample in made.archive.samples:
        ends = [*(f"{end}.nii.gz" for end in made.volumes), "info.yaml"]
        if sample.labels is not None:
            expected, volume = made.expected(sample), made.path(sample, f"{made.volumes[0]}.nii.gz")
            mask = nib.load(made.path(sample, "mask.nii.gz"))
            assert mask.get_data_dtype() == np.uint8
            np.testing.assert_array_equal(np.asarray(mask.dataobj), expected)
            np.testing.assert_array_equal(mask.affine, nib.load(volume).affine)
            for label, end in enumerate(made.masks):
                binary = voxels(made.path(sample, f"{end}.nii.gz"))
                np.testing.assert_array_equal(binary, oracle.binary_mask(expected, label))
            n_changed += int(np.count_nonzero(expected != sample.labels))
            ends += ["mask.nii.gz", *(f"{end}.nii.gz" for end in made.masks)]
        there = {path.name for path in made.folder(sample).iterdir()}
        assert there == {f"{sample.sample_id}_{end}" for end in ends}
    assert n_changed == made.result.n_changed_voxels
    assert (n_changed > 0) == bool(made.case.denoised)


def test_rows_and_columns_of_the_dataset_manifest(made: Made) -> None:
    manifest = made.root / "grouped" / "dataset_manifest.xlsx"
    header = list(next(load_workbook(manifest)["Manifest"].values))
    channels = made.volumes if made.case.channels else []
    assert header[10:] == [
        *("valid_labels", "info", "volume", *channels, "mask", *made.masks),
        *(f"{name}_existence" for name in made.masks),
        *("szx", "szy", "szz", "spx", "spy", "spz", "orientation_from", "orientation_to"),
        *("vol_dtype", "mask_dtype", "transform"),
    ]
    rows = table(manifest)
    assert list(rows) == [sample.sample_id for sample in made.archive.samples]
    for sample in made.archive.samples:
        row, below = rows[sample.sample_id], made.root / "grouped"
        seq = sample.sample_id.partition("_")[2]
        assert (row["seq"], row["subset"]) == (seq, sample.subset)
        for column in ("info", *channels, *(["mask", *made.masks] if row["mask"] else [])):
            end = ".yaml" if column == "info" else ".nii.gz"
            assert below / row[column] == made.path(sample, f"{column}{end}")
        assert below / row["volume"] == made.path(sample, f"{made.volumes[0]}.nii.gz")
        assert (row["mask"] is None) == (sample.labels is None)
        if sample.labels is not None:
            there = np.unique(made.expected(sample)).tolist()
            assert row["valid_labels"] == ",".join(map(str, there))
        info = made.path(sample, "info.yaml").read_text()
        assert f"seq: '{seq}'" in info or f"seq: {seq}\n" in info


def test_the_archive_manifest_has_every_file(made: Made) -> None:
    frame = made.result.archive_manifest
    expected = [
        (name, kind, sample.sample_id.partition("_")[2], sample.subset)
        for sample in made.archive.samples
        for kind, names in (
            ("v3d", sample.images),
            ("m3d", [sample.mask_name, *(name for _, name in sample.label_masks)]),
        )
        for name in names
        if name
    ]
    columns = ["file_path", "type", "seq", "subset"]
    assert [*map(tuple, frame[columns].values.tolist())] == expected
    assert frame["szx"].notna().all()


def test_issues_are_those_that_were_planted(made: Made) -> None:
    expected = [(code, "") for code in made.case.codes]
    for sample in made.archive.samples:
        if sample.mask_affine in ("shifted", "flipped"):
            expected.append(("affine_repaired", sample.sample_id))
        if sample.overlaps:
            expected.append(("labels_overlap", sample.sample_id))
    for sample in made.masked:
        gone = {*np.unique(sample.labels).tolist()} - {*np.unique(made.expected(sample)).tolist()}
        expected += [("label_vanished", sample.sample_id)] * len(gone)
    found = [(issue["code"], issue["sample"]) for issue in issues(made.root)]
    assert sorted(found) == sorted(expected)
    assert made.result.exit_code == amos_dask.ExitCode.DONE


def test_overlaps_are_those_that_were_planted(made: Made) -> None:
    path = made.root / "descriptor" / "overlaps.xlsx"
    if not any(sample.label_masks for sample in made.archive.samples):
        assert not path.exists()
        return
    names, size = made.case.label_map, 1.5**3
    _, *rows = load_workbook(path)["Overlaps"].values
    assert rows == [
        (sample.sample_id, a, names[a], b, names[b], n, n * size)
        for sample in made.archive.samples
        for (a, b), n in sorted(sample.overlaps.items())
    ]
    assert rows


@pytest.mark.integration
def test_every_overlap_of_many_scans_is_told(tmp_path: Path, client: Client) -> None:
    n_scans = FEW + 2  # of which not all are looked at at once
    test_overlaps_are_those_that_were_planted(make(_total(12, n_scans), tmp_path, client))


def test_a_second_run_does_nothing(made: Made, client: Client) -> None:
    before = snapshot(made.root)
    again = amos_dask.run(made.root, made.archive.path, cluster=client, **SMALL)
    assert again.reasons == {"complete": len(made.archive.samples)}
    assert snapshot(made.root) == before


def test_verify_finds_result_and_archive_sound(made: Made, cluster_address: str) -> None:
    how = ("--cluster", cluster_address, "--quiet")
    program("verify", made.root, *how)
    program("verify", made.archive.path, "--dataset", made.dataset, "--full", *how)


@pytest.mark.parametrize(
    ("name", "form"),
    [("totalsegmentator", "zip"), ("nnunet", "tar")],
)
def test_a_zip_or_tar_gives_the_same_tree(
    name: str, form: str, client: Client, made_of: Callable[[str], Made], tmp_path: Path
) -> None:
    made = made_of(name)
    folder = made.archive.path
    packed = shutil.make_archive(str(tmp_path / folder.name), form, folder)
    root = tmp_path / "of the packed"
    amos_dask.run(root, packed, dataset=made.dataset, cluster=client, **SMALL, **DENOISE)
    assert_same(contents(made.root), contents(root))


def test_totalsegmentator_s_csv_tells_subset_sex_and_age(made_of: Callable[[str], Made]) -> None:
    rows = table(made_of("totalsegmentator").root / "grouped" / "dataset_manifest.xlsx")
    told = ["subset", "sex", "age", "manufacturer_model_name", "manufacturer", "site"]
    siemens = ("SOMATOM Force", "siemens")
    assert [tuple(row[name] for name in told) for row in rows.values()] == [
        ("train", "M", "20", *siemens, "A"),
        ("test", "F", "27", *siemens, "B"),
        ("train", "M", "34", *siemens, "C"),
        ("val", "F", "41", *siemens, "A"),
        ("train", "M", "UND", *siemens, "B"),
    ]


def test_brats_may_lie_in_two_archives(
    client: Client, made_of: Callable[[str], Made], tmp_path: Path
) -> None:
    made = made_of("brats 2023")
    folders = sorted(path for path in made.archive.path.iterdir() if path.is_dir())
    zips = [shutil.make_archive(str(tmp_path / path.name), "zip", path) for path in folders]
    root = tmp_path / "of two"
    result = amos_dask.run(root, zips, dataset="brats", cluster=client, **SMALL, **DENOISE)
    assert result.reasons == {"new": len(made.archive.samples)}
    assert_same(contents(made.root, "grouped"), contents(root, "grouped"))


def test_what_is_wrong_in_a_scan_is_said_of_it_alone(client: Client, tmp_path: Path) -> None:
    kits = write_kits23(tmp_path, defects=True)
    amos_dask.run(tmp_path / "a", kits.path, dataset="kits23", cluster=client, **SMALL)
    assert errors(tmp_path / "a") == {("kits23_case_00400", "mask_without_volume")}
    case = _total(12, 3)
    total = write_totalsegmentator(tmp_path, n_scans=3, n_labels=12, defects=True)
    dataset = definition_of(case, tmp_path)
    amos_dask.run(tmp_path / "b", total.path, dataset=dataset, cluster=client, **SMALL)
    assert errors(tmp_path / "b") == {("totalseg_s0003", "bad_mask_values")}
    rows = table(tmp_path / "b" / "grouped" / "dataset_manifest.xlsx")
    assert [row["mask"] is None for row in rows.values()] == [False, False, True]
