"""The report at three widths, light and dark: nothing cut off or covered, all of it legible."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report.chromium import Browser, find_chromium
from report.made_up import make_content, make_pictures, make_times
from required import missing

from amos_dask.report.make_report import write_page

pytestmark = pytest.mark.integration

WIDTHS = (1400, 1280, 390)


def make_wide_content() -> dict[str, Any]:
    """Return content whose names and numbers are as long as they become."""
    content = make_content(24)
    for sample in content["samples"]:
        if sample["changes"]:
            sample["changes"] = [[a, b, 12_345_678] for a in (11, 12, 4) for b in (0, 12, 2)]
            sample["changed_voxels"] = 111_111_102
    return content


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    find_chromium()
    folder = tmp_path_factory.mktemp("report")
    content = make_wide_content()
    path = folder / "report.html"
    write_page(path, content, make_times(content), make_pictures(content, width=120))
    with Browser(folder) as found:
        found.call("Page.setBypassCSP", enabled=True)  # for what the tests put in
        found.open(path)
        # One card of each kind; cards out of sight are drawn as well.
        found.press("j", "a", "j", "e", "j", "1", "j", "r")
        found.run(
            "void document.head.append(Object.assign(document.createElement('style'),"
            "{ textContent: '.card { content-visibility: visible !important }' }))"
        )
        found.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        yield found


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off(page: Browser, width: int) -> None:
    page.resize(width, 844)
    page.run(
        "void document.querySelectorAll('.fold[aria-expanded=false]').forEach((one) => one.click())"
    )
    assert page.run("document.documentElement.scrollWidth") <= width
    # Tables of data scroll in boxes of their own; nothing else is wider than what it is in.
    cut = page.run(
        "[...document.querySelectorAll('.card *, .topbar *, .savebar *, .foot *, .stacked *')]"
        ".filter((one) => one.offsetParent && !one.closest('svg, .stack, .view, .hidden')"
        " && !one.matches('.hidden, input, select, option'))"
        ".filter((one) => { const at = one.getBoundingClientRect();"
        " const box = one.closest('.card, .topbar, .savebar, .foot, .stacked')"
        ".getBoundingClientRect();"
        " return at.right > box.right + 1 || at.left < box.left - 1; })"
        ".map((one) => one.outerHTML.slice(0, 120))"
    )
    # Below this width tables of text are stacked, above they may scroll.
    assert [one for one in cut if width < 760 or "<t" not in one[:2]] == []
    numbers = "[...document.querySelectorAll('.card td.number')]"
    whole = "((one) => one.scrollWidth <= one.clientWidth + 1 && one.offsetHeight < 60)"
    assert page.run(f"{numbers}.length") > 50
    assert page.run(f"{numbers}.every{whole}")


@pytest.mark.parametrize("width", WIDTHS)
def test_the_bar_that_saves_covers_nothing(page: Browser, width: int) -> None:
    page.resize(width, 844)
    page.run("window.scrollTo(0, document.documentElement.scrollHeight)")
    top = "document.getElementById('savebar').getBoundingClientRect().top"
    bottom = "document.getElementById('foot').getBoundingClientRect().bottom"
    assert page.run(bottom) <= page.run(top) + 1
    # What has the focus is scrolled to above the bar, and below the one at the top.
    for place in (3, 7, 11):
        page.run(f"document.querySelectorAll('.card .note')[{place}].focus()")
        note = "document.activeElement.getBoundingClientRect()"
        page.wait_for(f"{note}.bottom <= {top}")
        page.wait_for(
            f"{note}.top >= document.getElementById('topbar').getBoundingClientRect().bottom"
        )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_text_of_little_contrast(page: Browser, width: int, scheme: str) -> None:
    """Needs axe-core: AMOS_DASK_AXE is the path of its ``axe.min.js``."""
    axe = Path(os.environ.get("AMOS_DASK_AXE", ""))
    if not axe.is_file():
        missing("axe", "AMOS_DASK_AXE names no axe.min.js")
    page.resize(width, 844)
    page.prefer(scheme)
    page.run(axe.read_text(encoding="utf-8"))
    # Bars and boxes that hide a part of what scrolls would leave that part undecided.
    page.run(
        "void document.head.append(Object.assign(document.createElement('style'), { textContent: "
        "'.topbar, .savebar, .scroll th { position: static !important }"
        ".scroll { overflow: visible !important; max-height: none !important }"
        ".table { overflow: visible !important } .card::before { content: none !important }' }))"
    )
    # Samples have more columns than a narrow window; at the other widths all of them are looked at.
    where = "{ exclude: ['#samples .scroll'] }" if width < 760 else "document"
    found = page.run(
        f"axe.run({where}, "
        "{ runOnly: ['color-contrast', 'label', 'button-name', 'list'] })"
        ".then((found) => ({ looked: found.passes.map((one) => one.nodes.length),"
        " wrong: found.violations.map((one) => [one.id, one.nodes.map((node) => [node.target,"
        " node.any[0]?.message])]),"
        " undecided: found.incomplete.flatMap((one) => one.nodes.map((node) => [node.target.join(),"
        " node.any[0]?.message])) }))"
    )
    assert found["wrong"] == [], json.dumps(found["wrong"])[:2000]
    assert sum(found["looked"]) > 500
    # Letters on pictures lie on a scan, with a shadow; arrows are no text.
    undecided = [
        one for one in found["undecided"]
        if "non-text" not in one[1] and not any(name in one[0] for name in (".letter", ".tag"))
    ]  # fmt: skip
    assert undecided == [], json.dumps(undecided)[:2000]
