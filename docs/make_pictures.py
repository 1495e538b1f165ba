"""Draw the documents' pictures of a mask and of the report, from runs on phantoms.

pip install matplotlib
PYTHONPATH=.:tests python docs/make_pictures.py
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from report.chromium import Browser

import amos_dask
from amos_dask.datasets import AMOS22
from amos_dask.phantom.painting import plant_specks
from amos_dask.root.layout import find_sample_folders

HERE = Path(__file__).parent
COLOURS = plt.colormaps["tab20"].colors


def main() -> None:
    """Draw all of them."""
    show_denoising()
    show_report("report.png", "review", height=860, n_ct=6, n_mri=3, size="full")
    show_report("report_distributions.png", "distributions", height=1300, n_ct=40, n_mri=20)


def show_report(name: str, section: str, *, height: int, **phantom: Any) -> None:
    """Run on a phantom and take a picture of a section of its report, 1280 pixels wide."""
    with tempfile.TemporaryDirectory() as folder:
        archive = amos_dask.write_archive(Path(folder), **phantom)
        root = Path(folder) / "AMOS22"
        amos_dask.run(root, archive.path)
        with Browser(Path(folder)) as page:
            page.resize(1280, height)
            page.open(root / "descriptor" / "report.html")
            page.run(f"document.getElementById('{section}').scrollIntoView()")
            page.wait_for("[...document.images].every((image) => image.complete)")
            page.picture(HERE / name)


def show_denoising() -> None:
    """Run on one noisy CT and draw the slice that changed most."""
    with tempfile.TemporaryDirectory() as folder:
        archive = amos_dask.write_archive(Path(folder), n_ct=1, n_mri=0, size="full")
        before = add_specks(archive.path / archive.samples[0].mask_name)
        root = Path(folder) / "AMOS22"
        amos_dask.run(root, archive.path)
        sample = find_sample_folders(root / "grouped")[0]
        volume = np.asanyarray(nib.load(sample.volume).dataobj)
        after = np.asanyarray(nib.load(sample.mask).dataobj)
    draw(volume, before, after, HERE / "denoised.png")


def add_specks(path: Path) -> np.ndarray:
    """Plant nineteen times as many islands and pinholes more in a mask, and return it."""
    image = nib.load(path)
    mask = np.asfortranarray(image.dataobj, np.uint8)
    plant_specks(mask, image.header.get_zooms()[:3], np.random.default_rng(0), times=19)
    nib.save(nib.Nifti1Image(mask, image.affine, image.header), path)
    return mask


def draw(volume: np.ndarray, before: np.ndarray, after: np.ndarray, path: Path) -> None:
    """Draw the slice with most changed voxels among those with many organs."""
    changed = (before != after).sum(axis=(0, 1))
    n_labels = np.array([len(np.unique(after[:, :, z])) for z in range(after.shape[2])])
    z = int(np.argmax(changed * (n_labels >= n_labels.max() - 2)))
    rows, columns = np.nonzero(after[:, :, z])
    box = (slice(rows.min() - 25, rows.max() + 25), slice(columns.min() - 25, columns.max() + 25))
    figure, axes = plt.subplots(1, 3, figsize=(15, 3.7), facecolor="black")
    titles = ("as downloaded", "after amos-dask", f"{changed[z]} voxels changed on this slice")
    difference = np.where(before != after, 1, 0)
    for axis, title, labels in zip(axes, titles, (before, after, difference), strict=True):
        overlay(axis, volume[:, :, z][box], labels[:, :, z][box], title)
    figure.tight_layout()
    figure.savefig(path, dpi=100, facecolor="black")


def overlay(axis: plt.Axes, slice_: np.ndarray, labels: np.ndarray, title: str) -> None:
    """Draw labels over one slice of a RAS scan in a soft-tissue window.

    As radiologists see it: anterior up, the patient's right on the left.
    """
    slice_, labels = slice_[::-1], labels[::-1]
    axis.imshow(slice_.T, cmap="gray", vmin=-160, vmax=240, origin="lower")
    n = len(AMOS22.label_map)
    colours = ListedColormap([COLOURS[i % len(COLOURS)] for i in range(n)])
    shown = np.ma.masked_equal(labels, 0)
    binary = labels.max() <= 1
    axis.imshow(
        shown.T,
        cmap=ListedColormap(["#ff3030", "#ff3030"]) if binary else colours,
        vmin=0,
        vmax=1 if binary else n - 1,
        alpha=1.0 if binary else 0.55,
        origin="lower",
        interpolation="nearest",
    )
    axis.set_title(title, color="white", fontsize=14)
    axis.axis("off")


if __name__ == "__main__":
    main()
