"""What the report works out by itself: outliers, times, and what reviewers said."""

from __future__ import annotations

import pytest

from amos_dask.report.content import find_outliers, make_times, read_reviews


def test_volumes_outside_the_fences_are_outliers_farthest_first() -> None:
    volumes = {f"amos_{n:04d}": {6: 1000.0 + n, 1: 200.0} for n in range(1, 10)}
    volumes["amos_0010"] = {6: 1100.0, 1: 200.0}
    volumes["amos_0011"] = {6: 200.0}
    volumes["amos_0501"] = {6: 1.0}  # the only one of its modality
    modalities = {name: "mri" if name == "amos_0501" else "ct" for name in volumes}
    found = find_outliers(modalities, volumes)
    assert [(one["sample"], one["label"]) for one in found] == [("amos_0011", 6), ("amos_0010", 6)]
    # Quartiles of 200, 1001 ... 1009, 1100 are 1002.5 and 1007.5.
    assert found[0] == {
        "sample": "amos_0011",
        "label": 6,
        "modality": "ct",
        "volume_cm3": 200.0,
        "low_cm3": 995.0,
        "high_cm3": 1015.0,
    }


def test_of_fewer_than_eight_samples_none_is_an_outlier() -> None:
    volumes = {f"amos_{n:04d}": {6: 1000.0 + n} for n in range(6)} | {"amos_0009": {6: 1.0}}
    assert find_outliers(dict.fromkeys(volumes, "ct"), volumes) == []


def test_times_are_added_up_by_step_and_by_sample() -> None:
    times = make_times({"a": {"denoise": 1.0, "volume": 3.0}, "b": {"denoise": 6.0}})
    assert times["steps"] == [
        {"name": "denoise", "total_s": 7.0, "median_s": 3.5, "max_s": 6.0},
        {"name": "volume", "total_s": 3.0, "median_s": 3.0, "max_s": 3.0},
    ]
    assert times["samples"] == [["b", pytest.approx(6.0)], ["a", pytest.approx(4.0)]]


def test_of_reviews_the_last_line_of_a_sample_counts_and_what_is_none_is_left_aside() -> None:
    lines = (
        "sample,label",
        "# 2 of 9 reviewed",
        '# review: amos_0009,accepted,7,"a, ""b"""',
        "# review: amos_0001,seen,3,",
        "# review: amos_0001,,3,later",
        "# review: amos_0002,perfect,3,",
        "# review: amos_0003,seen,many,",
        '# review: amos_0004,seen,1,"open',
        "# review: amos_0005",
        "# a comment of somebody's",
        "amos_0006,1",
    )
    assert read_reviews("\n".join(lines)) == [
        {"sample": "amos_0001", "verdict": "", "changed_voxels": 3, "note": "later"},
        {"sample": "amos_0009", "verdict": "accepted", "changed_voxels": 7, "note": 'a, "b"'},
    ]
