"""What a definition of one's own may say, each on an archive of a few voxels."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pytest
from mini import AFFINE, SHAPE, Own, mask, scan, write
from phantoms.planting import plant_scan, relabel, vary_channels
from roots import snapshot, table, voxels

import amos_dask
from amos_dask.errors import AmosDaskError

LABELS = "labels: {0: background, 1: first, 2: second, 3: third}\n"
CHANNELS = f"""{LABELS}subsets: train
volumes: "{{id}}/{{id}}_{{channel}}"
masks: "{{id}}/{{id}}_seg"
channels: {{t1: t1, t1 c: [t1ce, t1gd], t2: t2}}
denoise: none"""
ORGANS = f"""{LABELS}subsets: train
volumes: "{{id}}/ct"
masks: "{{id}}/organs/{{label}}"
with_masks: [train]
denoise: none"""


# ---------------------------------------------------------------- values and subsets


def test_values_become_labels(own: Callable[[str], Own]) -> None:
    hearts = own(
        "labels: {0: background, 1: myocardium, 2: left atrium, 3: left ventricle, "
        "4: right atrium, 5: right ventricle, 6: aorta, 7: pulmonary artery}\n"
        "label_values: {205: 1, 420: 2, 500: 3, 550: 4, 600: 5, 820: 6, 850: 7}\n"
        "volumes: ct_train_{number}_image\nmasks: ct_train_{number}_label\n"
        "subsets: train\nwith_masks: [train]\ndenoise: none"
    )
    values = (205, 420, 500, 550, 600, 820)
    masks = {1001: mask(values), 1002: mask((850, 205)), 1003: mask((205, 421)), 1004: mask((1,))}
    for number, values_of in masks.items():
        hearts.write(f"ct_train_{number}_image.nii.gz")
        hearts.write(f"ct_train_{number}_label.nii.gz", values_of)
    assert hearts.run().exit_code == amos_dask.ExitCode.SAMPLES_FAILED
    for number, labels in ((1001, (1, 2, 3, 4, 5, 6)), (1002, (7, 1))):
        np.testing.assert_array_equal(
            voxels(hearts.path(f"own_{number}_mask.nii.gz")), mask(labels)
        )
    assert hearts.found("small_regions") == [
        ("own_1003", "bad_mask_values", "ct_train_1003_label.nii.gz"),
        ("own_1004", "bad_mask_values", "ct_train_1004_label.nii.gz"),
    ]
    rows = table(hearts.root / "grouped" / "dataset_manifest.xlsx")
    assert [row["mask"] is None for row in rows.values()] == [False, False, True, True]


def test_a_list_in_the_archive_tells_the_subsets(own: Callable[[str], Own]) -> None:
    listed = own(f'{LABELS}volumes: "{{id}}"\nsubset_lists: parts.json')
    for name in ("a", "b", "c", "d"):
        listed.write(f"{name}.nii.gz")
    lists = {"training": ["a"], "val": ["own_b"], "Test": ["c", "gone"]}
    (listed.archive / "parts.json").write_text(json.dumps(lists))
    listed.run()
    rows = table(listed.root / "grouped" / "dataset_manifest.xlsx")
    assert {row["seq"]: row["subset"] for row in rows.values()} == {
        "a": "train",
        "b": "val",
        "c": "test",
        "d": "train",
    }
    codes = [code for _, code, _ in listed.found()]
    assert codes == ["subset_unknown", "listed_but_absent"]
    assert listed.said("subset_unknown") == "parts.json does not tell the subset of own_d"
    (listed.archive / "parts.json").write_text('{"train": ["a"], "test": ["a"]}')
    with pytest.raises(AmosDaskError, match=r"parts.json: not a readable list of subsets.*'a'"):
        listed.run()


@pytest.mark.parametrize("form", ["csv", "tsv", "xlsx"])
def test_metadata_tell_subsets_and_patients(own: Callable[[str], Own], form: str) -> None:
    told = own(
        f'{LABELS}volumes: "{{id}}/ct"\nsubset_column: part\n'
        f"metadata: {{files: about.{form}, id: scan, columns: {{sex: sex, age: years, site: at}}}}"
    )
    for name in ("a", "b", "c"):
        told.write(f"{name}/ct.nii.gz")
    rows = {"scan": ["a", "b"], "part": ["Validation", "test"], "sex": ["female", ""]}
    frame = pd.DataFrame(rows | {"years": [61, 7], "at": ["X", "Y, Z"]})
    path = told.archive / f"about.{form}"
    if form == "xlsx":
        frame.to_excel(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="," if form == "csv" else "\t")
    told.run()
    columns = ["subset", "sex", "age", "site"]
    assert {
        row["seq"]: [row[name] for name in columns]
        for row in table(told.root / "grouped" / "dataset_manifest.xlsx").values()
    } == {
        "a": ["val", "F", "61", "X"],
        "b": ["test", "UND", "7", "Y, Z"],
        "c": ["train", "UND", "UND", "UND"],
    }
    assert told.found() == [
        ("", "subset_unknown", ""),
        ("own_c", "metadata_row_missing", f"about.{form}"),
    ]


def test_a_subset_may_have_several_places(own: Callable[[str], Own]) -> None:
    places = own(
        f'{LABELS}volumes:\n  train: ["north/{{id}}/scan", "south/{{id}}"]\n  test: held/{{id}}\n'
        'masks:\n  train: ["north/{id}/label", "south labels/{id}"]\n'
        "with_masks: [train]\ndenoise: none"
    )
    for name in ("north/n1/scan", "south/s-1", "held/h.1"):
        places.write(f"{name}.nii.gz")
    for name in ("north/n1/label", "south labels/s-1"):
        places.write(f"{name}.nii.gz", mask((1, 2)))
    places.write("elsewhere/e1/scan.nii.gz")
    places.run()
    assert places.there() == ["own_h.1_UND", "own_n1_UND", "own_s-1_UND"]
    assert places.found() == [("", "unexpected_file", "elsewhere/e1/scan.nii.gz")]
    rows = table(places.root / "grouped" / "dataset_manifest.xlsx")
    assert [row["valid_labels"] for row in rows.values()] == [None, "0,1,2", "0,1,2"]


# ---------------------------------------------------------------- ids


def test_ids_that_differ_by_case_only_are_an_error(own: Callable[[str], Own]) -> None:
    ids = own(f'{LABELS}volumes: "{{id}}"\nsubsets: train')
    for name in ("Case", "case", "case2"):
        ids.write(f"{name}.nii.gz")
    with pytest.raises(amos_dask.AmosDaskError, match="the ids Case and case differ by upper"):
        ids.run()
    assert not (ids.root / "grouped").exists()


def test_ids_of_any_form_are_sorted_found_again_and_chosen(own: Callable[[str], Own]) -> None:
    ids = own(f'{LABELS}volumes: "{{id}}_scan"\nmasks: "{{id}}_label"\nsubsets: train')
    names = ["9", "10", "a", "a1", "a_b", "a_mask", "a_volume", "x.1"]
    for name in reversed(names):
        ids.write(f"{name}_scan.nii.gz")
        ids.write(f"{name}_label.nii.gz", mask((1, 2)))
    first = ids.run()
    assert list(first.dataset_manifest["seq"]) == names
    assert ids.found() == []
    for name in names:
        folder = ids.path(f"own_{name}_UND/own_{name}_mask.nii.gz").parent
        assert len(list(folder.iterdir())) == 7, name
    before = snapshot(ids.root)
    assert ids.run().reasons == {"complete": len(names)}
    assert snapshot(ids.root) == before
    described = amos_dask.dataset_manifest(
        ids.root / "grouped", ids.root / "again.xlsx", cluster=ids.client, progress="none"
    )
    assert list(described.frame["ID"]) == [f"own_{name}" for name in names]
    for asked, chosen in {"a": ["a"], "9-10": ["9", "10"], "own_a_b": ["a_b"]}.items():
        again = ids.run(selection=amos_dask.Selection([asked]), force=True)
        assert again.n_processed == len(chosen), asked
    with pytest.raises(AmosDaskError, match="there is no sample"):
        ids.run(selection=amos_dask.Selection(["b"]))


# ---------------------------------------------------------------- channels


def write_case(own: Own, name: str, *channels: str) -> None:
    for channel in channels or ("t1", "t1gd", "t2"):
        own.write(f"{name}/{name}_{channel}.nii.gz")
    own.write(f"{name}/{name}_seg.nii.gz", mask((1, 3)))


def test_a_missing_channel_writes_nothing_and_takes_nothing_away(own: Callable[[str], Own]) -> None:
    cases = own(CHANNELS)
    write_case(cases, "a")
    write_case(cases, "b", "t1", "t2")
    assert cases.run().exit_code == amos_dask.ExitCode.SAMPLES_FAILED
    assert cases.there() == ["own_a_UND"]
    assert cases.found() == [("own_b", "missing_channel", "b/b_t1.nii.gz")]
    assert cases.said("missing_channel") == "no file of the channel t1 c"
    rows = table(cases.root / "grouped" / "dataset_manifest.xlsx")
    assert rows["own_a"]["volume_01_t1_c"].endswith("own_a_volume_01_t1_c.nii.gz")
    assert rows["own_a"]["volume"] == rows["own_a"]["volume_00_t1"]
    before = snapshot(cases.root / "grouped" / "OWN-CT" / "train")
    (cases.archive / "a" / "a_t2.nii.gz").unlink()
    cases.write("b/b_t1ce.nii.gz")
    cases.run()
    assert cases.there() == ["own_a_UND", "own_b_UND"]
    after = snapshot(cases.root / "grouped" / "OWN-CT" / "train")
    assert before.items() <= after.items()
    assert ("own_a", "source_missing") in {one[:2] for one in cases.found()}


@pytest.mark.parametrize(
    ("voxels_of", "affine", "why"),
    [
        (scan(1, (14, 12, 4)), AFFINE, "shape"),
        (scan(1), AFFINE + np.eye(4)[:, :1] * np.eye(4)[3:] * 9, "another grid"),
    ],
)
def test_a_channel_on_another_grid_is_named(
    own: Callable[[str], Own], voxels_of: Any, affine: Any, why: str
) -> None:
    cases = own(CHANNELS)
    write_case(cases, "a")
    write_case(cases, "b")
    cases.write("b/b_t2.nii.gz", voxels_of, affine)
    assert cases.run().exit_code == amos_dask.ExitCode.SAMPLES_FAILED
    assert cases.there() == ["own_a_UND"]
    assert cases.found() == [("own_b", "unreadable_volume", "b/b_t2.nii.gz")]
    assert why in cases.said("unreadable_volume")


# ---------------------------------------------------------------- a mask for each label


def organ(seed: int) -> Any:
    return (np.random.default_rng(seed).random(SHAPE) < 0.4).astype(np.uint8, order="F")


@pytest.mark.parametrize(
    ("precedence", "order"),
    [
        ("later", [1, 2, 3]),
        ("earlier", [3, 2, 1]),
        ("[third, first, second]", [3, 1, 2]),
        ("[second, first]", [3, 2, 1]),
    ],
)
def test_precedence_tells_which_label_a_voxel_gets(
    own: Callable[[str], Own], precedence: str, order: list[int]
) -> None:
    organs = own(f"{ORGANS}\nprecedence: {precedence}")
    masks = {label: organ(label) for label in (1, 2, 3)}
    organs.write("a/ct.nii.gz")
    for label, name in enumerate(("first", "second", "third"), start=1):
        organs.write(f"a/organs/{name}.nii.gz", masks[label])
    result = organs.run()
    merged, overlaps = oracle.merge_masks({n: m == 1 for n, m in masks.items()}, order)
    np.testing.assert_array_equal(voxels(organs.path("own_a_mask.nii.gz")), merged)
    frame = pd.read_excel(organs.root / "descriptor" / "overlaps.xlsx")
    shown = frame[["label_index", "other_index", "n_voxels"]].itertuples(index=False)
    assert [*map(tuple, shown)] == overlaps
    assert organs.found() == [("own_a", "labels_overlap", "a/organs/first.nii.gz")]
    assert result.exit_code == amos_dask.ExitCode.DONE


def test_a_label_without_a_file_is_absent_and_a_bad_one_is_an_error(
    own: Callable[[str], Own],
) -> None:
    organs = own(ORGANS)
    corner = np.zeros(SHAPE, np.uint8, order="F")
    corner[0, 0, 0] = 1
    shifted = AFFINE.copy()
    shifted[:3, 3] = 4
    bad: dict[str, tuple[Any, Any]] = {
        "values": (2 * corner, AFFINE),
        "shape": (corner[:, :, 1:], AFFINE),
        "grid": (corner, shifted),
    }
    for name in ("some", "none", *bad):
        organs.write(f"{name}/ct.nii.gz")
    organs.write("some/organs/third.nii.gz", corner)
    for name, (voxels_of, affine) in bad.items():
        organs.write(f"{name}/organs/first.nii.gz", corner)
        organs.write(f"{name}/organs/second.nii.gz", voxels_of, affine)
    organs.write("moved/ct.nii.gz")
    for name in ("first", "second"):
        organs.write(f"moved/organs/{name}.nii.gz", corner, shifted)
    organs.write("small/ct.nii.gz")
    organs.write("small/organs/first.nii.gz", corner[1:])
    organs.run()
    rows = table(organs.root / "grouped" / "dataset_manifest.xlsx")
    present = {row["seq"]: row["valid_labels"] for row in rows.values()}
    assert present == {
        **dict.fromkeys(("grid", "none", "shape", "small", "values")),
        "moved": "0,2",
        "some": "0,3",
    }
    assert organs.found() == [
        ("own_grid", "unreadable_mask", "grid/organs/second.nii.gz"),
        ("own_moved", "affine_repaired", "moved/organs/first.nii.gz"),
        ("own_moved", "labels_overlap", "moved/organs/first.nii.gz"),
        ("own_none", "missing_mask", "none/ct.nii.gz"),
        ("own_shape", "unreadable_mask", "shape/organs/second.nii.gz"),
        ("own_small", "shape_mismatch", "small/organs/first.nii.gz"),
        ("own_values", "bad_mask_values", "values/organs/second.nii.gz"),
    ]
    assert "no binary mask" in organs.said("bad_mask_values")


# ---------------------------------------------------------------- sets that are not packaged

# CHAOS, MR of abdomens: two phases of T1-DUAL a scan, and grey values for organs; its DICOM series
# and pictures converted in place, after https://chaos.grand-challenge.org/Data.
CHAOS_MR = """labels: {0: background, 1: liver, 2: right kidney, 3: left kidney, 4: spleen}
label_values: {63: 1, 126: 2, 189: 3, 252: 4}
volumes: "MR/{number}/T1DUAL/{channel}"
masks: "MR/{number}/T1DUAL/Ground"
channels: {in phase: InPhase, out of phase: OutPhase}
subsets: train
with_masks: [train]"""
# Pancreas-CT: labels as published, images converted from DICOM, after
# https://www.cancerimagingarchive.net/collection/pancreas-ct.
PANCREAS_CT = """labels: {0: background, 1: pancreas}
volumes: "PANCREAS_{number}"
masks: "label{number}"
digits: 4
subsets: train
with_masks: [train]"""


def test_chaos_needs_no_line_of_python(own: Callable[[str], Own]) -> None:
    chaos = own(CHAOS_MR)
    organs = {63: (6,), 126: (2,), 189: (3,), 252: (1,)}
    planted = {}
    for position, number in enumerate((1, 2, 39)):
        one = plant_scan("mri", position, 5)
        folder = f"Train_Sets/MR/{number}/T1DUAL"
        phases = vary_channels(one.volume, 2)
        for name, phase in zip(("InPhase", "OutPhase"), phases, strict=True):
            chaos.write(f"{folder}/{name}.nii.gz", phase)
        chaos.write(f"{folder}/Ground.nii.gz", relabel(one.mask, organs))
        planted[f"own_{number:04d}"] = (
            phases,
            relabel(one.mask, dict(enumerate(organs.values(), 1))),
        )
    how = {"kernel_size": (3, 3), "filter_halfedge": 2, "region_area_thresh": 40.0}
    assert chaos.run(**how).exit_code == amos_dask.ExitCode.DONE
    for name, (phases, labels) in planted.items():
        for end, phase in zip(("00_in_phase", "01_out_of_phase"), phases, strict=True):
            written = voxels(chaos.path(f"{name}_volume_{end}.nii.gz"))
            np.testing.assert_array_equal(written, phase.astype(np.float32))
        expected = oracle.denoise(labels, (1.5, 1.5, 3.0), 40.0, (3, 3), 2, range(5))
        np.testing.assert_array_equal(voxels(chaos.path(f"{name}_mask.nii.gz")), expected)
    assert {code for _, code, _ in chaos.found()} <= {"label_vanished"}


def test_pancreas_ct_needs_no_line_of_python(own: Callable[[str], Own], tmp_path: Path) -> None:
    pancreas = own(PANCREAS_CT)
    masks = {}
    for position, number in enumerate((1, 70)):
        one = plant_scan("ct", position, 6)
        masks[number] = relabel(one.mask, {1: (10,)})
        pancreas.write(f"PANCREAS_{number:04d}.nii.gz", one.volume)
        name = f"TCIA_pancreas_labels-02-05-2017/label{number:04d}.nii.gz"
        write(tmp_path / "labels", name, masks[number])
    packed = shutil.make_archive(str(tmp_path / "labels"), "zip", tmp_path / "labels")
    result = pancreas.run([pancreas.archive, packed], exclude=_everything(tmp_path))
    assert result.exit_code == amos_dask.ExitCode.DONE
    for number, labels in masks.items():
        mask_of = voxels(pancreas.path(f"own_{number:04d}_mask.nii.gz"))
        np.testing.assert_array_equal(mask_of, labels)
    assert pancreas.found() == []


def _everything(folder: Path) -> Path:
    path = folder / "exclude.csv"
    path.write_text("sample,label\n*,*\n")
    return path
