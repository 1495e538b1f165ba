"""The report in a real browser, from disk: what is shown, clicked, pressed and saved."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report.chromium import Browser, find_chromium
from report.looking import cards, choose, saved, texts
from report.made_up import HOSTILE, make_content, make_pictures, make_times

from amos_dask.datasets import AMOS22
from amos_dask.params import read_exclusions
from amos_dask.report.make_report import write_page

pytestmark = pytest.mark.integration

CONTENT = make_content(60, hostile=HOSTILE)
SAMPLES = {one["id"]: one for one in CONTENT["samples"]}
WORST_FIRST = [
    one["id"]
    for one in sorted(CONTENT["samples"], key=lambda one: (-one["changed_voxels"], one["id"]))
    if one["changed_voxels"]
]
SECTIONS = ("failed", "review", "samples", "distributions", "repairs", "times-of-steps", "issues")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    find_chromium()
    with Browser(tmp_path_factory.mktemp("chromium")) as found:
        yield found


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page(path, CONTENT, make_times(CONTENT), make_pictures(CONTENT, width=120))
    return path


@pytest.fixture
def page(browser: Browser, report: Path) -> Iterator[Browser]:
    """The report as it is opened for the first time; whatever is done, nothing goes wrong."""
    browser.resize(1280, 900)
    browser.prefer("light")
    if browser.run("location.protocol") == "file:":
        browser.run("localStorage.clear()")
    browser.messages.clear()
    browser.requests.clear()
    browser.open(report)
    yield browser
    assert browser.messages == []
    allowed = ("data:", "blob:", report.as_uri())
    assert [url for url in browser.requests if not url.startswith(allowed)] == []


def test_every_section_is_drawn_and_hostile_text_stays_text(page: Browser) -> None:
    ids = page.run("[...document.querySelectorAll('main > section')].map((one) => one.id)")
    assert ids == list(SECTIONS)
    for section in SECTIONS:
        page.run(f"void document.getElementById('{section}').scrollIntoView()")
        page.wait_for(f"document.getElementById('{section}').innerText.length > 100")
    page.run("void document.getElementById('distributions').scrollIntoView()")
    page.wait_for("document.querySelectorAll('.plot svg').length >= 5")
    assert HOSTILE in page.run("document.getElementById('issues').textContent")
    assert page.run("document.querySelectorAll('img[src=x]').length") == 0
    assert "4,711→12" in "".join(texts(page, ".tile"))
    assert len(texts(page, "#failed tbody tr")) == 2


def test_pictures_are_made_only_near_the_window(page: Browser) -> None:
    page.run("void document.getElementById('cards').scrollIntoView()")
    page.wait_for("document.querySelectorAll('.card img').length > 0")
    with_pictures = (
        "[...document.querySelectorAll('.card')].filter((card) => card.querySelector('img')).length"
    )
    assert len(cards(page)) == 20
    assert 1 <= page.run(with_pictures) <= 8
    page.run("[...document.querySelectorAll('.card')].at(-1).scrollIntoView()")
    page.wait_for("[...document.querySelectorAll('.card')].at(-1).querySelector('img')")
    page.wait_for("!document.querySelector('.card img')?.closest('.card').matches(':first-child')")
    assert page.run(with_pictures) <= 8
    sizes = page.run(
        "[...document.querySelectorAll('.card:last-child .stack')].map((one) => "
        "one.offsetWidth / one.offsetHeight)"
    )
    assert sizes == pytest.approx([4 / 3] * len(sizes), rel=0.02)


def test_filters_change_every_section(page: Browser) -> None:
    assert cards(page) == WORST_FIRST[:20]
    choose(page, "modality", "mri")
    chosen = [one["id"] for one in CONTENT["samples"] if one["modality"] == "mri"]
    assert cards(page) == [one for one in WORST_FIRST if one in chosen]
    assert texts(page, "#samples tbody th") == chosen
    assert page.run("document.getElementById('shown').textContent") == "10 of 60 samples"
    choose(page, "subset", "val")
    chosen = [one for one in chosen if SAMPLES[one]["subset"] == "val"]
    assert texts(page, "#samples tbody th") == chosen
    page.run("document.getElementById('filter-clear').click()")
    choose(page, "organ", "6")
    touched = [
        one for one in WORST_FIRST if any(6 in change[:2] for change in SAMPLES[one]["changes"])
    ]
    assert cards(page) == touched[:20]
    page.run("document.getElementById('filter-clear').click()")
    choose(page, "scanner", CONTENT["samples"][7]["scanner"])
    assert texts(page, "#samples tbody th") == [CONTENT["samples"][7]["id"]]
    page.run("document.getElementById('filter-clear').click()")
    page.press("/")
    page.press(*"0013")
    assert texts(page, "#samples tbody th") == ["amos_0013"]
    page.run("document.querySelector('#issues [data-severity=error]').click()")
    choose(page, "text", "")
    assert set(texts(page, "#issues tbody .severity")) == {"warning", "info"}


def test_the_table_sorts_by_click_and_key(page: Browser) -> None:
    heads = "document.querySelectorAll('#samples thead th')"
    page.run(f"{heads}[6].querySelector('button').click()")
    assert page.run(f"{heads}[6].ariaSort") == "descending"
    assert page.run(f"{heads}[0].ariaSort") == "none"
    assert texts(page, "#samples tbody th")[:10] == WORST_FIRST[:10]
    page.run(f"{heads}[6].querySelector('button').focus()")
    page.press("Enter")
    assert page.run(f"{heads}[6].ariaSort") == "ascending"
    assert texts(page, "#samples tbody th")[-1] == WORST_FIRST[0]


def test_rejections_by_keyboard_are_saved_and_kept(page: Browser, tmp_path: Path) -> None:
    first, second, third = WORST_FIRST[:3]
    page.press("j", "r", "j", "2", "j", "1", "1", "k")
    assert page.run("document.querySelector('.card.current').id") == f"card-{second}"
    label = sorted({x for change in SAMPLES[second]["changes"] for x in change[:2]} - {0})[1]
    in_force = [(one["sample"], one["label"]) for one in CONTENT["exclusions"]]
    rows = {*in_force, (first, ""), (second, label)}
    order = sorted(rows, key=lambda row: (row[0] != "*", row[0], row[1] or -1))
    expected = "".join(f"{line}\n" for line in ["sample,label", *(f"{a},{b}" for a, b in order)])
    expected += f"# 3 of {len(WORST_FIRST)} reviewed\n"  # one is left by the exclusions in force
    assert saved(page, tmp_path) == expected
    assert "amos-dask run … --exclude denoise_exclude.csv" in page.run(
        "document.getElementById('save-next').textContent"
    )
    found = read_exclusions(tmp_path / "denoise_exclude.csv", AMOS22.label_map, AMOS22)
    assert len(found.for_sample(first)) == 256
    assert found.for_sample(third) == {14}

    page.reload()
    assert "2 rejections" in page.run("document.getElementById('save-count').textContent")
    assert page.run(f"document.getElementById('card-{first}').matches('.rejected')")
    page.run("document.querySelector('#exclusions button').click()")
    (tmp_path / "denoise_exclude.csv").unlink()
    assert saved(page, tmp_path) == expected.replace("*,14\n", "")
    page.run("document.getElementById('save-clear').click()")
    assert "0 rejections" in page.run("document.getElementById('save-count').textContent")


def test_a_rejected_label_strikes_the_changes_that_stay_undone(page: Browser) -> None:
    page.press("j")
    label = int(page.run("document.querySelector('.card.current [data-label]').dataset.label"))
    page.press("1")
    undone = page.run(
        "[...document.querySelectorAll('.card.current tr.undone')].map((row) => "
        "[Number(row.dataset.from), Number(row.dataset.to)])"
    )
    changes = SAMPLES[WORST_FIRST[0]]["changes"]
    assert sorted(undone) == sorted([a, b] for a, b, _ in changes if label in (a, b))


def test_pictures_are_enlarged_flipped_and_zoomed(page: Browser) -> None:
    page.press("j")
    page.wait_for("document.querySelector('.card.current button.views')")
    page.run("document.querySelector('.card.current button.views').focus()")
    page.press("Enter")
    assert page.run("document.getElementById('viewer').open")
    title = "document.getElementById('viewer-title').textContent"
    assert "slice 12" in page.run(title)
    page.press("ArrowRight")
    assert "slice 21" in page.run(title)
    page.press("z")
    page.wait_for("document.querySelector('#viewer .stack').style.transform.includes('scale')")
    page.press("b")
    visible = "getComputedStyle(document.querySelector('#viewer .view.{}')).visibility"
    assert page.run(visible.format("before")) == "visible"
    assert page.run(visible.format("after")) == "hidden"
    page.press("b", "h")
    assert page.run(visible.format("after")) == "visible"
    assert page.run("getComputedStyle(document.querySelector('.halo')).visibility") == "hidden"
    page.press("r", "Escape")
    assert not page.run("document.getElementById('viewer').open")
    assert page.run("document.activeElement.matches('.card.current button.views')")
    assert page.run("document.querySelector('.card.current').matches('.rejected')")
    page.press("?")
    assert page.run("document.getElementById('help').open")


def test_enter_enlarges_the_first_picture_of_the_card_that_keys_went_to(page: Browser) -> None:
    page.press("j", "j", "Enter")  # faster than the card's pictures
    assert page.run("document.getElementById('viewer').open")
    assert WORST_FIRST[1] in page.run("document.getElementById('viewer-title').textContent")
    page.press("Escape")
    assert page.run("document.activeElement.matches('.card.current')")
    page.press("k", "Enter")
    assert WORST_FIRST[0] in page.run("document.getElementById('viewer-title').textContent")


def test_a_mask_of_which_nothing_is_known_is_not_called_unchanged(
    browser: Browser, tmp_path: Path
) -> None:
    content = make_content(20)
    for sample in content["samples"]:
        sample.update(changed_voxels=0, changes=[], n_pictures=0)
    content["counts"].update(changed_samples=0, changed_voxels=0)
    for n_unknown, expected in ((0, "No mask was changed."), (2, "not known of 2 masks")):
        unknown = {**content["issues"][0], "code": "unknown_changes", "severity": "warning"}
        told = {**content, "issues": [unknown] * n_unknown}
        write_page(tmp_path / "report.html", told, make_times(content), [])
        browser.open(tmp_path / "report.html")
        assert expected in texts(browser, "#cards")[0]
        assert ("2 not known" in "".join(texts(browser, ".tile"))) == (n_unknown > 0)


def test_rejections_of_one_folder_are_not_those_of_another(
    page: Browser, report: Path, tmp_path: Path
) -> None:
    page.press("j", "r")
    count = "document.getElementById('save-count').textContent"
    other = tmp_path / "report.html"
    other.write_bytes(report.read_bytes())
    page.open(other)
    assert "0 rejections" in page.run(count)
    page.open(report)
    assert "1 rejection" in page.run(count)
    page.requests[:] = [url for url in page.requests if url != other.as_uri()]


def test_a_row_leads_to_its_card(page: Browser) -> None:
    last = WORST_FIRST[-1]
    page.run(f"document.querySelector('#samples a[href=\"#card-{last}\"]').click()")
    assert page.run("document.activeElement.id") == f"card-{last}"
    page.wait_for("document.activeElement.querySelector('img')")
    top = page.run("document.activeElement.getBoundingClientRect().top")
    assert page.run("document.getElementById('topbar').offsetHeight") <= top < 300


def test_outliers_are_named_on_focus(page: Browser) -> None:
    page.run("void document.querySelectorAll('#distributions h3')[1].scrollIntoView()")
    page.wait_for("document.querySelector('.outlier')")
    page.run("document.querySelector('.outlier').focus()")
    ids = [one["sample"] for one in CONTENT["outliers"]]
    assert page.run("document.getElementById('tip').textContent").split(",")[0] in ids
    assert texts(page, "#distributions tbody th") == ids


def test_dark_and_light(page: Browser) -> None:
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.run(background)
    page.prefer("dark")
    dark = page.run(background)
    assert light != dark
    page.run("document.getElementById('theme').click()")
    assert page.run(background) == light
    page.reload()
    assert page.run(background) == light


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_never_scrolls_sideways(page: Browser, width: int) -> None:
    page.resize(width, 844)
    for section in SECTIONS:
        page.run(f"void document.getElementById('{section}').scrollIntoView()")
        time.sleep(0.05)
        assert page.run("document.documentElement.scrollWidth") <= width, section


def test_every_control_has_a_name_and_every_id_is_used_once(page: Browser) -> None:
    unnamed = page.run(
        "[...document.querySelectorAll('button, select, input, a, [role=region], svg[role]')]"
        ".filter((one) => !(one.ariaLabel || one.textContent.trim() && !one.matches('select')"
        " || one.labels?.length || one.getAttribute('aria-labelledby')))"
        ".map((one) => one.outerHTML.slice(0, 100))"
    )
    assert unnamed == []
    repeated = page.run(
        "(() => { const ids = [...document.querySelectorAll('[id]')].map((one) => one.id);"
        "return ids.filter((id, place) => ids.indexOf(id) !== place); })()"
    )
    assert repeated == []
    assert page.run("document.querySelectorAll('h1').length") == 1
    tree = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = ("button", "link", "combobox", "searchbox", "slider", "checkbox")
    nameless = [
        one["role"]["value"]
        for one in tree
        if not one["ignored"] and one["role"]["value"] in roles and not one["name"].get("value")
    ]
    assert nameless == []


def test_text_and_controls_stand_out_from_what_is_behind(page: Browser) -> None:
    for scheme in ("light", "dark"):
        page.prefer(scheme)
        names = ("ink", "muted", "accent", "bad", "wary")
        for back in ("page", "panel", "sunken"):
            for name in names:
                assert contrast(page, name, back) >= 4.5, (scheme, name, back)
        assert contrast(page, "on-accent", "accent") >= 4.5


def contrast(page: Browser, one: str, other: str) -> float:
    """Return the contrast of two of the page's colours, as WCAG defines it."""

    def luminance(name: str) -> float:
        red, green, blue = page.run(
            "(() => { const probe = document.createElement('i'); document.body.append(probe);"
            f"probe.style.color = 'var(--{name})'; const colour = getComputedStyle(probe).color;"
            "probe.remove(); return colour.match(/[0-9.]+/g).slice(0, 3).map(Number); })()"
        )
        parts = [value / 255 for value in (red, green, blue)]
        linear = [x / 12.92 if x <= 0.03928 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_a_report_of_nothing_says_so_in_each_section(browser: Browser, tmp_path: Path) -> None:
    nothing: dict[str, Any] = {
        **CONTENT, "samples": [], "issues": [], "intensities": [], "outliers": [], "exclusions": [],
    }  # fmt: skip
    write_page(tmp_path / "empty.html", nothing, {"steps": [], "samples": []}, [])
    browser.messages.clear()
    browser.open(tmp_path / "empty.html")
    calm = (
        "[...document.querySelectorAll('main > section')].map("
        "(one) => one.querySelectorAll('.calm:not([hidden])').length)"
    )
    assert browser.run(calm) == [1] * len(SECTIONS)
    assert browser.messages == []


def opened(browser: Browser, path: Path, **other: Any) -> Browser:
    content = {**make_content(24), **other}
    write_page(path, content, make_times(content), make_pictures(content, width=80))
    browser.messages.clear()
    browser.open(path)
    assert browser.messages == []
    return browser


def test_channels_overlaps_and_what_the_definition_leaves(browser: Browser, tmp_path: Path) -> None:
    intensities = [{**one, "channel": c} for c in ("t1", "t2") for one in CONTENT["intensities"]]
    overlap = {"label": 6, "other": 7, "n_voxels": 12, "mm3": 3.0, "n_samples": 2}
    page = opened(
        browser, tmp_path / "page.html", intensities=intensities, pictured_channel="t2",
        not_denoised=[14, 15], overlaps=[overlap],
    )  # fmt: skip
    (notes,) = texts(page, "#review-notes")
    assert notes == (
        "Left as they are by the dataset's definition: bladder, prostate. "
        "Pictures show the channel t2."
    )
    titles = " ".join(texts(page, "#distributions .charts.two"))
    assert all(f"{name}, pooled" in titles for name in ("CT t1", "CT t2", "MR t1", "MR t2"))
    assert texts(page, "#overlaps tbody tr") == ["liverstomach123.02"]
    assert any("· t2" in text for text in texts(page, ".card figcaption .where"))
    assert texts(page, "#about a") == ["https://a.example"]


def test_a_dataset_that_is_not_denoised_has_no_changes_to_review(
    browser: Browser, tmp_path: Path
) -> None:
    whole = make_content(24)
    samples = [{**s, "changes": [], "changed_voxels": 0, "n_pictures": 0} for s in whole["samples"]]
    page = opened(
        browser, tmp_path / "page.html", samples=samples, exclusions=[],
        counts={**whole["counts"], "changed_samples": 0, "changed_voxels": 0},
        not_denoised=list(range(1, 17)),
    )  # fmt: skip
    assert texts(page, "#cards") == [
        "Nothing is denoised: the dataset's definition leaves all labels as they are."
    ]
    assert not any("changed" in text for text in texts(page, ".tile, #samples th"))
    hidden = "[...document.querySelectorAll('#savebar, #review-lead, .view-controls')]"
    assert page.run(f"{hidden}.map((one) => one.hidden)") == [True] * 3
