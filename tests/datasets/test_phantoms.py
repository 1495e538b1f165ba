"""The phantoms of the packaged datasets: the same bytes for a seed, and what they tell is so."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from phantoms import (
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
from roots import snapshot

pytestmark = pytest.mark.integration  # what the others rest on, and changes rarely
Write = Callable[..., OtherArchive]
DESCRIPTIONS = {"dataset.json", "meta.csv"}
# Of writers that take a name those names that they do not treat alike.
PHANTOMS = {
    "abdomenatlas": write_abdomenatlas,
    **{name: partial(write_abdomens, name=name) for name in ("btcv", "flare22")},
    "brats 2021": partial(write_brats, year=2021),
    "brats 2023": partial(write_brats, year=2023),
    "kits23": write_kits23,
    "nnunet": write_nnunet,
    "nnunet prefixed": partial(write_nnunet, prefixed=True),
    "nnunet regions": partial(
        write_nnunet, channels=["CT"], regions=True, ignore=True, file_ending=".nii"
    ),
    "totalsegmentator": partial(write_totalsegmentator, n_scans=3, n_labels=62),
    **{
        task: partial(write_decathlon, task=task)
        for task in ("brain", "prostate", "heart", "liver")
    },
}


def voxels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(nib.load(path).dataobj)


def check_labels(folder: Path, sample: OtherSample) -> None:
    if sample.mask_name:
        np.testing.assert_array_equal(voxels(folder / sample.mask_name), sample.labels)
    elif sample.label_masks:
        assert sample.labels is not None
        merged = np.zeros_like(sample.labels)
        masks = {label: voxels(folder / name) for label, name in sample.label_masks}
        for label, mask in masks.items():
            assert set(np.unique(mask)) <= {0, 1}
            merged[mask == 1] = label
        np.testing.assert_array_equal(merged, sample.labels)
        counts = {
            pair: int((masks[pair[0]] & masks[pair[1]]).sum()) for pair in combinations(masks, 2)
        }
        assert {pair: n for pair, n in counts.items() if n} == sample.overlaps
    else:
        assert sample.labels is None


@pytest.mark.parametrize("name", PHANTOMS)
def test_what_phantoms_tell_is_so(tmp_path: Path, name: str) -> None:
    archive = PHANTOMS[name](tmp_path)
    told = {*archive.junk, *archive.others}
    for sample in archive.samples:
        check_labels(archive.path, sample)
        told |= {*sample.images, *(mask for _, mask in sample.label_masks), sample.mask_name} - {""}
        shapes = {voxels(archive.path / image).shape[:3] for image in sample.images}
        assert len(shapes) == 1
        assert sample.labels is None or sample.labels.shape in shapes
    files = {
        path.relative_to(archive.path).as_posix()
        for path in archive.path.rglob("*")
        if path.is_file()
    }
    assert files - DESCRIPTIONS == told


@pytest.mark.parametrize("name", ["brats 2021", "kits23", "nnunet", "totalsegmentator", "brain"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, name: str) -> None:
    write: Write = PHANTOMS[name]
    first = snapshot(write(tmp_path / "1").path)
    assert first == snapshot(write(tmp_path / "2").path)
    assert first != snapshot(write(tmp_path / "3", seed=1).path)
