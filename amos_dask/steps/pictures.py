"""Pictures: the slices that denoising changed most, as people look at them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from amos_dask import geometry
from amos_dask.errors import AmosDaskError
from amos_dask.labels import Colour, label_colour
from amos_dask.records import Difference, Mask

# Raised when pictures of the same would be others: those made before are made again.
RESULT_VERSION = 1
PICTURE_ARRAY = f"pictures_v{RESULT_VERSION}"
# Slices that show the most changes, and with those that show a label not seen in these.
_USUAL_SLICES = 3
_MOST_SLICES = 6
_MARGIN_PIXELS = 16
_LEAST_PIXELS = 96
# Hounsfield units from black to white: the usual window for soft tissue of the abdomen.
_CT_WINDOW = (-160.0, 240.0)
# Percentiles of what is to be seen from black to white, where the unit is not fixed.
_WINDOW_PERCENTILES = (0.5, 99.5)
_PLANES = {"S": "axial", "I": "axial", "A": "coronal", "P": "coronal"}
# What the left and the top edge of a picture face in radiology's convention.
_EDGES = {"axial": ("R", "A"), "coronal": ("R", "S"), "sagittal": ("A", "S")}
_OPPOSITE = str.maketrans("LRPAIS", "RLAPSI")


def choose_slices(difference: Difference, shape: tuple[int, int, int]) -> tuple[int, ...]:
    """Return the slices to show, most changed voxels first.

    The three that changed most, and for each label that changes in none of them, those with the
    most voxels first, the slice in which it changed most; six slices at most, counted along z of
    a mask of this shape.
    """
    before, after = difference.before, difference.after
    slices = difference.voxels // (shape[0] * shape[1])
    n_changed = np.bincount(slices, minlength=shape[2])
    chosen = [int(k) for k in np.argsort(-n_changed, kind="stable")[:_USUAL_SLICES] if n_changed[k]]
    labels = np.unique(np.concatenate([before, after]))
    involved = {int(label): (before == label) | (after == label) for label in labels if label}
    for label in sorted(involved, key=lambda label: -int(involved[label].sum())):
        having = np.bincount(slices[involved[label]], minlength=shape[2])
        if len(chosen) < _MOST_SLICES and not having[chosen].any():
            chosen.append(int(np.argmax(having)))
    return tuple(sorted(chosen, key=lambda k: (-int(n_changed[k]), k)))


class PictureTaker:
    """Takes pictures of slices of a denoised mask while the volume streams by.

    The difference is that of the mask before denoising and this one.
    """

    def __init__(
        self, mask: Mask, difference: Difference, affine: geometry.Affine, modality: str
    ) -> None:
        self._view = _View.of(affine)
        self._modality = modality
        self._size = mask.shape[0] * mask.shape[1]
        self._position = 0
        chosen = choose_slices(difference, mask.shape)
        self._masks = {k: mask[:, :, k] for k in chosen}
        self._changed = {k: difference.of_slice(k, self._size) for k in chosen}
        self._grey = {k: np.zeros(self._size, np.float32) for k in chosen}

    def add(self, chunk: NDArray[np.float32]) -> None:
        """Look at the next voxels, in file order."""
        start, end = self._position, self._position + chunk.size
        self._position = end
        for k, grey in self._grey.items():
            first, last = max(start, k * self._size), min(end, (k + 1) * self._size)
            if first < last:
                part = chunk[first - start : last - start]
                grey[first - k * self._size : last - k * self._size] = part

    def result(self) -> list[dict[str, Any]]:
        """Return the pictures, most changed voxels first, as JSON values."""
        return [self._picture(k) for k in self._masks]

    def _picture(self, k: int) -> dict[str, Any]:
        after, changed = self._masks[k], self._changed[k]
        before = changed.undo(after)
        box = _crop((before > 0) | (after > 0))
        grey = to_grey(self._grey[k].reshape(before.shape, order="F")[box], self._modality)
        shown = [self._view.turn(part) for part in (grey, before[box], after[box])]
        layers = {
            "image": grey_jpeg(shown[0]),
            "before": labels_png(shown[1]),
            "after": labels_png(shown[2]),
            "halo": halo_png(shown[1] != shown[2]),
        }
        height, width = shown[0].shape
        return {
            "k": k,
            "plane": self._view.plane,
            "width": width,
            "height": height,
            "mm": list(self._view.mm),
            "letters": list(self._view.letters),
            "changes": [list(change) for change in changed.changes],
            **{name: base64.b64encode(data).decode("ascii") for name, data in layers.items()},
        }


def picture_slice(
    volume: NDArray[Any],
    labels: NDArray[Any] | None,
    affine: geometry.Affine,
    modality: str,
    k: int | None = None,
) -> Any:
    """Return a picture of a slice across z with its labels, as radiologists look at it.

    Parameters
    ----------
    volume : (x, y, z) array
        The scan, in HU for CT.
    labels : (x, y, z) array or None
        The labels of its voxels; of another shape they are not shown.
    affine : (4, 4) float64
        Voxel index to RAS+ mm, of the scan.
    modality : str
        ``ct``: the soft-tissue window; others from the 0.5th to the 99.5th percentile.
    k : int, optional
        The slice, from 0; by default the one with most labelled voxels, else the middle one.

    Returns
    -------
    PIL.Image.Image
        RGB, in true proportion.

    Raises
    ------
    AmosDaskError
        When there is no such slice.
    """
    if labels is None or labels.shape != volume.shape:
        labels = np.zeros(volume.shape, np.uint8)
    if k is None:
        n_labelled = np.count_nonzero(labels, axis=(0, 1))
        k = int(np.argmax(n_labelled)) if n_labelled.any() else volume.shape[2] // 2
    if k not in range(volume.shape[2]):
        raise AmosDaskError(f"there is no slice {k!r}; there are 0 to {volume.shape[2] - 1}.")
    view = _View.of(affine)
    grey = view.turn(to_grey(np.asarray(volume[:, :, k], np.float32), modality))
    return with_labels(grey, view.turn(np.asarray(labels[:, :, k], np.uint8)), view.mm)


def pack_pictures(pictures: Sequence[dict[str, Any]]) -> dict[str, NDArray[np.uint8]]:
    """Return pictures as an array of bytes, for `unpack_pictures`."""
    text = json.dumps(pictures, separators=(",", ":"))
    return {PICTURE_ARRAY: np.frombuffer(text.encode(), np.uint8)}


def unpack_pictures(arrays: Mapping[str, NDArray[Any]]) -> str:
    """Return the pictures as JSON text: a list, the most changed slice first."""
    return bytes(arrays[PICTURE_ARRAY]).decode()


def to_grey(values: NDArray[np.float32], modality: str) -> NDArray[np.uint8]:
    """Return values as 0..255: CT by its usual window, others by what is to be seen."""
    finite = values[np.isfinite(values)]
    low, high = _CT_WINDOW
    if modality != "ct":
        low, high = np.percentile(finite, _WINDOW_PERCENTILES) if finite.size else (0.0, 1.0)
    scaled = (np.nan_to_num(values.astype(np.float64)) - low) / max(high - low, 1e-6)
    return np.asarray(np.rint(np.clip(scaled, 0.0, 1.0) * 255), np.uint8)


def _crop(shown: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the box of what is shown with a margin, and not too small a part of the slice."""
    across, down = (np.asarray(shown.any(axis=axis)) for axis in (1, 0))
    return _extent(across), _extent(down)


def _extent(is_shown: NDArray[np.bool_]) -> slice:
    places = np.flatnonzero(is_shown)
    first, last = int(places[0]) - _MARGIN_PIXELS, int(places[-1]) + 1 + _MARGIN_PIXELS
    missing = max(0, _LEAST_PIXELS - (last - first))
    first = max(0, min(first - missing // 2, is_shown.size - _LEAST_PIXELS))
    return slice(first, min(is_shown.size, max(last + missing // 2, first + _LEAST_PIXELS)))


@dataclass(frozen=True, slots=True)
class _View:
    """How a slice across z is turned to be looked at."""

    plane: str  # the nearest plane of the body: axial, coronal, sagittal
    letters: tuple[str, str]  # what the left and the top edge face
    mm: tuple[float, float]  # a pixel along columns (left to right) and rows
    is_transposed: bool  # x runs along the columns
    flips: tuple[bool, bool]  # whether left and right, top and bottom are exchanged

    @classmethod
    def of(cls, affine: geometry.Affine) -> _View:
        codes = geometry.axis_codes(affine)
        spacing = geometry.spacing_mm(affine)
        plane = _PLANES.get(codes[2], "sagittal")
        left, top = _EDGES[plane]
        # The axis that runs from left to right in the picture: 0 for x, 1 for y.
        across = 0 if codes[0] in (left, left.translate(_OPPOSITE)) else 1
        down = 1 - across
        flips = (codes[across] == left, codes[down] == top)
        mm = (spacing[across], spacing[down])
        return cls(plane, (left, top), mm, across == 0, flips)

    def turn(self, part: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a slice (x, y) as (rows, columns) of its picture."""
        turned = part.T if self.is_transposed else part
        across, down = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return np.ascontiguousarray(turned[down, across])


# ---------------------------------------------------------------- a grey slice and its labels

Grey = NDArray[np.uint8]

_HALO = (255, 255, 255)
_HALO_PIXELS = 2  # between what is marked and the ring around it
_PIXELS_PER_RING = 160  # large pictures are shown smaller, and thin rings would break up
_JPEG_QUALITY = 80
_OPACITY, _LEAST_SHOWN = 0.55, 512


def grey_jpeg(image: Grey) -> bytes:
    """Return a (rows, columns) grey picture as JPEG."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image).save(content, "JPEG", quality=_JPEG_QUALITY)
    return content.getvalue()


def labels_png(labels: Grey) -> bytes:
    """Return (rows, columns) labels as PNG in their colours; the background is transparent."""
    return _palette_png(labels, [label_colour(label) for label in range(256)])


def with_labels(grey: Grey, labels: Grey, mm: tuple[float, float]) -> Any:
    """Return a grey slice with its labels over it, in true proportion.

    Parameters
    ----------
    grey, labels : (rows, columns) uint8
        Of the slice.
    mm : (float, float)
        Size of a pixel along columns (left to right) and rows.

    Returns
    -------
    PIL.Image.Image
        Which notebooks show; at least `_LEAST_SHOWN` pixels along its longer side.
    """
    from PIL import Image

    picture = Image.fromarray(grey).convert("RGBA")
    colours = Image.open(io.BytesIO(labels_png(labels))).convert("RGBA")
    opacity = colours.getchannel("A").point(lambda alpha: int(alpha * _OPACITY))
    colours.putalpha(opacity)
    width, height = (n * size for n, size in zip(picture.size, mm, strict=True))
    zoom = max(_LEAST_SHOWN, *grey.shape) / max(width, height)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    shown = picture.resize(size, Image.Resampling.BILINEAR)
    over = colours.resize(size, Image.Resampling.NEAREST)
    return Image.alpha_composite(shown, over).convert("RGB")


def halo_png(marked: NDArray[np.bool_]) -> bytes:
    """Return a PNG with rings around the marked pixels of (rows, columns), else transparent."""
    thickness = 1 + max(marked.shape) // _PIXELS_PER_RING
    near, far = (_within(marked, _HALO_PIXELS + pixels) for pixels in (0, thickness))
    return _palette_png((far & ~near).astype(np.uint8), [(0, 0, 0), _HALO])


def _within(marked: NDArray[np.bool_], pixels: int) -> NDArray[np.bool_]:
    """Return which pixels are at most so many pixels from a marked one, along rows and columns."""
    reached = marked
    for axis in (0, 1):
        spread = reached.copy()
        for shift in range(1, pixels + 1):
            ahead, behind = (np.moveaxis(view, axis, 0) for view in (spread, reached))
            ahead[shift:] |= behind[:-shift]
            ahead[:-shift] |= behind[shift:]
        reached = spread
    return reached


def _palette_png(indexes: Grey, colours: list[Colour]) -> bytes:
    from PIL import Image

    picture = Image.fromarray(indexes, mode="P")
    last = int(indexes.max(initial=0))
    picture.putpalette([value for colour in colours[: last + 1] for value in colour])
    content = io.BytesIO()
    picture.save(content, "PNG", transparency=0)
    return content.getvalue()
