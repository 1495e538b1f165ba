"""The only reading and writing of images: header alone, streamed voxels, reproducible gzip.

Voxels are handled in file order, which is Fortran order of the (x, y, z) array: nothing is ever
transposed. What is read is NIfTI-1 or NIfTI-2 of whole or floating-point numbers, either byte
order, in one file or as a pair of ``.hdr`` and ``.img``, with gzip (``.gz``) or without, with three
axes, or four where the fourth holds channels (further axes of length 1 are dropped); and likewise
MetaImage and NRRD, where SimpleITK is installed. What is written is NIfTI-1 as ``.nii.gz``.
"""

from amos_dask.nifti.header import (
    DATA_OFFSET,
    HEADER_BYTES,
    ImageInfo,
    make_header,
    parse_header,
)
from amos_dask.nifti.read import ImageReader, LabelReader, Mask, open_image, read_info
from amos_dask.nifti.write import (
    ImageWriter,
    mask_header,
    told_voxel_crc32,
    write_image,
    write_labels,
    write_mask,
)

__all__ = [
    "DATA_OFFSET",
    "HEADER_BYTES",
    "ImageInfo",
    "ImageReader",
    "ImageWriter",
    "LabelReader",
    "Mask",
    "make_header",
    "mask_header",
    "open_image",
    "parse_header",
    "read_info",
    "told_voxel_crc32",
    "write_image",
    "write_labels",
    "write_mask",
]
