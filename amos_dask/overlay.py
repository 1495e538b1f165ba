"""Labels over a grey slice, as people look at them: colours, JPEG and PNG."""

from __future__ import annotations

import colorsys
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]
Colour = tuple[int, int, int]

# ITK-SNAP's colours of labels 1 to 16, which the field's figures of AMOS use.
_COLOURS: tuple[Colour, ...] = (
    (255, 0, 0),
    (0, 255, 0),
    (0, 0, 255),
    (255, 255, 0),
    (0, 255, 255),
    (255, 0, 255),
    (255, 239, 213),
    (0, 0, 205),
    (205, 133, 63),
    (210, 180, 140),
    (102, 205, 170),
    (0, 0, 128),
    (0, 139, 139),
    (46, 139, 87),
    (255, 228, 225),
    (106, 90, 205),
)
_GOLDEN_ANGLE = 0.381966  # of a turn: the hues of neighbours lie far apart
_HALO = (255, 255, 255)
_HALO_PIXELS = 2  # between what is marked and the ring around it
_PIXELS_PER_RING = 160  # large pictures are shown smaller, and thin rings would break up
_JPEG_QUALITY = 80
_OPACITY, _LEAST_SHOWN = 0.55, 512


def label_colour(label: int) -> Colour:
    """Return the red, green and blue of a label, each 0..255; black for the background."""
    if label == 0:
        return (0, 0, 0)
    if label <= len(_COLOURS):
        return _COLOURS[label - 1]
    red, green, blue = colorsys.hsv_to_rgb(label * _GOLDEN_ANGLE % 1.0, 0.7, 0.9)
    return (round(red * 255), round(green * 255), round(blue * 255))


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
