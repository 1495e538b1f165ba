"""MetaImage and NRRD are where SimpleITK's own conversion to NIfTI puts them, or are refused."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from mini import QUIET
from numpy.typing import NDArray
from required import missing
from roots import issues
from samples import amos_sample, discover_one

import amos_dask
from amos_dask.archive.listing import list_files
from amos_dask.errors import ArchiveError, InaccessibleFileError, UnreadableImageError
from amos_dask.file_refs import FileRef
from amos_dask.nifti import ImageInfo, open_image, read_info
from amos_dask.phantom import Archive
from amos_dask.records import Metadata
from amos_dask.sample.soundness import verify_sample

REAL_SCANS = os.environ.get("AMOS_DASK_REAL_SCANS", "")
SHAPE = (9, 8, 7)
# Ending, and whether SimpleITK packs the voxels.
FORMS = list(product((".mha", ".mhd", ".nrrd"), (False, True)))
every_form = pytest.mark.parametrize("form", FORMS, ids=lambda f: f"{f[0]}{' packed' * f[1]}")
TYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8")
TURNS = {"plain": np.eye(3), "permuted": np.eye(3)[[2, 0, 1]] * [-1, 1, 1]}
TURNS["oblique"] = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
Form = tuple[str, bool]


@pytest.fixture
def itk() -> Any:
    """SimpleITK."""
    if find_spec("SimpleITK") is None:
        missing("SimpleITK", "pip install 'amos-dask[itk]'")
    import SimpleITK

    return SimpleITK


def voxels(dtype: str = "i2") -> NDArray[Any]:
    """Voxels as (z, y, x)."""
    return (np.random.default_rng(1).normal(size=SHAPE[::-1]) * 90).astype(dtype)


def write(itk: Any, path: Path, form: Form, array: NDArray[Any], turn: str = "oblique") -> Path:
    """Write an image without the ending in its name, of axes that are turned so."""
    image = itk.GetImageFromArray(array)
    image.SetSpacing((0.7, 0.9, 5.1))
    image.SetOrigin((-10.3, 20.7, 300.1))
    image.SetDirection(TURNS[turn].ravel().tolist())
    path = path.with_name(path.name + form[0])
    itk.WriteImage(image, str(path), useCompression=form[1])
    return path


def listed(location: Path) -> FileRef:
    """The only image of an archive, with the file of its voxels."""
    refs = {ref.path: ref for ref in list_files(str(location))}
    (image,) = (ref for ref in refs.values() if ref.is_itk)
    return replace(image, pair=next((r for r in refs.values() if r.path != image.path), None))


def read(ref: FileRef) -> tuple[ImageInfo, NDArray[Any]]:
    with open_image(ref) as image:
        found = np.concatenate(list(image.chunks()))
    assert not image.has_trailing_bytes
    return image.info, found.reshape(image.info.shape, order="F")


def refusal(ref: FileRef, how: Any = read) -> str:
    with pytest.raises(UnreadableImageError) as error:
        how(ref)
    return str(error.value)


def packed(folder: Path, where: str) -> Path:
    """A folder, or the zip or tar of its files."""
    archive = folder.with_suffix(f".{where}")
    if where == "tar":
        with tarfile.open(archive, "w") as tar:
            tar.add(folder, ".")
    elif where == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for path in folder.iterdir():
                file.write(path, path.name)
    return archive if archive.exists() else folder


# ---------------------------------------------------------------- what it reads


@every_form
@pytest.mark.parametrize("where", ["folder", "zip", "tar"])
def test_images_are_those_that_simpleitk_converts_to_nifti(
    tmp_path: Path, itk: Any, form: Form, where: str
) -> None:
    folder, twin = tmp_path / "archive", tmp_path / "twin.nii.gz"
    for dtype, turn in zip(TYPES, sorted(TURNS) * 3, strict=True):
        folder.mkdir()
        path = write(itk, folder / "a", form, voxels(dtype), turn)
        itk.WriteImage(itk.ReadImage(str(path)), str(twin))
        info, found = read(listed(packed(folder, where)))
        expected = nib.load(twin)
        np.testing.assert_array_equal(found, np.asanyarray(expected.dataobj))
        assert info.dtype == expected.get_data_dtype().name
        # ITK turns axes in float32, whose last bit may be another then.
        bits = 0 if turn != "oblique" else 2 * np.finfo(np.float32).eps * 5.1
        np.testing.assert_allclose(np.float32(info.affine), expected.affine, rtol=0, atol=bits)
        np.testing.assert_array_equal(info.pixdim_mm, expected.header["pixdim"][1:4])
        assert info.affine_code == int(expected.header["sform_code"])
        shutil.rmtree(folder)


@every_form
def test_the_other_order_of_bytes_is_read(tmp_path: Path, itk: Any, form: Form) -> None:
    path = write(itk, tmp_path / "a", form, voxels("i4").byteswap())
    text = path.read_bytes().replace(b"MSB = False", b"MSB = True")
    path.write_bytes(text.replace(b"endian: little", b"endian: big"))
    np.testing.assert_array_equal(read(listed(tmp_path))[1].T, voxels("i4"))


@pytest.mark.parametrize(
    ("space", "signs"), [("right-anterior", (1, 1)), ("left-anterior", (-1, 1)), ("LPS", (-1, -1))]
)
def test_spaces_of_nrrd_become_ras(
    tmp_path: Path, itk: Any, space: str, signs: tuple[int, int]
) -> None:
    path = write(itk, tmp_path / "a", (".nrrd", False), voxels(), "plain")
    space = space if space == "LPS" else f"{space}-superior"
    path.write_bytes(path.read_bytes().replace(b"left-posterior-superior", space.encode()))
    origin = np.array([-10.3, 20.7, 300.1]) * (*signs, 1)
    np.testing.assert_allclose(read(listed(tmp_path))[0].affine[:3, 3], origin)


def test_a_fourth_axis_holds_channels(tmp_path: Path, itk: Any) -> None:
    images = [itk.GetImageFromArray(voxels() + n) for n in range(3)]
    itk.WriteImage(itk.JoinSeries(images), str(tmp_path / "a.mha"))
    with open_image(listed(tmp_path), 3) as image:
        for n, channel in enumerate(image.channels()):
            found = np.concatenate(list(channel.chunks()))
            np.testing.assert_array_equal(found, (voxels() + n).ravel())
    assert "4 axes" in refusal(listed(tmp_path))


@every_form
def test_headers_are_read_without_voxels(tmp_path: Path, itk: Any, form: Form) -> None:
    """They are damaged, or missing, in the middle of a file that is as long as it should be."""
    write(itk, tmp_path / "a", form, np.zeros((60, 200, 200), "i2"))
    ref = listed(tmp_path)
    last = Path((ref.pair or ref).location)
    content = last.read_bytes()
    last.write_bytes(content[:2000] + bytes(len(content) - 2000))
    assert read_info(ref).shape == (200, 200, 60)


# ---------------------------------------------------------------- what it refuses


@every_form
def test_damage_is_told(tmp_path: Path, itk: Any, form: Form) -> None:
    """SimpleITK passes over most of it where voxels are packed."""
    write(itk, tmp_path / "a", form, voxels("f4"))
    last = Path((listed(tmp_path).pair or listed(tmp_path)).location)
    content = last.read_bytes()
    for n_bytes in (0, 5, len(content) // 2, len(content) - 1):
        last.write_bytes(content[:n_bytes])
        assert refusal(listed(tmp_path))
        sample = amos_sample("0001", "train", "ct", "", Metadata(), listed(tmp_path), None)
        found = verify_sample(sample, full=False).issues
        assert {issue.code for issue in found} == {"unreadable_volume"}
    for place in (len(content) // 2, len(content) - 3) if form[1] else ():
        last.write_bytes(content[:place] + bytes([content[place] ^ 16]) + content[place + 1 :])
        assert "damaged" in refusal(listed(tmp_path))
    last.write_bytes(content + b"x" * 9)
    with open_image(listed(tmp_path)) as image:
        assert sum(chunk.size for chunk in image.chunks()) == voxels().size
    assert image.has_trailing_bytes


BAD: dict[str, tuple[str, dict[str, str], str]] = {
    "many axes": (".mha", {"NDims = 3": "NDims = 99"}, "NDims"),
    "no sizes": (".mha", {"DimSize": "Size"}, "no DimSize"),
    "huge": (".mha", {"DimSize = 9 8": "DimSize = 9000 8000"}, "bytes of voxels"),
    "negative": (".mha", {"DimSize = 9": "DimSize = -9"}, "shape"),
    "too few numbers": (".mha", {"5.0999999999999996": ""}, "ElementSpacing"),
    "no number": (".mha", {"5.0999999999999996": "nan"}, "ElementSpacing"),
    "a line": (".mha", {"ElementSpacing =": "ElementSpacing"}, "line 'ElementSpacing"),
    "twice": (".mha", {"ObjectType = Image": "NDims = 3"}, "line 'NDims"),
    "type": (".mha", {"MET_SHORT": "MET_FOO"}, "SimpleITK"),
    "vectors": (".mha", {"MET_SHORT": "MET_SHORT_ARRAY"}, "vector"),
    "text": (".mha", {"BinaryData = True": "BinaryData = False"}, "text"),
    "skip": (".mha", {"ObjectType = Image": "HeaderSize = -1"}, "HeaderSize"),
    "elsewhere": (".mha", {"= LOCAL": "= /etc/passwd"}, "'/etc/passwd'"),
    "another name": (".mhd", {"= a.raw": "= b.raw"}, "'b.raw'"),
    "above": (".mhd", {"= a.raw": "= ../a.raw"}, "'../a.raw'"),
    "not a MetaImage": (".mha", {"ElementDataFile": "DataFile"}, "not a MetaImage"),
    "not an NRRD": (".nrrd", {"NRRD0004": "NRRD0009"}, "not an NRRD"),
    "a misspelt field": (".nrrd", {"space origin": "space origiw"}, "space origiw"),
    "many kinds": (".nrrd", {"kinds: ": "kinds: " + "domain " * 99}, "kinds"),
    "no order": (".nrrd", {"endian: little\n": ""}, "order of bytes"),
    "bzip2": (".nrrd", {"encoding: raw": "encoding: bzip2"}, "'bzip2'"),
    "detached": (".nrrd", {"encoding: raw": "data file: /etc/passwd"}, "data file"),
    "byte skip": (".nrrd", {"encoding: raw": "byte skip: -1"}, "byte skip"),
    "web page": (".nrrd", {"NRRD0004": "<html>"}, "web page"),
}


@pytest.mark.parametrize("what", BAD)
def test_headers_that_cannot_be_used_are_refused(tmp_path: Path, itk: Any, what: str) -> None:
    ending, changes, says = BAD[what]
    path = write(itk, tmp_path / "a", (ending, False), voxels())
    content = path.read_bytes().decode("latin-1")
    for old, new in changes.items():
        assert content.count(old) == 1
        content = content.replace(old, new)
    path.write_bytes(content.encode("latin-1"))
    message = refusal(listed(tmp_path), read_info)
    assert says in message
    assert str(tmp_path) not in message


def test_no_header_ends_the_process(tmp_path: Path, itk: Any) -> None:
    chance = random.Random(4)
    good = [write(itk, tmp_path / "a", f, voxels()).read_bytes() for f in (FORMS[0], FORMS[4])]
    odd = (b"99", b"-1", b"nan", b"1e99", b"(", b"none", b"\xff", b"9" * 400, b"3 " * 500, b"\n")
    n_refused = 0
    for n in range(300):
        content, ending = good[n % 2], (".mha", ".nrrd")[n % 2]
        words = content[:420].split(b" ")
        for _ in range(chance.randint(1, 3)):
            words[chance.randrange(len(words))] = chance.choice(odd)
        path = tmp_path / f"{n}{ending}"
        path.write_bytes(b" ".join(words) + content[420:])
        try:
            read_info(FileRef(path.name, str(path), path.stat().st_size))
        except UnreadableImageError:
            n_refused += 1
    assert n_refused > 200


def test_a_packed_file_that_cannot_hold_its_voxels_is_refused(tmp_path: Path, itk: Any) -> None:
    path = write(itk, tmp_path / "a", (".mha", True), voxels())
    path.write_bytes(path.read_bytes().replace(b"DimSize = 9 8", b"DimSize = 9000 8000"))
    assert "more than the file can hold" in refusal(listed(tmp_path), read_info)


# ---------------------------------------------------------------- archives


@pytest.fixture
def no_itk(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without SimpleITK."""
    monkeypatch.setitem(sys.modules, "SimpleITK", None)


@pytest.mark.usefixtures("no_itk")
def test_without_simpleitk_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "imagesTr").mkdir()
    path = tmp_path / "imagesTr/amos_0001.mha"
    path.write_bytes(
        b"NDims = 3\nDimSize = 1 1 1\nElementType = MET_CHAR\nBinaryData = True\n"
        b"ElementDataFile = LOCAL\n\0"
    )
    with pytest.raises(ArchiveError, match=r'pip install "amos-dask\[itk\]"'):
        discover_one(str(tmp_path))
    with pytest.raises(InaccessibleFileError, match=r'pip install "amos-dask\[itk\]"'):
        read_info(listed(tmp_path))


def test_a_simpleitk_that_mirrors_some_images_is_not_asked(
    tmp_path: Path, itk: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(itk, tmp_path / "a", FORMS[4], voxels())
    monkeypatch.setattr(itk, "__version__", "2.5.5")
    with pytest.raises(InaccessibleFileError, match="or later"):
        read_info(listed(tmp_path))


def touch(folder: Path, *names: str) -> str:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return str(folder)


def test_voxels_go_with_their_header_and_nifti_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("amos_dask.archive.discover.find_spec", lambda _: True)
    names = [f"imagesTr/amos_0001.{ending}" for ending in ("mhd", "raw", "zraw")]
    names += ["imagesTr/amos_0002.mhd", "imagesTr/amos_0002.zraw", "imagesTr/amos_0003.raw"]
    names += ["labelsTr/amos_0002.nrrd", "labelsTr/amos_0002.nii.gz"]
    found = discover_one(touch(tmp_path, *names))
    pairs = [sample.volume and sample.volume.pair for sample in found.samples]
    assert [pair and pair.path for pair in pairs] == [names[1], names[4]]
    (mask,) = (sample.mask for sample in found.samples if sample.mask is not None)
    assert mask.path == "labelsTr/amos_0002.nii.gz"
    told = {(i.code, i.file) for i in found.issues if i.file}
    assert ("unexpected_file", "imagesTr/amos_0003.raw") in told
    assert ("duplicate_file", "labelsTr/amos_0002.nrrd") in told


def test_a_folder_of_such_scans_is_an_archive_into_which_nothing_is_written(tmp_path: Path) -> None:
    touch(tmp_path, "archive/imagesTr/amos_0001.nrrd")
    with pytest.raises(amos_dask.AmosDaskError, match="inside the archive"):
        amos_dask.run(tmp_path / "archive/out", tmp_path / "archive")


DICOM = bytes(128) + b"DICM" + bytes(200)


@pytest.mark.parametrize("name", ["series/IM_0001.dcm", "series/IM_0001", "DICOMDIR"])
def test_an_archive_of_dicom_names_dcm2niix(tmp_path: Path, name: str) -> None:
    touch(tmp_path, name)
    (tmp_path / name).write_bytes(DICOM)
    with pytest.raises(ArchiveError, match="dcm2niix"):
        discover_one(str(tmp_path))
    with pytest.raises(ArchiveError, match="dcm2niix"):
        discover_one(str(tmp_path / name))


def test_dicom_beside_scans_is_told_once(tmp_path: Path) -> None:
    series = [f"extra/{n}.dcm" for n in range(50)]
    found = discover_one(touch(tmp_path, "imagesTr/amos_0001.nii.gz", *series))
    (issue,) = (issue for issue in found.issues if issue.code == "unexpected_file")
    assert (issue.file, "50" in issue.message) == ("extra/0.dcm", True)
    assert "dcm2niix" in issue.action


def test_dicom_under_the_name_of_a_scan_is_named(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nii", "a.nrrd"):
        (tmp_path / name).write_bytes(DICOM)
        ref = FileRef(name, str(tmp_path / name), len(DICOM))
        assert "dcm2niix" in refusal(ref, read_info)


# ---------------------------------------------------------------- the whole way


def scans_of(phantom: Archive) -> Iterator[Path]:
    """Two scans and their masks."""
    folder = Path(REAL_SCANS) if REAL_SCANS else phantom.path
    masks = sorted(folder.rglob("labelsTr/amos_*.nii.gz"))
    for mask in (masks[0], masks[-1]):
        yield from (mask.parents[1] / "imagesTr" / mask.name, mask)


@pytest.mark.parametrize("forms", [FORMS[:4], FORMS[2:]], ids=["MetaImage", "and NRRD"])
def test_a_run_makes_the_same_of_every_form(
    tmp_path: Path, itk: Any, phantom: Archive, cluster_address: str, forms: list[Form]
) -> None:
    for path, (ending, is_packed) in zip(scans_of(phantom), forms, strict=True):
        image, name = itk.ReadImage(str(path)), f"{path.parent.name}/{path.name[:9]}"
        for archive, end in (("nifti", ".nii.gz"), ("itk", ending)):
            (tmp_path / archive / name).parent.mkdir(parents=True, exist_ok=True)
            itk.WriteImage(image, str(tmp_path / archive / (name + end)), useCompression=is_packed)
    shutil.make_archive(str(tmp_path / "itk"), "zip", tmp_path / "itk")
    for name in ("nifti", "itk", "itk.zip"):
        root = tmp_path / f"root of {name}"
        amos_dask.run(root, tmp_path / name, cluster=cluster_address, **QUIET)
        said = [(i["code"], i["sample"], i["severity"]) for i in issues(root)]
        assert said == [
            (i["code"], i["sample"], i["severity"]) for i in issues(tmp_path / "root of nifti")
        ]
        made = sorted((root / "grouped").rglob("*.nii.gz"))
        assert len(made) == 2 * 19
        for path in made:
            twin = tmp_path / "root of nifti" / path.relative_to(root)
            ours, theirs = nib.load(path), nib.load(twin)
            assert ours.get_data_dtype() == theirs.get_data_dtype()
            np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))
            for form in ("get_sform", "get_qform"):
                a, b = (getattr(image.header, form)(coded=True) for image in (ours, theirs))
                np.testing.assert_allclose(a[0], b[0], rtol=0, atol=1e-6)
                assert a[1] == b[1]
