"""``card``: the figures of the statistics for people, and Croissant that programs can follow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from roots import ct_archive

import amos_dask
from amos_dask import AmosDaskError
from amos_dask.errors import ForeignFileError


@pytest.fixture
def made(processed_root: Path, root: Path) -> Path:
    shutil.copytree(processed_root, root)
    return root


def tables(text: str) -> dict[str, list[dict[str, str]]]:
    """Return the tables of a card by their headings."""
    found: dict[str, list[dict[str, str]]] = {}
    heading, columns = "", list[str]()
    for line in text.splitlines():
        if line.startswith("#"):
            above = heading.partition("/")[0] if line.startswith("### ") else ""
            heading, columns = f"{above}/{line.lstrip('# ')}".lstrip("/"), []
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if not columns:
                columns = cells
            elif cells[0] != "---":
                found.setdefault(heading, []).append(dict(zip(columns, cells, strict=True)))
    return found


def of_modality(root: Path, table: str, modality: str) -> list[dict[str, Any]]:
    content = json.loads((root / "descriptor" / "statistics.json").read_text())
    rows = (row for row in content[table] if row["grouped_by"] == "modality")
    return [row for row in rows if row["modality"] == modality]


@pytest.mark.parametrize(("modality", "heading"), [("ct", "CT"), ("mri", "MR")])
def test_figures_are_those_of_the_statistics(made: Path, modality: str, heading: str) -> None:
    result = amos_dask.card(made)
    text = result.outputs[0].read_text(encoding="utf-8")
    found = tables(text)
    intensities, told = found[f"Intensities/{heading}"], of_modality(made, "intensities", modality)
    names = ("min", "0.5%", "median", "mean", "std", "99.5%", "max")
    columns = ("min", "p0.5", "median", "mean", "std", "p99.5", "max")
    for row, expected in zip(intensities, told, strict=True):
        assert row["Structure"] == expected["label_name"]
        figures = [expected[column] for column in columns]
        assert [float(row[name]) for name in names] == pytest.approx(figures, rel=1e-5)
    organs = of_modality(made, "organs", modality)
    for row, expected in zip(found[f"Labels/{heading}"], organs, strict=True):
        assert (row["Structure"], row["Scans"]) == (
            expected["label_name"],
            str(expected["n_instances"]),
        )
        for name in ("min", "median", "mean", "max"):
            share, volume = row[f"Share of voxels ({name})"], row[f"Volume in cm³ ({name})"]
            ratio = expected[f"voxel_ratio_{name}"]
            assert float(share.rstrip("%")) / 100 == pytest.approx(ratio, rel=1e-3)
            assert float(volume) == pytest.approx(expected[f"volume_cm3_{name}"], rel=1e-5)
    geometry = {row["quantity"]: row for row in of_modality(made, "geometry", modality)}
    for row in (row for row in found["Resolution"] if row["Modality"] == heading):
        for column, what in (("Spacing (mm)", "spacing"), ("Size (voxels)", "size")):
            figures = [float(part) for part in row[column].strip("()").split(", ")]
            expected = [geometry[f"{what}_{axis}"][row[""]] for axis in "xyz"]
            assert figures == pytest.approx(expected, rel=1e-5)


def test_the_card_counts_scans_and_names_licence_and_source(made: Path) -> None:
    text = amos_dask.card(made).outputs[0].read_text(encoding="utf-8")
    manifest = pd.read_excel(made / "grouped" / "dataset_manifest.xlsx")
    count = manifest["subset"].value_counts()
    scans = ", ".join(f"{count[name]} {name}" for name in ("train", "val", "test") if name in count)
    (row,) = tables(text)["Dataset"]
    assert (row["Scans"], row["Modality"], row["Dimensions"]) == (scans, "CT, MR", "3D")
    assert "CC BY 4.0" in text
    assert "https://zenodo.org/records/7262581" in text


def test_croissant_tells_the_samples_and_lists_the_images(made: Path) -> None:
    told = json.loads(amos_dask.card(made).outputs[1].read_text(encoding="utf-8"))
    (records,) = told["recordSet"]
    kinds = {field["name"].partition("/")[2]: field["dataType"] for field in records["field"]}
    assert (kinds["seq"], kinds["szx"], kinds["spx"]) == ("sc:Text", "sc:Integer", "sc:Float")
    assert not [name for name in kinds if "date" in name]
    manifest = pd.read_excel(made / "grouped" / "dataset_manifest.xlsx", dtype=object)
    found = pd.DataFrame(records["data"]).rename(columns=lambda name: name.partition("/")[2])
    expected = manifest[list(kinds)].astype({"seq": str}).fillna("")
    expected["seq"] = [name.rpartition("_")[2] for name in manifest["ID"]]  # which pandas reads
    assert found.fillna("").to_dict("records") == expected.to_dict("records")
    for images, column in zip(told["distribution"], ("volume", "mask"), strict=True):
        files = {str(p.relative_to(made / "grouped")) for p in made.glob(images["includes"])}
        assert files == set(manifest[column].dropna())


@pytest.mark.parametrize("lost", ["croissant.json", "dataset_card.md"])
def test_statistics_and_card_stay_together(made: Path, cluster_address: str, lost: str) -> None:
    card, _ = amos_dask.card(made).outputs
    (made / lost).unlink()
    labels = made / "descriptor" / "label_map.yaml"
    labels.write_text(labels.read_text().replace("spleen", "milt"))
    amos_dask.stats(made, cluster=cluster_address, progress="none")
    assert "| milt |" in card.read_text(encoding="utf-8")
    assert (made / lost).exists()
    card.write_text("edited\n")
    found = amos_dask.verify(made, cluster=cluster_address, progress="none").issues
    assert "dataset_card.md" in {issue.file for issue in found}


@pytest.mark.integration
def test_run_keeps_the_card_up_to_date(root: Path, tmp_path: Path, cluster_address: str) -> None:
    amos_dask.run(root, ct_archive(tmp_path, 3), cluster=cluster_address, progress="none")
    outputs = amos_dask.card(root).outputs
    before = [path.read_bytes() for path in outputs]
    amos_dask.run(root, cluster=cluster_address, progress="none")
    assert [path.read_bytes() for path in outputs] == before
    labels = root / "descriptor" / "label_map.yaml"
    labels.write_text(labels.read_text().replace("spleen", "milt"))
    amos_dask.run(root, cluster=cluster_address, progress="none")
    text = outputs[0].read_text(encoding="utf-8")
    assert "spleen" not in text
    assert "| milt |" in text
    found = amos_dask.verify(root, cluster=cluster_address, progress="none")
    assert found.exit_code == 0


def test_a_run_without_statistics_says_that_the_card_is_old(
    made: Path, cluster_address: str
) -> None:
    card = amos_dask.card(made).outputs[0]
    labels = made / "descriptor" / "label_map.yaml"
    labels.write_text(labels.read_text().replace("spleen", "milt"))
    result = amos_dask.run(made, statistics=False, cluster=cluster_address, progress="none")
    assert "spleen" in card.read_text(encoding="utf-8")
    outdated = {issue.file for issue in result.issues if issue.code == "outdated_output"}
    assert {"dataset_card.md", "croissant.json"} <= outdated


def test_somebody_elses_card_stays(made: Path, cluster_address: str) -> None:
    theirs = made / "dataset_card.md"
    theirs.write_text("mine\n")
    with pytest.raises(ForeignFileError):
        amos_dask.card(made)
    assert theirs.read_text() == "mine\n"
    assert not (made / "croissant.json").exists()
    amos_dask.card(made, adopt=True)
    assert [path.read_text() for path in made.glob("replaced/*/dataset_card.md")] == ["mine\n"]


def test_without_statistics_there_is_no_card(made: Path) -> None:
    (made / "descriptor" / "statistics.json").unlink()
    with pytest.raises(AmosDaskError, match="amos-dask stats"):
        amos_dask.card(made)
