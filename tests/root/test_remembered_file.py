"""What of places is kept in ROOT_DIR, and when two files of an archive may be one."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amos_dask.params import DenoiseParams
from amos_dask.root.choices import (
    Remembered,
    find_place,
    place_of,
    read_remembered,
    write_remembered,
)
from amos_dask.root.layout import Layout
from amos_dask.root.receipts import may_be_same

quick = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("location", "kept"),
    [
        ("/r/AMOS22/archive", "archive"),
        ("/r/AMOS22/a/../archive/", "archive"),
        ("/r/AMOS22/x/amos22.zip", "x/amos22.zip"),
        ("/r/amos22.zip", "/r/amos22.zip"),
        ("/r/AMOS22-archive", "/r/AMOS22-archive"),
        ("https://me:secret@host/a.zip?token=secret#x", "https://host/a.zip"),
        ("s3://bucket/amos22", "s3://bucket/amos22"),
    ],
)
def test_places_are_relative_inside_and_without_secrets(location: str, kept: str) -> None:
    layout = Layout(Path("/r/AMOS22"))
    assert place_of(layout, location) == kept
    again = find_place(Layout(Path("/elsewhere")), kept)
    assert again == (kept if kept[:1] == "/" or "://" in kept else f"/elsewhere/{kept}")


texts = st.text(max_size=20)


@quick
@given(
    st.builds(
        Remembered,
        archive=st.none() | texts,
        labeled_data_meta=st.none() | texts,
        has_metadata=st.booleans(),
        metadata_encoding=st.none() | texts,
        mr_metadata_offset=st.none() | texts,
        denoise=st.none() | st.builds(DenoiseParams, region_area_thresh=st.floats(0, 1e6)),
        exclusions=st.none() | texts,
    )
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, remembered: Remembered
) -> None:
    layout = Layout(tmp_path_factory.mktemp("root"))
    write_remembered(layout, remembered)
    assert read_remembered(layout) == remembered


def test_a_name_that_is_not_utf8_costs_nothing_else(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "AMOS22")
    place = place_of(layout, "/caf\udce9/amos22")
    write_remembered(layout, Remembered(place, denoise=DenoiseParams((7, 7))))
    assert read_remembered(layout).denoise == DenoiseParams((7, 7))


CRC, OTHER_CRC, TRAILER, ETAG = "0123abcd", "0123abce", "0123abcd00010000", '"5f3-ab"'


@pytest.mark.parametrize(
    ("now", "then", "expected"),
    [
        (f"10-{CRC}", f"10-{CRC}", True),
        (f"10-{OTHER_CRC}", f"10-{CRC}", False),
        (f"11-{CRC}", f"10-{CRC}", False),
        (f"10-{TRAILER}", f"10-{CRC}", True),  # a folder, and the zip that it comes from
        (f"11-{TRAILER}", f"10-{CRC}", False),
        (f"10-{ETAG}", f"10-{CRC}", True),
        (f"10-{ETAG}", '10-"5f3-ac"', True),  # another server tells other words
        (f"11-{ETAG}", f"10-{ETAG}", False),
        ("unknown", f"10-{CRC}", True),
        (f"10-{CRC}", "unknown", True),
    ],
)
def test_files_of_one_kind_by_checksum_and_others_by_size(
    now: str, then: str, expected: bool
) -> None:
    assert may_be_same(now, then) is expected
