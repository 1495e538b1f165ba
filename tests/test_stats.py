"""Statistics of the written volumes under the final masks are numpy's on the pooled voxels."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import nibabel as nib
import numpy as np
import pytest
from distributed import Client
from roots import assert_same, contents, program, put_back, voxels

import amos_dask
from amos_dask.datasets import AMOS22
from amos_dask.engine import graph, session
from amos_dask.engine.events import Event, TaskEnded, WorkStarted
from amos_dask.engine.session import Reduction, reduction_graph
from amos_dask.errors import AmosDaskError, ClusterError
from amos_dask.root.choices import require_sample_folders
from amos_dask.root.layout import Layout
from amos_dask.sample.source import FolderSource
from amos_dask.statistics import pools
from amos_dask.statistics.pools import (
    add_pools,
    count_sample,
    describe_pool,
    read_counts,
    read_pool,
)
from amos_dask.steps.count_values import add_counts
from amos_dask.tables.workbook import read_sheet

AREA = 100.0  # of denoising, seen on small slices


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return a finished ROOT_DIR of small scans with every quirk, float MR among them."""
    folder = tmp_path_factory.mktemp("stats")
    archive = amos_dask.write_archive(folder, seed=11).path
    result = amos_dask.run(
        folder / "R",
        archive,
        region_area_thresh=AREA,
        cluster=cluster_address,
        progress="none",
    )
    assert folder / "R/descriptor/statistics.xlsx" in result.outputs
    return folder / "R"


def sheet(root: Path, title: str) -> list[dict[str, Any]]:
    path = root / "descriptor" / "statistics.xlsx"
    return read_sheet(path, title).to_dict("records")


def masked_samples(root: Path) -> Iterator[tuple[dict[str, Any], np.ndarray, np.ndarray]]:
    """Yield the manifest's row, the volume and the mask of each sample that has a mask."""
    manifest = read_sheet(root / "grouped" / "dataset_manifest.xlsx", "Manifest")
    for row in manifest.to_dict("records"):
        if row["mask"] is not None:
            yield (
                row,
                voxels(root / "grouped" / row["volume"]),
                voxels(root / "grouped" / row["mask"]),
            )


def members(row: dict[str, Any]) -> dict[str, str]:
    modality = "ct" if row["volume"].startswith("AMOS-CT/") else "mri"
    return {
        "modality": modality,
        "scanner": row["manufacturer_model_name"],
        "site": row["site"],
        "subset": row["subset"],
    }


def test_intensities_are_those_of_the_pooled_voxels(root: Path) -> None:
    pooled: dict[tuple[str, str, str, int], list[np.ndarray]] = {}
    for row, volume, mask in masked_samples(root):
        groups = members(row)
        for label in np.unique(mask[mask > 0]):
            for grouping, group in groups.items():
                key = (groups["modality"], grouping, group, int(label))
                pooled.setdefault(key, []).append(volume[mask == label])
    rows = sheet(root, "Intensities")
    found = {
        (row["modality"], row["grouped_by"], row["group"], row["label_index"]): row for row in rows
    }
    assert sorted(found) == sorted(pooled)
    assert {key[0] for key in found} == {"ct", "mri"}
    for key, parts in pooled.items():
        values = np.concatenate(parts).astype(np.float64)
        finite = values[np.isfinite(values)]
        row = found[key]
        assert (row["n_samples"], row["n_voxels"]) == (len(parts), finite.size)
        assert row["n_not_finite"] == values.size - finite.size
        assert (row["min"], row["max"]) == (finite.min(), finite.max())
        assert row["median"] == np.median(finite)
        assert [row["p0.5"], row["p99.5"]] == list(np.percentile(finite, [0.5, 99.5]))
        assert row["mean"] == pytest.approx(finite.mean(), rel=1e-12)
        assert row["std"] == pytest.approx(finite.std(), rel=1e-12)


def test_organs_and_geometry(root: Path) -> None:
    ratios: dict[tuple[str, int], list[float]] = {}
    spacings: dict[str, list[float]] = {}
    for row, _, mask in masked_samples(root):
        modality = members(row)["modality"]
        for label in np.unique(mask[mask > 0]):
            share = (mask == label).sum() / mask.size
            ratios.setdefault((modality, int(label)), []).append(share)
    manifest = read_sheet(root / "grouped" / "dataset_manifest.xlsx", "Manifest")
    for row in manifest.to_dict("records"):
        spacings.setdefault(members(row)["modality"], []).append(row["spz"])
    organs = [row for row in sheet(root, "Organs") if row["grouped_by"] == "modality"]
    assert {(row["modality"], row["label_index"]) for row in organs} == set(ratios)
    for row in organs:
        expected = ratios[row["modality"], row["label_index"]]
        assert row["n_instances"] == len(expected)
        assert row["voxel_ratio_max"] == max(expected)
        assert row["voxel_ratio_median"] == pytest.approx(np.median(expected), rel=1e-15)
    for row in sheet(root, "Geometry"):
        if row["grouped_by"] == "modality" and row["quantity"] == "spacing_z":
            expected = spacings[row["modality"]]
            assert row["max"] == pytest.approx(max(expected), rel=1e-6)
            assert row["n_samples"] == len(expected)


def test_all_worksheets_have_the_groups_in_one_order(root: Path) -> None:
    orders = []
    for title in ("Organs", "Intensities", "Geometry"):
        rows = ((r["modality"], r["grouped_by"], r["group"]) for r in sheet(root, title))
        orders.append(list(dict.fromkeys(rows)))
    organs, intensities, geometry = orders
    assert organs == intensities == [group for group in geometry if group in organs]
    places = [("modality", "scanner", "site", "subset").index(by) for _, by, _ in geometry]
    assert sorted(zip((m for m, *_ in geometry), places, strict=True)) == list(
        zip((m for m, *_ in geometry), places, strict=True)
    )


def test_the_json_file_tells_the_same(root: Path) -> None:
    told = json.loads((root / "descriptor" / "statistics.json").read_text(encoding="utf-8"))
    assert sorted(told) == ["geometry", "intensities", "organs"]
    assert told["intensities"] == sheet(root, "Intensities")


def test_counted_again_from_the_files_it_is_the_same(root: Path, cluster_address: str) -> None:
    copy = put_back(root, root.parent / "changed" / "R")
    damaged, missing = sorted((copy / ".amos-dask" / "restore").iterdir())[:2]
    damaged.write_bytes(b"no counts")
    missing.unlink()
    for path in (copy / "descriptor").glob("statistics.*"):
        path.unlink()
    program("stats", copy, "--cluster", cluster_address, "--quiet")
    assert_same(contents(root, "descriptor"), contents(copy, "descriptor"))
    kept = [
        sorted(path.name for path in (r / ".amos-dask/restore").iterdir()) for r in (root, copy)
    ]
    assert kept[0] == kept[1]


def test_counts_of_another_volume_are_not_taken(root: Path, cluster_address: str) -> None:
    copy = put_back(root, root.parent / "changed" / "R")
    row, volume, mask = next(masked_samples(copy))
    path = copy / "grouped" / row["volume"]
    nib.save(nib.Nifti1Image(volume + np.float32(5000), nib.load(path).affine), path)
    program("stats", copy, "--cluster", cluster_address, "--quiet")
    highest = {
        found["label_index"]: found["max"]
        for found in sheet(copy, "Intensities")
        if (found["modality"], found["grouped_by"]) == (members(row)["modality"], "modality")
    }
    for label in np.unique(mask[mask > 0]):
        assert highest[int(label)] == 5000 + volume[mask == label].max()


def labelled_sources(root: Path) -> list[FolderSource]:
    layout = Layout.of(root)
    folders = require_sample_folders(layout.grouped, layout)
    sources = [FolderSource(folder, layout, AMOS22.label_map) for folder in folders]
    return list(read_pool(sources).sources)


def test_many_samples_are_added_up_a_few_at_a_time(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = labelled_sources(root)
    whole = describe_pool(read_pool(sources))[0][0]
    assert max(found["n_samples"] for found in whole.values()) > 4
    monkeypatch.setattr(pools, "_HELD_ROWS", 1)
    monkeypatch.setattr(session, "_ADDED_AT_ONCE", 2)
    assert described_in_groups({"all": sources})["all"] == whole
    monkeypatch.setattr(pools, "_MOST_ROWS", 1)
    in_passes = described_in_groups({"all": sources})["all"]
    assert in_passes.keys() == whole.keys()
    for label, found in in_passes.items():
        assert found == {**whole[label], "std": pytest.approx(found["std"], rel=1e-15)}


def described_in_groups(groups: dict[str, list[FolderSource]]) -> dict[str, Any]:
    graph = reduction_graph(groups, Reduction(read_pool, add_pools, describe_pool), 1)
    (found,) = dask.compute(graph, scheduler="synchronous")
    return {group: of_channels[0] for group, (of_channels, _) in found.items()}


def test_groups_that_overlap_share_what_is_read(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = labelled_sources(root)
    groups = {
        "all": sources,
        "some": sources[::2],
        "others": sources[1::3],
        "one": sources[:1],
        "none": [],
    }
    n_read, read = Counter[str](), pools.read_counts

    def reading(source: FolderSource, channel: int = 0) -> Any:
        n_read[source.name] += 1
        return read(source, channel)

    expected = {name: describe_pool(read_pool(of))[0][0] for name, of in groups.items() if of}
    monkeypatch.setattr(pools, "read_counts", reading)
    assert described_in_groups(groups) == expected
    assert n_read == dict.fromkeys((source.name for source in sources), 1)


def test_what_cannot_be_read_any_more_is_not_left_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = put_back(root, root.parent / "changed" / "R")
    monkeypatch.setattr(pools, "_MOST_ROWS", 1)
    pool = read_pool(labelled_sources(copy))
    next(Layout(copy).restore.iterdir()).write_bytes(b"no counts")
    with pytest.raises(AmosDaskError, match=r"cannot be read .* run it again"):
        describe_pool(pool)


def test_a_task_counts_what_was_not_counted_and_keeps_it(root: Path) -> None:
    copy = put_back(root, root.parent / "changed" / "R")
    layout, row = Layout.of(copy), next(masked_samples(copy))[0]
    folder = Layout(copy).sample_folder((copy / "grouped" / row["mask"]).parent, row["ID"])
    source = FolderSource(folder, layout, AMOS22.label_map)
    known, n_voxels = add_counts(read_counts(source)), read_pool([source]).voxels[row["ID"]]
    shutil.rmtree(layout.restore)
    assert n_voxels is not None
    assert read_pool([source]).voxels == {row["ID"]: None}
    assert count_sample(source).value == n_voxels
    assert all(map(np.array_equal, add_counts(read_counts(source)), known))
    folder.volume.write_bytes(folder.mask.read_bytes())  # of the mask's type
    assert [issue.code for issue in count_sample(source).issues] == ["unreadable_volume"]
    folder.mask.write_bytes(b"no image")
    assert [issue.code for issue in count_sample(source).issues] == ["unreadable_mask"]


def test_of_many_samples_tasks_read_what_is_kept(
    root: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("engine.session", "conclude"):
        monkeypatch.setattr(f"amos_dask.{module}.FEW", 1)
    copy, events = put_back(root, root.parent / "changed" / "R"), list[Event]()
    for path in (copy / "descriptor").glob("statistics.*"):
        path.unlink()
    amos_dask.make_report(copy, cluster=cluster_address, progress=events.append)
    assert_same(contents(root, "descriptor"), contents(copy, "descriptor"))
    works = [event.work for event in events if isinstance(event, WorkStarted)]
    assert works == ["statistics", "known"]
    told = {e.name for e in events if isinstance(e, TaskEnded) and e.work == "statistics"}
    assert told == {
        "-".join((row["modality"], row["grouped_by"], row["group"]))
        for row in sheet(root, "Organs")
    }


def test_workers_write_the_workbooks_of_many_samples(
    root: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("engine.session", "conclude"):
        monkeypatch.setattr(f"amos_dask.{module}.FEW", 1)
    copy, events = put_back(root, root.parent / "changed" / "R"), list[Event]()
    for path in copy.rglob("*.xlsx"):
        path.unlink()
    with Client(cluster_address) as client:
        amos_dask.run(copy, cluster=client, progress=events.append)
    works = [event.work for event in events if isinstance(event, WorkStarted)]
    assert "tables" in works
    assert_same(contents(root), contents(copy))
    assert list(copy.rglob("*.part~")) == []


def test_workbooks_are_written_although_all_workers_have_gone(
    root: Path, cluster_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run_tasks(client: Any, work: str, *more: Any) -> Iterator[Any]:
        if work in ("known", "tables"):
            raise ClusterError("the cluster has had no workers")
        yield from before(client, work, *more)

    before = graph.run_tasks
    monkeypatch.setattr(graph, "run_tasks", run_tasks)
    for module in ("engine.session", "conclude"):
        monkeypatch.setattr(f"amos_dask.{module}.FEW", 1)
    copy = put_back(root, root.parent / "changed" / "R")
    for path in copy.rglob("*.xlsx"):
        path.unlink()
    with Client(cluster_address) as client:
        amos_dask.run(copy, cluster=client, progress="none")
    assert_same(contents(root), contents(copy))


def test_of_few_samples_what_is_kept_is_read_without_a_cluster(root: Path) -> None:
    copy = put_back(root, root.parent / "changed" / "R")
    for path in (copy / "descriptor").glob("statistics.*"):
        path.unlink()
    amos_dask.make_report(copy, cluster=object(), progress="none")
    assert_same(contents(root, "descriptor"), contents(copy, "descriptor"))


def test_without_statistics_those_of_before_stay(root: Path, cluster_address: str) -> None:
    copy = put_back(root, root.parent / "changed" / "R")
    archive = root.parent / "amos22"
    amos_dask.run(
        copy,
        archive,
        region_area_thresh=AREA,
        statistics=False,
        cluster=cluster_address,
        progress="none",
    )
    names = ("descriptor/statistics.xlsx", "descriptor/statistics.json")
    assert all((copy / name).read_bytes() == (root / name).read_bytes() for name in names)


def test_statistics_that_say_the_same_are_left_as_they_are(
    root: Path, cluster_address: str
) -> None:
    before = (root / "descriptor" / "statistics.xlsx").read_bytes()
    program("stats", root, "--cluster", cluster_address, "--quiet")
    assert (root / "descriptor" / "statistics.xlsx").read_bytes() == before
    program("verify", root, "--cluster", cluster_address, "--quiet")
