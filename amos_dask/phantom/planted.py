"""Which scans a phantom archive holds, of which patients, what is odd in them, and their NIfTI.

The official csv counts MR scans from 500 instead of 501: scan N above 500 stands in the row of
``amos_id`` N - 1, and 500 occurs twice. Neighbouring MR rows made here always differ in scanner
and in sex, so that reading the wrong one shows.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterable, Mapping
from dataclasses import asdict, astuple, dataclass, replace
from datetime import date, timedelta
from operator import itemgetter
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.affines import from_matvec
from nibabel.eulerangles import euler2mat

from amos_dask.phantom.painting import Scan

Affine = npt.NDArray[np.float64]
Quirks = tuple[str, ...]

# The largest value in the real MR scans; an int16 cannot hold it.
LARGEST_MR_VALUE: Final = 186_452
_GZIP_LEVEL: Final = 1


def _table(*lines: str) -> tuple[Quirks, ...]:
    return tuple(tuple(sorted(line.split())) for line in lines)


# The first scan has the first line's, and so on. storage_*: axis codes of the voxels; mask_uint8
# ...: the mask's type; mask_affine_*: how it differs from the volume's; *_only: which of the
# header's affines is set; wrong_pixdim: it contradicts the affine; values_offset and _slope:
# scl_inter and scl_slope are set, values_big_*: up to `LARGEST_MR_VALUE`; missing_*: in the csv.
CT_QUIRKS: Final = _table(
    "storage_ras mask_uint8 sform_only",
    "storage_las mask_int16",
    "storage_las mask_uint8 values_offset",
    "storage_ras mask_int32 oblique mask_affine_shifted",
    "storage_las mask_uint8 qform_only missing_age",
    "storage_psr mask_float64 missing_sex",
    "storage_ras mask_uint8 mask_affine_flipped nnunet_name",
    "storage_ras mask_uint8 sform_only one_frame wrong_pixdim",
)
MRI_QUIRKS: Final = _table(
    "storage_lps mask_int16 oblique mask_affine_rounded one_frame",
    "storage_ras mask_float64 values_big_slope missing_age",
    "storage_las mask_uint8 values_big_float",
    "storage_las mask_uint8 qform_only values_slope mask_affine_shifted",
)
PLAIN: Final[Quirks] = ("mask_uint8", "storage_ras")


def mask_dtype(quirks: Quirks) -> str:
    """Return the name of the data type that masks are stored in."""
    names = (one[5:] for one in quirks if one.startswith("mask_") and "affine" not in one)
    return next(names, "uint8")


def ras_axes(quirks: Quirks) -> tuple[int, int, int]:
    """Return the axis in RAS of each axis as stored."""
    i, j, k = ("RLAPSI".index(code) // 2 for code in _storage(quirks))
    return i, j, k


def nifti_pair(
    scan: Scan, quirks: Quirks, corner_mm: npt.NDArray[np.float64]
) -> tuple[bytes, bytes]:
    """Return the gzipped NIfTI files of a scan, volume and mask, without a time in them.

    Parameters
    ----------
    scan
        Intensities of any type, also of several channels, and labels, both in RAS.
    quirks
        How it is stored.
    corner_mm
        Where the first voxel in RAS is, millimetres, (3,).
    """
    ornt = nib.orientations.axcodes2ornt
    turned = nib.orientations.ornt_transform(ornt("RAS"), ornt(_storage(quirks)))
    affine = from_matvec(np.diag(scan.spacing_mm), corner_mm)
    affine = affine @ nib.orientations.inv_ornt_aff(turned, scan.volume.shape[:3])
    if "oblique" in quirks:  # as with a tilted gantry
        affine = from_matvec(euler2mat(x=0.14, z=0.05)) @ affine
    volume = _volume_file(nib.orientations.apply_orientation(scan.volume, turned), quirks, affine)
    mask = nib.orientations.apply_orientation(scan.mask, turned).astype(mask_dtype(quirks))
    if "mask_affine_rounded" in quirks:  # by less than 1e-4
        affine[:3, 3] += 2e-5
    elif "mask_affine_shifted" in quirks:  # by some hundredths of a millimetre
        affine[:3, 3] += (0.02, -0.03, 0.01)
        affine[0, 0] *= 1.0005
    elif "mask_affine_flipped" in quirks:  # to other axis codes
        affine[0] *= -1.0
    return volume, _nifti_gz(_header(mask, affine, quirks), mask)


def _storage(quirks: Quirks) -> str:
    return next(name[-3:].upper() for name in quirks if name.startswith("storage_"))


def _volume_file(voxels: npt.NDArray[Any], quirks: Quirks, affine: Affine) -> bytes:
    slope, inter = 1.0, 0.0
    if "values_offset" in quirks:
        voxels, inter = voxels + np.int16(1024), -1024.0
    elif "values_slope" in quirks:
        slope = 2.4371185
    elif "values_big_slope" in quirks:
        slope = LARGEST_MR_VALUE / float(voxels.max())
    elif "values_big_float" in quirks:
        voxels = (voxels * (LARGEST_MR_VALUE / float(voxels.max()))).astype(np.float32)
    if "one_frame" in quirks:
        voxels = voxels[..., np.newaxis]
    header = _header(voxels, affine, quirks)
    # ITK writes 1 and 0 where nothing is scaled, nibabel writes nan: both occur.
    if "sform_only" not in quirks:
        header["scl_slope"], header["scl_inter"] = slope, inter
    if "wrong_pixdim" in quirks:
        header["pixdim"][1:4] = 1.0
    return _nifti_gz(header, voxels)


def _header(voxels: npt.NDArray[Any], affine: Affine, quirks: Quirks) -> Any:
    header = nib.Nifti1Header()
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape)
    header.set_xyzt_units("mm")
    # Also sets pixdim, which a header with an sform alone needs as well.
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    if "sform_only" in quirks:
        header["qform_code"] = 0
    elif "qform_only" in quirks:
        header["sform_code"] = 0
        header["srow_x"] = header["srow_y"] = header["srow_z"] = 0
    header["vox_offset"] = 352
    return header


def _nifti_gz(header: Any, voxels: npt.NDArray[Any]) -> bytes:
    raw = bytes(header.binaryblock) + bytes(4) + voxels.tobytes(order="F")
    return gzip.compress(raw, _GZIP_LEVEL, mtime=0)


# ---------------------------------------------------------------- scans and patients

N_CT, N_MRI = 500, 100

_COLUMNS: Final = (
    "amos_id", "Patient's Birth Date", "Patient's Sex", "Patient's Age",
    "Manufacturer's Model Name", "Manufacturer", "Acquisition Date", "Site",
)  # fmt: skip
_CT_SCANNERS: Final = {
    "Aquilion ONE": "TOSHIBA",
    "Brilliance16": "Philips",
    "SOMATOM Force": "SIEMENS",
    "Optima CT660": "GE MEDICAL SYSTEMS",
    "Optima CT540": "GE MEDICAL SYSTEMS",
}
# Ingenia comes first: scans without a mask are its share, as in the real archive.
_MRI_SCANNERS: Final = {
    "Ingenia": "Philips",
    "Prisma": "SIEMENS",
    "SIGNA HDe": "GE MEDICAL SYSTEMS",
    "Achieva": "Philips",
}

DEFECTS: Final = ("truncated_volume", "unreadable_mask", "mask_shape", "unknown_label")

# Every fifth of both lists: 200/100/200 CT and 40/20/40 MR scans in the complete archive.
_SUBSETS: Final = ("train", "val", "test", "train", "test")
_SUFFIXES: Final = {"train": "Tr", "val": "Va", "test": "Ts"}
# The ids around 500 matter most: there the csv counts one less than the files.
_FIRST_CT, _FIRST_MRI = (1, 4, 500, 9, 50, 111, 222, 333), (507, 508, 501, 600, 510)
_CT: Final = tuple(dict.fromkeys((*_FIRST_CT, *range(1, N_CT + 1))))
_MRI: Final = tuple(dict.fromkeys((*_FIRST_MRI, *range(N_CT + 1, N_CT + N_MRI + 1))))

# Shapes and spacings in mm, (x, y, z), taken in turn.
SIZES: Final[dict[str, dict[str, tuple[Any, Any]]]] = {
    "tiny": {
        "ct": (((16, 14, 6),), ((4.0, 4.0, 5.0), (3.5, 3.5, 5.0))),
        "mri": (((16, 14, 6),), ((4.0, 4.0, 5.5),)),
    },
    "small": {
        "ct": (
            ((64, 56, 20), (48, 40, 16), (56, 48, 12), (60, 52, 18), (52, 44, 14), (48, 42, 20)),
            ((0.78125, 0.78125, 5.0), (1.25, 1.25, 5.0), (0.9765625, 0.9765625, 2.0),
             (0.6015625, 0.6015625, 5.0), (1.5, 1.5, 3.0), (0.8203125, 0.8203125, 1.25),
             (0.683594, 0.683594, 5.0)),
        ),
        "mri": (
            ((56, 48, 14), (48, 44, 20), (64, 48, 12)),
            ((1.1875, 1.1875, 3.0), (1.40625, 1.40625, 5.5), (0.742188, 0.742188, 1.2)),
        ),
    },
    "full": {
        "ct": (((512, 512, 90),), ((0.705078, 0.705078, 5.0), (0.78125, 0.78125, 5.0))),
        "mri": (((320, 260, 72),), ((1.1875, 1.1875, 5.5), (1.25, 1.25, 5.0))),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Patient:
    """What the csv tells about one scan, in its order; a missing value is an empty string."""

    birth_date: str
    sex: str
    age: str
    scanner: str
    manufacturer: str
    acquisition_date: str
    site: str


def _make_patients(seed: int, subset_of: Mapping[int, str]) -> dict[int, Patient]:
    """Make up a patient for each of the 600 scans, given their subsets; by number."""
    rng = np.random.default_rng([seed, 600])
    scanners = _scanners(subset_of)
    manufacturers = _CT_SCANNERS | _MRI_SCANNERS
    patients = {}
    for number in range(1, N_CT + N_MRI + 1):
        acquired = date(2016, 1, 1) + timedelta(days=int(rng.integers(0, 2000)))
        born = acquired - timedelta(days=int(rng.integers(365 * 22, 365 * 88)))
        had_birthday = (acquired.month, acquired.day) >= (born.month, born.day)
        patients[number] = Patient(
            birth_date=f"{born:%Y%m%d}",
            sex="FM"[(number + seed) % 2],
            age=f"{acquired.year - born.year - (not had_birthday):03d}Y",
            scanner=scanners[number],
            manufacturer=manufacturers[scanners[number]],
            acquisition_date=f"{acquired:%Y%m%d}",
            site="center" if rng.random() < 0.7 else "people",
        )
    return patients


def _scanners(subset_of: Mapping[int, str]) -> dict[int, str]:
    """Scanner of each scan: in turn, but for unlabelled MR scans."""
    ct, mri = list(_CT_SCANNERS), list(_MRI_SCANNERS)
    ct_scans = [number for number in subset_of if number <= N_CT]
    labelled = [n for n in sorted(subset_of) if n > N_CT and subset_of[n] != "test"]
    scanners = {n: ct[place % len(ct)] for place, n in enumerate(ct_scans)}
    scanners |= {n: mri[1:][place % (len(mri) - 1)] for place, n in enumerate(labelled)}
    for number in range(N_CT + 1, N_CT + N_MRI + 1):
        beside = {scanners[number - 1], scanners.get(number + 1)}
        scanners.setdefault(number, next(one for one in mri if one not in beside))
    return scanners


def metadata_csv(patients: Iterable[Patient]) -> bytes:
    """Return the csv file: 500 CT rows, then 100 MR rows that start at 500 again."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for number, patient in enumerate(patients, start=1):
        writer.writerow((number if number <= N_CT else number - 1, *astuple(patient)))
    return text.getvalue().encode()


@dataclass(frozen=True)
class PlantedSample(Patient):
    """What was planted for one scan, and the patient of its row in the csv."""

    seq: str
    subset: str
    modality: str
    anatomy: str  # "F" or "M": label 15 is a uterus or a prostate, also when the csv is silent
    image: str  # POSIX, inside the archive's root
    mask_name: str  # likewise; "" without mask
    mask: str  # data type of the mask file, "none" without mask
    # As stored, (x, y, z): voxels of the volume without a trailing frame axis, and their size.
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    quirks: tuple[str, ...]  # what is odd, see `quirks.CT_QUIRKS`
    defect: str  # one of `DEFECTS`, or ""

    @property
    def sample_id(self) -> str:
        """The name that files and folders carry, "amos_0001"."""
        return f"amos_{self.seq}"


def plan_samples(
    n_ct: int, n_mri: int, size: str, seed: int, quirks: bool, defects: bool
) -> tuple[tuple[PlantedSample, ...], dict[int, Patient]]:
    """Return the samples to write, by seq, and all 600 patients, by number.

    Arguments are those of `write_archive`.
    """
    subsets = {n: _SUBSETS[place % 5] for scans in (_CT, _MRI) for place, n in enumerate(scans)}
    patients = _make_patients(seed, subsets)
    places = [("ct", place, "") for place in range(n_ct)]
    places += [("mri", place, "") for place in range(n_mri)]
    if defects:
        places += [("ct", place, defect) for place, defect in enumerate(DEFECTS, start=n_ct)]
    samples = []
    for modality, place, defect in places:
        number = (_CT if modality == "ct" else _MRI)[place]
        table = CT_QUIRKS if modality == "ct" else MRI_QUIRKS
        names = table[place % len(table)] if quirks and not defect else PLAIN
        anatomy = patients[number].sex
        missing = {name[8:]: "" for name in names if name.startswith("missing_")}
        patients[number] = replace(patients[number], **missing)
        shapes, spacings = SIZES[size][modality]
        sample = PlantedSample(
            **asdict(patients[number]),
            **_files(number, "train" if defect else subsets[number], names),
            modality=modality,
            anatomy=anatomy,
            shape=itemgetter(*ras_axes(names))(shapes[place % len(shapes)]),
            spacing_mm=itemgetter(*ras_axes(names))(spacings[place % len(spacings)]),
            defect=defect,
        )
        samples.append(sample if quirks else replace(sample, quirks=()))
    return tuple(sorted(samples, key=lambda sample: sample.seq)), patients


def _files(number: int, subset: str, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the fields of a `PlantedSample` that depend on whether there is a mask."""
    seq, suffix, labelled = f"{number:04d}", _SUFFIXES[subset], subset != "test"
    ending = "_0000.nii.gz" if "nnunet_name" in names else ".nii.gz"
    return {
        "seq": seq,
        "subset": subset,
        "image": f"images{suffix}/amos_{seq}{ending}",
        "mask_name": f"labels{suffix}/amos_{seq}.nii.gz" if labelled else "",
        "mask": mask_dtype(names) if labelled else "none",
        "quirks": tuple(one for one in names if labelled or not one.startswith("mask_")),
    }
