"""A dataset's report without a dataset: plausible samples, drawn slices and hostile texts."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from amos_dask.datasets import AMOS22

HOSTILE = "</script><img src=x onerror=alert(1)>\u2028<!--<script>'\"&"
COLOURS = [
    *("#000000", "#ff0000", "#00ff00", "#0000ff", "#ffff00", "#00ffff", "#ff00ff", "#ffefd5"),
    *("#0000cd", "#cd853f", "#d2b48c", "#66cdaa", "#000080", "#008b8b", "#2e8b57", "#ffe4e1"),
    "#6a5acd",
]
SCANNERS = {
    "ct": ("Aquilion ONE", "Brilliance16", "Somatom Force", "Optima CT660", "Optima CT540"),
    "mri": ("Prisma", "SIGNA HDe", "Achieva"),
}
# cm3 of each organ, about.
USUAL = (0, 210, 160, 165, 32, 14, 1400, 380, 95, 75, 78, 4.1, 4.6, 72, 190, 34, 60)
# Where organs lie in an axial picture, as fractions of its width and height, and their radii.
PLACES = {
    1: (0.76, 0.55, 0.07, 0.12), 2: (0.32, 0.66, 0.06, 0.09), 3: (0.67, 0.67, 0.06, 0.09),
    4: (0.38, 0.38, 0.035, 0.05), 5: (0.53, 0.5, 0.015, 0.02), 6: (0.3, 0.42, 0.15, 0.19),
    7: (0.64, 0.36, 0.1, 0.1), 8: (0.52, 0.58, 0.028, 0.038), 9: (0.45, 0.56, 0.03, 0.03),
    10: (0.53, 0.45, 0.09, 0.03),
}  # fmt: skip


def make_content(n_samples: int, *, hostile: str = "", seed: int = 3) -> dict[str, Any]:
    """Return content for the page; ``hostile`` is put into every text of the data."""
    rng = np.random.default_rng(seed)
    samples = [_sample(index, n_samples, hostile, rng) for index in range(n_samples)]
    changed = [one for one in samples if one["changed_voxels"]]
    return {
        "program": "amos-dask 0.1.0" + hostile,
        "dataset": "AMOS22" + hostile,
        "about": {"licence": "CC BY" + hostile, "cite": hostile, "url": "https://a.example"},
        "root": "AMOS22" + hostile,
        "counts": {
            "samples": n_samples,
            "with_mask": sum(one["labels"] is not None for one in samples),
            "by_modality": {m: sum(s["modality"] == m for s in samples) for m in ("ct", "mri")},
            "errors": 2,
            "warnings": 5,
            "infos": 3,
            "changed_samples": len(changed),
            "changed_voxels": sum(one["changed_voxels"] for one in samples),
            "regions": [
                {"threshold_mm3": 10.0, "before": 4711, "after": 12},
                {"threshold_mm3": 100.0, "before": 12345, "after": 2345},
            ],
        },
        "labels": [
            {"index": index, "name": name + (hostile if index == 16 else ""), "colour": colour}
            for (index, name), colour in zip(AMOS22.label_map.names().items(), COLOURS, strict=True)
        ],
        "archive": ["amos22.zip" + hostile],
        "denoising": {"kernel_size": [5, 5], "filter_halfedge": 3, "region_area_thresh": 10.0},
        "reviews": [],
        "not_denoised": [],
        "pictured_channel": "",
        "overlaps": [],
        "exclusions": [
            {"sample": "*", "label": 14},
            {"sample": changed[1]["id"], "label": changed[1]["changes"][0][0] or 6},
        ],
        "samples": samples,
        "issues": _issues(samples, hostile),
        "intensities": [
            _intensity(modality, label, name, rng)
            for modality in ("ct", "mri")
            for label, name in AMOS22.label_map.names().items()
            if label
        ],
        "outliers": [
            {"sample": one["id"], "label": 6, "modality": one["modality"], "low_cm3": 840.0,
             "high_cm3": 2310.0, "volume_cm3": one["volumes_cm3"]["6"]}
            for one in samples
            if one["volumes_cm3"] and not 840 < one["volumes_cm3"]["6"] < 2310
        ],
    }  # fmt: skip


def _sample(index: int, n_samples: int, hostile: str, rng: np.random.Generator) -> dict[str, Any]:
    modality = "mri" if index % 6 == 5 else "ct"
    number = index + (501 if modality == "mri" else 1)
    scanner = SCANNERS[modality][int(rng.integers(len(SCANNERS[modality])))]
    subset = ("train", "val", "test")[min(2, index * 5 // (n_samples * 2))]
    spacing = float(rng.choice([0.58, 0.68, 0.74, 0.82, 0.98]) + rng.normal(0, 0.03))
    depth = float(rng.choice([1.25, 2.0, 3.0, 5.0, 5.0, 5.0]))
    with_mask = subset != "test"
    changes = _changes(index, rng) if with_mask and index % 5 != 4 else []
    n_changed = sum(n for _, _, n in changes)
    touched = sorted({label for change in changes for label in change[:2]} - {0})
    volumes = {
        str(label): round(USUAL[label] * float(rng.lognormal(0, 0.28)), 2)
        for label in range(1, 17)
        if label not in (15, 16) or (label == 15) == (index % 2 == 0)
    }
    return {
        "id": f"amos_{number:04d}",
        "subset": subset,
        "modality": modality,
        "scanner": scanner + (hostile if index == 7 else ""),
        "sex": "MF"[index % 2] + hostile,
        "age": f"{int(rng.integers(19, 88)):03d}Y" + hostile,
        "site": "Longgang District People's Hospital" + hostile,
        "manufacturer": ("SIEMENS" if index % 2 else "TOSHIBA") + hostile,
        "folder": f"grouped/AMOS-{modality.upper()}/{subset}/{scanner}/amos_{number:04d}{hostile}",
        "volume": f"amos_{number:04d}_volume.nii.gz",
        "mask": f"amos_{number:04d}_mask.nii.gz" if with_mask else None,
        "shape": [512, 512, int(rng.integers(60, 240))],
        "spacing_mm": [spacing, spacing, depth],
        "orientation": ("LAS", "LAS", "LPS", "RAS")[int(rng.integers(4))],
        "labels": sorted(int(label) for label in volumes) if with_mask else None,
        "changes": changes,
        "changed_voxels": n_changed,
        "changed_mm3": round(n_changed * spacing * spacing * depth, 2),
        "regions_before": [[label, int(rng.integers(3, 40))] for label in touched],
        "regions_after": [[label, int(rng.integers(1, 3))] for label in touched],
        "volumes_cm3": volumes if with_mask else None,
        "repair_norm": round(float(rng.lognormal(1, 1.4)), 4) if index % 11 == 3 else None,
        "n_pictures": min(4, len(changes)) if changes else 0,
    }


def _changes(index: int, rng: np.random.Generator) -> list[list[int]]:
    labels = rng.choice(np.arange(1, 11), size=int(rng.integers(3, 6)), replace=False)
    scale = 40 if index == 2 else 1
    changes = [[int(label), 0, int(rng.integers(5, 900)) * scale] for label in labels[1:]]
    changes.append([int(labels[0]), int(labels[1]), int(rng.integers(2, 90))])
    changes.append([0, int(labels[1]), int(rng.integers(1, 40))])
    return sorted(changes)


def _issues(samples: list[dict[str, Any]], hostile: str) -> list[dict[str, str]]:
    rows = [
        ("error", "unreadable_mask", samples[3]["id"], "The gzip stream ends too early."),
        ("error", "shape_mismatch", samples[9]["id"], "Scan 512 x 512 x 90, mask 512 x 512 x 89."),
        ("warning", "unknown_scanner", samples[12]["id"], "The csv has no scanner."),
        ("warning", "trailing_bytes", samples[4]["id"], "17 bytes after the image."),
        ("warning", "empty_mask", samples[5]["id"], "Background only."),
        ("warning", "unexpected_file", "", "notes.txt"),
        ("warning", "unknown_sex", samples[1]["id"], "Label 15, and no sex in the csv."),
        ("info", "affine_repaired", samples[3]["id"], "Norm 3.2."),
        ("info", "junk_ignored", "", "2 system files."),
        ("info", "mr_metadata_offset", "", "MR scan N takes row N + 4: 98 of 100 scanners agree."),
    ]
    return [
        {"severity": severity, "code": code, "sample": sample, "message": message + hostile,
         "file": f"amos22/labelsTr/{sample or 'notes'}.nii.gz{hostile}",
         "action": "No mask is written." + hostile}
        for severity, code, sample, message in rows
    ]  # fmt: skip


def _intensity(modality: str, label: int, name: str, rng: np.random.Generator) -> dict[str, Any]:
    middle = float(rng.normal(90, 35)) if modality == "ct" else float(rng.uniform(200, 900))
    std = float(rng.uniform(20, 60)) * (1 if modality == "ct" else 4)
    return {
        "modality": modality, "label": label, "name": name, "min": middle - 9 * std,
        "p0_5": middle - 2.8 * std, "median": middle, "mean": middle + 0.1 * std, "std": std,
        "p99_5": middle + 2.5 * std, "max": middle + 20 * std,
    }  # fmt: skip


def make_times(content: dict[str, Any]) -> dict[str, Any]:
    """Return times of every step and sample, slowest first."""
    steps = (("volume", 0.31), ("denoise", 0.033), ("binary masks", 0.11), ("mask", 0.02))
    n = len(content["samples"])
    return {
        "steps": [
            {"name": name, "total_s": median * n * 1.1, "median_s": median, "max_s": median * 4}
            for name, median in steps
        ],
        "samples": [[one["id"], round(2.5 - i / n, 2)] for i, one in enumerate(content["samples"])],
    }


def make_pictures(
    content: dict[str, Any], *, width: int = 320, variants: int = 12
) -> Iterator[tuple[str, str]]:
    """Yield slices for each changed sample; beyond ``variants`` samples drawings recur."""
    drawn: dict[tuple[int, ...], dict[str, Any]] = {}
    changed = [one for one in content["samples"] if one["n_pictures"]]
    for index, sample in enumerate(changed):
        slices = []
        for place in range(sample["n_pictures"]):
            key = (index % variants, place)
            if key not in drawn:
                drawn[key] = _draw(sample, place, width)
            slices.append(drawn[key] | {"k": 12 + 9 * place})
        yield sample["id"], json.dumps(slices)


def _draw(sample: dict[str, Any], place: int, width: int) -> dict[str, Any]:
    rng = np.random.default_rng([place, int(sample["id"][5:])])
    height = width * 3 // 4
    grey = _torso(width, height, rng)
    before = Image.new("P", (width, height), 0)
    for label, (x, y, rx, ry) in PLACES.items():
        _blob(before, label, x, y, rx * rng.uniform(0.8, 1.1), ry * rng.uniform(0.8, 1.1), rng)
    after = before.copy()
    halo = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen, ring = ImageDraw.Draw(before), ImageDraw.Draw(halo)
    changes = []
    for label, to, _ in sample["changes"][: 3 + place]:
        if not label:
            continue
        x, y = (int(rng.uniform(0.25, 0.75) * width), int(rng.uniform(0.3, 0.75) * height))
        size = int(rng.integers(1, 5))
        pen.rectangle((x, y, x + size, y + size), fill=label)
        if to:
            ImageDraw.Draw(after).rectangle((x, y, x + size, y + size), fill=to)
        ring.ellipse((x - 7, y - 7, x + size + 7, y + size + 7), outline=(255, 255, 255, 230))
        changes.append([label, to, (size + 1) ** 2])
    return {
        "k": 0, "plane": "axial", "width": width, "height": height, "mm": [1.1, 1.1],
        "letters": ["R", "A"], "changes": changes, "image": _jpeg(grey),
        "before": _palette(before), "after": _palette(after), "halo": _png(halo),
    }  # fmt: skip


def _torso(width: int, height: int, rng: np.random.Generator) -> Image.Image:
    image = Image.new("L", (width, height), 4)
    pen = ImageDraw.Draw(image)

    def ellipse(x: float, y: float, rx: float, ry: float, value: int) -> None:
        box = ((x - rx) * width, (y - ry) * height, (x + rx) * width, (y + ry) * height)
        pen.ellipse(box, fill=value)

    ellipse(0.5, 0.52, 0.44, 0.43, 60)
    ellipse(0.5, 0.51, 0.405, 0.385, 105)
    ellipse(0.5, 0.47, 0.37, 0.33, 82)
    for label, (x, y, rx, ry) in PLACES.items():
        ellipse(x, y, rx, ry, 118 + 7 * (label % 5))
    ellipse(0.5, 0.74, 0.06, 0.075, 205)
    ellipse(0.5, 0.83, 0.02, 0.05, 190)
    for x, y in (
        (0.16, 0.42),
        (0.84, 0.42),
        (0.17, 0.62),
        (0.83, 0.62),
        (0.29, 0.81),
        (0.71, 0.81),
    ):
        ellipse(x, y, 0.017, 0.035, 200)
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(width / 250)), np.float32)
    noise = rng.normal(0, 7, smooth.shape) * (smooth > 10)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def _blob(
    image: Image.Image, label: int, x: float, y: float, rx: float, ry: float,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    phase = rng.uniform(0, 6)
    radius = 1 + 0.1 * np.sin(3 * angles + phase) + 0.06 * np.sin(5 * angles - phase)
    points = [
        ((x + rx * r * np.cos(a)) * image.width, (y + ry * r * np.sin(a)) * image.height)
        for a, r in zip(angles, radius, strict=True)
    ]
    ImageDraw.Draw(image).polygon([(float(a), float(b)) for a, b in points], fill=label)


def _palette(image: Image.Image) -> str:
    image.putpalette([value for colour in COLOURS for value in bytes.fromhex(colour[1:])])
    return _encoded(image, "PNG", transparency=0)


def _jpeg(image: Image.Image) -> str:
    return _encoded(image, "JPEG", quality=80)


def _png(image: Image.Image) -> str:
    return _encoded(image, "PNG")


def _encoded(image: Image.Image, form: str, **options: Any) -> str:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return base64.b64encode(stream.getvalue()).decode()
