"""Sixty phantom scans from the archive to the browser and back: looking, rejecting, running."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from report.chromium import Browser, find_chromium
from report.looking import cards, choose, saved, texts
from roots import errors, report_data

import amos_dask
from amos_dask.phantom import Archive, write_archive

pytestmark = pytest.mark.integration

AREA = 100.0  # of denoising, seen on small slices


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("sixty")
    return write_archive(folder, n_ct=36, n_mri=20, seed=3, defects=True)


@pytest.fixture(scope="module")
def root(archive: Archive, tmp_path_factory: pytest.TempPathFactory, cluster_address: str) -> Path:
    """Return the finished ROOT_DIR of 60 scans, four of them damaged."""
    root = tmp_path_factory.mktemp("whole") / "AMOS22"
    run(root, archive, cluster_address)
    assert len(archive.samples) == 60
    return root


def run(root: Path, archive: Archive, cluster: str, exclude: Path | None = None) -> None:
    amos_dask.run(
        root,
        archive.path,
        region_area_thresh=AREA,
        exclude=exclude,
        cluster=cluster,
        progress="none",
    )


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    find_chromium()
    with Browser(tmp_path_factory.mktemp("chromium")) as found:
        found.resize(1280, 900)
        yield found


def test_every_planted_defect_is_seen(browser: Browser, root: Path, archive: Archive) -> None:
    page = root / "descriptor" / "report.html"
    browser.open(page)
    data = report_data(page)
    failed = " ".join(texts(browser, "#failed tbody tr"))
    assert all(name in failed for name, _ in errors(root))
    assert all(one.sample_id in failed for one in archive.samples if one.defect)
    changed = [one["id"] for one in data["content"]["samples"] if one["changed_voxels"]]
    assert len(changed) > 25
    browser.press(*["j"] * len(changed))  # the list grows as one goes down
    assert sorted(cards(browser)) == sorted(changed)
    for name in changed:
        browser.run(f"void document.getElementById('card-{name}').scrollIntoView()")
        images = f"[...document.querySelectorAll('#card-{name} img')]"
        n_images = 2 * 3 * len(data[f"pictures-{name}"])  # before and after: scan, labels, rings
        browser.wait_for(f"{images}.length === {n_images}")
        browser.wait_for(f"{images}.every((one) => one.complete && one.naturalWidth > 0)")
    choose(browser, "modality", "mri")
    is_mri = {one["id"] for one in data["content"]["samples"] if one["modality"] == "mri"}
    assert set(cards(browser)) == is_mri & set(changed)
    assert set(texts(browser, "#samples tbody th")) == is_mri
    assert browser.messages == []
    others = [url for url in browser.requests if not url.startswith(("data:", page.as_uri()))]
    assert others == []


def test_what_is_rejected_in_the_browser_is_undone_by_the_next_run(
    browser: Browser, root: Path, archive: Archive, tmp_path: Path, cluster_address: str
) -> None:
    page = root / "descriptor" / "report.html"
    browser.open(page)
    first, second = cards(browser)[:2]
    browser.press("j", "r", "j", "1")
    label = int(browser.run("document.querySelector('.card.current [data-label]').dataset.label"))
    n_changed = sum(
        sample["changed_voxels"] > 0 for sample in report_data(page)["content"]["samples"]
    )
    text = saved(browser, tmp_path)
    assert text == "".join(
        f"{line}\n" for line in ("sample,label", *sorted([f"{first},", f"{second},{label}"]),
            f"# 2 of {n_changed} reviewed")
    )  # fmt: skip
    run(root, archive, cluster_address, tmp_path / "denoise_exclude.csv")
    after = {one["id"]: one for one in report_data(page)["content"]["samples"]}
    assert after[first]["changed_voxels"] == 0
    assert all(label not in change[:2] for change in after[second]["changes"])
    browser.open(page)
    assert first not in cards(browser)
    assert first in browser.run("document.getElementById('exclusions').textContent")
