"""Reviewing in a real browser: accepted, seen, noted and counted, all of it in the saved file."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report.chromium import Browser, find_chromium
from report.looking import saved, texts
from report.made_up import make_content, make_pictures, make_times

from amos_dask.datasets import AMOS22
from amos_dask.params import read_exclusions
from amos_dask.report.content import read_reviews
from amos_dask.report.make_report import write_page

pytestmark = pytest.mark.integration

CONTENT = {**make_content(24), "exclusions": []}
CHANGED = sorted(
    (one for one in CONTENT["samples"] if one["changed_voxels"]),
    key=lambda one: (-one["changed_voxels"], one["id"]),
)
IDS = [one["id"] for one in CHANGED]
COUNT = "document.getElementById('save-count').textContent"
NOTE = 'a "shunt", see\u2028the scan; über'


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    find_chromium()
    with Browser(tmp_path_factory.mktemp("chromium")) as found:
        found.resize(1280, 900)
        yield found


def opened(browser: Browser, folder: Path, **other: Any) -> Browser:
    content = {**CONTENT, **other}
    path = folder / "descriptor" / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_page(path, content, make_times(content), make_pictures(content, width=80))
    browser.messages.clear()
    browser.open(path)
    assert browser.messages == []
    return browser


def write_note(page: Browser, text: str) -> None:
    page.press("n")
    page.call("Input.insertText", text=text)
    page.press("Enter")


def verdicts(page: Browser) -> list[str]:
    """Return what the cards that are shown say of their samples."""
    pressed = '.card .verdict button[aria-pressed="true"]'
    named: list[str] = page.run(
        f"[...document.querySelectorAll({pressed!r})].map((one) => "
        "`${one.closest('.card').id.slice(5)} ${one.dataset.verdict ?? 'rejected'}`)"
    )
    return named


def test_all_that_is_said_is_counted_saved_kept_and_shown_by_the_next_page(
    browser: Browser, tmp_path: Path
) -> None:
    page = opened(browser, tmp_path)
    assert f"0 of {len(IDS)} reviewed" in page.run(COUNT)
    page.press("j", "a", "j", "e")
    write_note(page, NOTE)
    page.press("j", "r", "j")
    write_note(page, "only noted")
    assert f"3 of {len(IDS)} reviewed" in page.run(COUNT)
    text = saved(page, tmp_path)
    assert text.splitlines()[:2] == ["sample,label", f"{IDS[2]},"]
    assert f"# 3 of {len(IDS)} reviewed" in text.splitlines()

    found = read_exclusions(tmp_path / "denoise_exclude.csv", AMOS22.label_map, AMOS22)
    assert list(found.by_sample) == [IDS[2]]
    reviews = read_reviews(found.text)
    n_changed = {one["id"]: one["changed_voxels"] for one in CHANGED}
    said = {(one["sample"], one["verdict"], one["note"]) for one in reviews}
    assert said == {
        (IDS[0], "accepted", ""),
        (IDS[1], "seen", NOTE.replace("\u2028", " ")),
        (IDS[3], "", "only noted"),
    }
    assert all(one["changed_voxels"] == n_changed[one["sample"]] for one in reviews)

    shown = [f"{IDS[0]} accepted", f"{IDS[1]} seen", f"{IDS[2]} rejected"]
    page.reload()
    assert verdicts(page) == shown
    # Another browser, and the next run's page; what the file says of others is not lost.
    gone = {"sample": "amos_0999", "verdict": "", "changed_voxels": 4, "note": "gone"}
    page = opened(browser, tmp_path / "next", reviews=[*reviews, gone])
    assert verdicts(page) == shown[:2]
    assert page.run("document.querySelectorAll('.note')[3].value") == "only noted"
    (tmp_path / "denoise_exclude.csv").unlink()
    again = read_reviews(saved(page, tmp_path))
    assert again == sorted([*reviews, gone], key=lambda one: one["sample"])


def test_a_verdict_on_other_changes_does_not_count(browser: Browser, tmp_path: Path) -> None:
    old = {"sample": IDS[0], "verdict": "accepted", "changed_voxels": 1, "note": "of old"}
    page = opened(browser, tmp_path, reviews=[old])
    assert verdicts(page) == []
    assert f"0 of {len(IDS)} reviewed" in page.run(COUNT)
    assert page.run("document.querySelector('.note').value") == "of old"


def test_to_accept_and_to_reject_all_exclude_each_other(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path)
    for keys, expected in (("a", "accepted"), ("r", "rejected"), ("a", "accepted"), ("e", "seen")):
        page.press(*(["j"] if not verdicts(page) else []), keys)
        assert verdicts(page) == [f"{IDS[0]} {expected}"]
    page.press("e")
    assert verdicts(page) == []
    page.press("1", "a")  # one label rejected, the rest accepted
    assert verdicts(page) == [f"{IDS[0]} accepted"]
    assert "1 rejection" in page.run(COUNT)


def test_long_lists_are_folded_and_nothing_is_rejected_out_of_sight(
    browser: Browser, tmp_path: Path
) -> None:
    changes = [[label, (label + step) % 17, 10] for label in range(1, 13) for step in (1, 3)]
    samples = [
        {**one, "changes": changes} if one["id"] == IDS[0] else one for one in CONTENT["samples"]
    ]
    page = opened(browser, tmp_path, samples=samples)
    seen = (
        "[...document.querySelectorAll('.card:first-child tbody tr')]"
        ".filter((row) => row.offsetHeight)"
    )
    rows = page.run(f"{seen}.length")
    assert rows < len(changes)
    page.press("j", "f")  # the key of a label below the fold
    rejected = "[...document.querySelectorAll('.card:first-child [data-label][aria-pressed=true]')]"
    assert page.run(f"{rejected}.map((one) => one.offsetHeight > 0)") == [True]
    page.run("void [...document.querySelectorAll('.card:first-child button.fold')].at(-1).click()")
    assert page.run(f"{seen}.length") >= len(changes) + 12


def test_the_command_of_a_sample_is_copied_for_where_the_page_lies(
    browser: Browser, tmp_path: Path
) -> None:
    root = tmp_path / "it's mine" / "AMOS 22"
    page = opened(browser, root)
    sample = CHANGED[0]
    scan, mask = (str(root / sample["folder"] / sample[name]) for name in ("volume", "mask"))
    page.run(f"document.querySelector('#card-{sample['id']} .files').open = true")
    (command,) = texts(page, f"#card-{sample['id']} .command")
    assert shlex.split(command) == ["itksnap", "-g", scan, "-s", mask]
    page.run(
        "navigator.clipboard.writeText = async (text) => { window.copied = text; };"
        f"document.querySelector('#card-{sample['id']} .copy').click()"
    )
    assert page.run("window.copied") == command
    page.wait_for(f"document.querySelector('#card-{sample['id']} .copy').textContent === 'Copied'")
    without = next(one for one in CONTENT["samples"] if one["mask"] is None)
    title = f"[aria-label='Copy the ITK-SNAP command of {without['id']}']"
    page.run(f'document.querySelector("#samples {title}").click()')
    assert shlex.split(page.run("window.copied"))[-2:] == [
        "-g", str(root / without["folder"] / without["volume"]),
    ]  # fmt: skip
    assert str(tmp_path) not in (root / "descriptor" / "report.html").read_text()


def test_organs_are_named_under_the_pointer(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path)
    page.press("j", "Enter")
    tip = "document.getElementById('tip')"
    for x, y, name in ((0.3, 0.42, "liver"), (0.67, 0.67, "left kidney")):
        page.run(
            "(() => { const at = document.querySelector('#viewer .stack').getBoundingClientRect();"
            "document.querySelector('#viewer .stack').dispatchEvent("
            "new PointerEvent('pointermove',"
            f"{{ clientX: at.left + {x} * at.width, clientY: at.top + {y} * at.height }})); }})()"
        )
        page.wait_for(f"!{tip}.hidden && {tip}.textContent === {name!r}")
        assert page.run(f"{tip}.closest('dialog').id") == "viewer"  # not behind it
    page.run("document.querySelector('#viewer .stack').dispatchEvent(new Event('pointerleave'))")
    assert page.run(f"{tip}.hidden")


def test_the_foot_tells_what_the_page_was_made_of(browser: Browser, tmp_path: Path) -> None:
    page = opened(browser, tmp_path)
    (foot,) = texts(page, "#foot")
    assert all(one in foot for one in ("amos-dask 0.1.0", "amos22.zip", "5 5", "10 100 mm³"))
    page = opened(browser, tmp_path, archive=[], denoising=None)
    assert texts(page, "#foot")[0].count("not known") == 2
