"""Definitions that change under a ROOT_DIR, and names that could be taken for something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from distributed import Client
from mini import Own, mask, scan
from roots import table, voxels

import amos_dask
from amos_dask.errors import AmosDaskError

LABELS = "labels: {0: background, 1: liver, 2: spleen, 3: cyst}"
PARTS = 'volumes: "{id}/ct"\nmasks: "{id}/organs/{label}"\nsubsets: train\ndenoise: none'
CHANNELS = 'volumes: "{id}/{id}_{channel}"\nmasks: "{id}/{id}_seg"\nsubsets: train\ndenoise: none'


def change(own: Own, old: str, new: str) -> None:
    """Edit the definition."""
    text = own.definition.read_text()
    assert old in text
    own.definition.write_text(text.replace(old, new))


# ---------------------------------------------------------------- labels


def test_labels_that_change_places_in_the_definition_keep_their_organs(
    own: Callable[[str], Own],
) -> None:
    parts = own(f"{LABELS}\n{PARTS}")
    parts.write("a/ct.nii.gz")
    for n, name in enumerate(("liver", "spleen", "cyst")):
        parts.write(f"a/organs/{name}.nii.gz", mask((*[0] * n, 1)))
    parts.run()
    cyst = voxels(parts.path("a_mask_03_cyst.nii.gz"))
    change(parts, "2: spleen, 3: cyst", "2: cyst, 3: spleen")
    assert parts.run().reasons == {"changed": 1}
    np.testing.assert_array_equal(voxels(parts.path("a_mask_02_cyst.nii.gz")), cyst)
    assert not list(parts.root.rglob("*_03_cyst*"))


def test_a_label_map_that_names_merged_masks_otherwise_is_refused(
    own: Callable[[str], Own],
) -> None:
    parts = own(f"{LABELS}\n{PARTS}")
    parts.write("a/ct.nii.gz")
    parts.write("a/organs/liver.nii.gz", mask(1))
    parts.run()
    kept = parts.root / "descriptor" / "label_map.yaml"
    kept.write_text(kept.read_text().replace("spleen", "pancreas"))
    with pytest.raises(AmosDaskError, match=r"label 2 is 'pancreas' in label_map\.yaml and 'spl"):
        parts.run()


def test_labels_that_a_definition_gains_are_those_of_the_label_map(
    own: Callable[[str], Own],
) -> None:
    whole = own(f'{LABELS}\nvolumes: "{{id}}/ct"\nmasks: "{{id}}/seg"\nsubsets: train')
    whole.write("a/ct.nii.gz")
    whole.write("a/seg.nii.gz", mask((1, 4)))
    assert whole.run().exit_code == amos_dask.ExitCode.SAMPLES_FAILED
    assert "label 4 is not in the label map" in whole.said("unknown_label")
    change(whole, "3: cyst", "3: cyst, 4: bone")
    assert whole.run().exit_code == amos_dask.ExitCode.DONE
    assert whole.path("a_mask_04_bone.nii.gz").exists()


def test_a_definition_that_is_corrected_to_whole_masks_takes_them(
    own: Callable[[str], Own],
) -> None:
    parts = own(f"{LABELS}\n{PARTS}")
    parts.write("a/ct.nii.gz")
    parts.write("a/organs/liver.nii.gz", mask(1))
    parts.write("a/organs/spleen.nii.gz", mask(1))
    parts.run()
    assert (parts.root / "descriptor" / "overlaps.xlsx").exists()
    parts.write("a/whole.nii.gz", mask((1, 3)))
    change(parts, "{id}/organs/{label}", "{id}/whole")
    assert parts.run().exit_code == amos_dask.ExitCode.DONE
    np.testing.assert_array_equal(voxels(parts.path("a_mask.nii.gz")), mask((1, 3)))
    assert not (parts.root / "descriptor" / "overlaps.xlsx").exists()


def test_values_of_a_label_s_mask_that_are_rounded_are_said(own: Callable[[str], Own]) -> None:
    parts = own(f"{LABELS}\n{PARTS}")
    parts.write("a/ct.nii.gz")
    parts.write("a/organs/liver.nii.gz", mask(1).astype(np.float32) * np.float32(0.96))
    parts.run()
    assert "up to 0.04 off whole numbers" in parts.said("labels_rounded")


# ---------------------------------------------------------------- channels


def test_a_channel_s_other_name_takes_no_file_of_samples_that_were_not_made(
    own: Callable[[str], Own], client: Client
) -> None:
    two = own(f"{LABELS}\n{CHANNELS}\nchannels: {{t1: a, t2: b}}")
    for name in ("x", "y"):
        two.write(f"{name}/{name}_a.nii.gz")
        two.write(f"{name}/{name}_b.nii.gz")
        two.write(f"{name}/{name}_seg.nii.gz", mask((1, 2)))
    two.run()
    change(two, "t2: b", "t2w: b")
    chosen = amos_dask.Selection(["x"])
    assert two.run(selection=chosen).reasons == {"changed": 1}
    rows = table(two.root / "grouped" / "dataset_manifest.xlsx")
    assert [row["volume_01_t2w"] is not None for row in rows.values()] == [True, False]
    amos_dask.denoise(two.root / "grouped", two.root / "grouped", cluster=client, progress="none")
    found = (two.root / "grouped").rglob("own_*_volume_01_*")
    names = sorted(path.name for path in found)
    assert names == ["own_x_volume_01_t2w.nii.gz", "own_y_volume_01_t2.nii.gz"]
    assert two.run().reasons == {"complete": 1, "changed": 1}


def test_a_channel_that_is_left_out_makes_no_other_archive(own: Callable[[str], Own]) -> None:
    two = own(f"{LABELS}\n{CHANNELS}\nchannels: {{t1: a, t2: b, t3: c}}")
    for name in ("x", "y", "z"):
        for channel in "abc":
            two.write(f"{name}/{name}_{channel}.nii.gz", scan(ord(name) + ord(channel)))
    two.run()
    change(two, "t1: a, ", "")
    assert two.run().reasons == {"changed": 3}
    assert not list((two.root / "grouped").rglob("*_t1.nii.gz"))


# ---------------------------------------------------------------- names


def test_a_mask_beside_its_scan_is_no_scan(own: Callable[[str], Own]) -> None:
    flat = own(f'{LABELS}\nvolumes: "{{id}}"\nmasks: "{{id}}_seg"\nsubsets: train')
    flat.write("a.nii.gz")
    flat.write("a_seg.nii.gz", mask(1))
    flat.run()
    assert flat.there() == ["own_a_UND"]
    assert flat.path("own_a_mask.nii.gz").exists()


def test_the_place_that_is_spelled_out_more_tells_the_subset(own: Callable[[str], Own]) -> None:
    both = own(f'{LABELS}\nvolumes: {{train: "{{id}}/ct", val: "val/{{id}}/ct"}}')
    both.write("a/ct.nii.gz")
    both.write("val/b/ct.nii.gz")
    both.run()
    rows = table(both.root / "grouped" / "dataset_manifest.xlsx")
    assert {name: row["subset"] for name, row in rows.items()} == {"own_a": "train", "own_b": "val"}


def test_ids_that_begin_with_the_prefix_are_refused(own: Callable[[str], Own]) -> None:
    case = own(f'{LABELS}\nvolumes: "{{id}}"\nsubsets: train')
    case.write("own_1.nii.gz")
    with pytest.raises(AmosDaskError, match=r"the id own_1 begins with the prefix own_; choose"):
        case.run()


# ---------------------------------------------------------------- what tells of scans


def test_lists_of_subsets_are_read_as_text_and_have_to_be_there(own: Callable[[str], Own]) -> None:
    listed = own(f'{LABELS}\nvolumes: "{{id}}"\nsubset_lists: meta/split.yaml')
    for name in ("8", "010", "3", "003"):
        listed.write(f"{name}.nii.gz")
    with pytest.raises(AmosDaskError, match=r"there is no meta/split\.yaml, which tells"):
        listed.run()
    (listed.archive / "meta").mkdir()
    (listed.archive / "meta" / "split.yaml").write_text("train: [003, 8]\ntest: [010, 3, 77]\n")
    listed.run()
    rows = table(listed.root / "grouped" / "dataset_manifest.xlsx")
    found = {name: row["subset"] for name, row in rows.items()}
    assert found == {"own_003": "train", "own_3": "test", "own_8": "train", "own_010": "test"}
    assert listed.found("no_samples") == [("own_77", "listed_but_absent", "")]


def test_metadata_in_two_archives_are_said(own: Callable[[str], Own], tmp_path: Path) -> None:
    own_of = own(
        f'{LABELS}\nvolumes: "{{id}}"\nsubsets: train\n'
        "metadata: {files: meta.csv, id: id, columns: {sex: sex}}"
    )
    for folder, name in (("one", "a"), ("two", "b")):
        own_of.archive = tmp_path / folder
        own_of.write(f"{name}.nii.gz")
        (tmp_path / folder / "meta.csv").write_text(f"id,sex\n{name},F\n")
    own_of.run([tmp_path / "one", tmp_path / "two"])
    assert own_of.said("unexpected_file") == "a second one beside one/meta.csv, which is read"


def test_a_name_that_is_no_id_says_what_ids_are(own: Callable[[str], Own]) -> None:
    odd = own(f'{LABELS}\nvolumes: "{{id}}"\nsubsets: train')
    odd.write("a.nii.gz")
    odd.write("Müller 1.nii.gz")
    odd.run()
    assert "ids are of letters, digits and - _ ." in odd.said("unexpected_file")


def test_a_label_map_that_is_damaged_is_replaced_by_one_that_is_given(
    own: Callable[[str], Own], tmp_path: Path
) -> None:
    whole = own(f'{LABELS}\nvolumes: "{{id}}/ct"\nmasks: "{{id}}/seg"\nsubsets: train')
    whole.write("a/ct.nii.gz")
    whole.write("a/seg.nii.gz", mask(1))
    whole.run()
    kept = whole.root / "descriptor" / "label_map.yaml"
    kept.write_text("0: [")
    with pytest.raises(AmosDaskError, match=r"label_map\.yaml: not a readable label map"):
        whole.run()
    given = tmp_path / "given.yaml"
    given.write_text("0: background\n1: liver\n")
    whole.run(label_explanation=given)
    assert whole.path("a_mask_01_liver.nii.gz").exists()
    assert next((whole.root / "replaced").rglob("label_map.yaml")).read_text() == "0: ["
    assert "[" not in kept.read_text()


def test_a_row_that_is_gone_moves_no_scan_from_test_to_train(own: Callable[[str], Own]) -> None:
    told = own(
        f'{LABELS}\nvolumes: "{{id}}"\nsubset_column: part\n'
        "metadata: {files: meta.csv, id: id, columns: {}}"
    )
    told.write("a.nii.gz")
    told.write("b.nii.gz")
    meta = told.archive / "meta.csv"
    meta.write_text("id,part\na,test\nb,train\n")
    told.run()
    meta.write_text("id,part\nb,train\n")
    told.write("c.nii.gz")
    assert told.run().reasons == {"complete": 2, "new": 1}
    rows = table(told.root / "grouped" / "dataset_manifest.xlsx")
    found = {name: row["subset"] for name, row in rows.items()}
    assert found == {"own_a": "test", "own_b": "train", "own_c": "train"}
    assert told.said("subset_unknown").endswith("does not tell the subset of own_a, own_c")
