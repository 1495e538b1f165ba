"""The info file holds strings for every reader of YAML, and the manifest's row follows headers."""

from __future__ import annotations

import json
import re

import nibabel as nib
import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from nibabel.affines import from_matvec
from samples import amos_sample

from amos_dask import geometry
from amos_dask.nifti import make_header, parse_header
from amos_dask.records import Metadata, Sample
from amos_dask.steps.info_file import info_yaml, parse_info_yaml

quick = settings(max_examples=80, deadline=None, derandomize=True, database=None)
KEYS = [
    "seq",
    "subset",
    "sex",
    "age",
    "birth_date",
    "acquisition_date",
    "manufacturer",
    "manufacturer_model_name",
    "site",
]
METADATA = Metadata(
    birth_date="19630101",
    sex="F",
    age="058Y",
    manufacturer_model_name="Aquilion ONE",
    manufacturer="TOSHIBA",
    acquisition_date="2021-02-03",
    site="LGPH",
)
# What YAML 1.2's core schema takes for a number, boolean or null when it is not quoted.
NOT_TEXT = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|null|Null|NULL|~||true|True|TRUE|false|False|FALSE"
)
AWKWARD = ["no", "null", "~", "1e3", "1.5", "0o17", "010", "0008", "2021-01-01", "a: b", "- x", "#"]
text = st.sampled_from(AWKWARD) | st.text(
    st.characters(exclude_categories=["Cs", "Cc"]), max_size=120
)


def sample_of(metadata: Metadata = METADATA, seq: str = "0001") -> Sample:
    return amos_sample(seq, "train", "ct", "UND", metadata, None, None)


def test_the_info_file_holds_the_specified_keys_in_order() -> None:
    content = yaml.safe_load(info_yaml(sample_of()))
    assert list(content) == KEYS
    assert content == {
        "seq": "0001",
        "subset": "train",
        "sex": "F",
        "age": "058Y",
        "birth_date": "19630101",
        "acquisition_date": "2021-02-03",
        "manufacturer": "TOSHIBA",
        "manufacturer_model_name": "Aquilion ONE",
        "site": "LGPH",
    }


@quick
@given(values=st.tuples(*[text] * 7))
def test_all_values_come_back_as_the_same_strings(values: tuple[str, ...]) -> None:
    metadata = Metadata(*values)
    written = info_yaml(sample_of(metadata))
    assert all(type(value) is str for value in yaml.safe_load(written).values())
    assert parse_info_yaml(written) == ("0001", "train", metadata)


@pytest.mark.parametrize("seq", ["0001", "0008", "0099", "0123", "0600", "12345"])
def test_seq_is_a_string_for_readers_of_yaml_1_2_too(seq: str) -> None:
    plain = info_yaml(sample_of(seq=seq)).splitlines()[0].removeprefix("seq: ")
    assert not NOT_TEXT.fullmatch(plain)
    assert plain.strip("'\"") == seq


@pytest.mark.parametrize("value", ["0089", "1e3", "0o17", "058", "20210203"])
def test_values_are_strings_for_readers_of_yaml_1_2_too(value: str) -> None:
    lines = info_yaml(sample_of(Metadata(age=value))).splitlines()
    (plain,) = (line.removeprefix("age: ") for line in lines if line.startswith("age: "))
    assert not NOT_TEXT.fullmatch(plain)


def test_a_file_without_metadata_is_UND_throughout() -> None:
    assert parse_info_yaml("seq: '0001'\nsubset: val\n") == ("0001", "val", Metadata())


def test_an_empty_value_is_UND() -> None:
    _, _, metadata = parse_info_yaml("seq: '0001'\nsubset: val\nsex:\nage: ~\n")
    assert (metadata.sex, metadata.age) == ("UND", "UND")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "seq",
        "- seq\n- subset\n",
        "seq: '0001'\n",
        "subset: train\n",
        "seq: [\n",
        "seq: '0001'\nsubset: train\nage: 2021-13-45\n",
        "!!python/object/apply:os.getcwd []\n",
        "\0",
    ],
)
def test_another_text_is_refused(content: str) -> None:
    with pytest.raises(ValueError):
        parse_info_yaml(content)


def test_the_row_follows_the_written_header() -> None:
    affine = from_matvec(np.diag([-0.8, 0.8, 5.0]), [100.1, -120.2, -300.3])
    info = parse_header(make_header((4, 3, 2), np.float32, affine, 1))
    row = geometry.describe(info.affine)
    assert info.shape == (4, 3, 2)
    assert info.spacing_mm == tuple(float(np.float32(size)) for size in (0.8, 0.8, 5.0))
    assert (row["orientation_from"], row["orientation_to"]) == ("RPI", "LAS")
    assert info.dtype == "float32"
    restored = np.array(json.loads(row["affine_json"]))
    np.testing.assert_array_equal(restored, affine.astype(np.float32).astype(np.float64))
    assert "".join(nib.aff2axcodes(restored)) == row["orientation_to"]
