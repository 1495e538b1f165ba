"""Synthetic AMOS22 archives, for the demo and to try things on.

`write_archive` writes a folder or a zip of abdomens with everything that is odd in the real
archive, and tells what it planted where.
"""

from amos_dask.phantom.archive import METADATA_NAME, UNKNOWN_LABEL, Archive, write_archive
from amos_dask.phantom.painting import Scan, make_scan
from amos_dask.phantom.planted import DEFECTS, PlantedSample

__all__ = [
    "DEFECTS",
    "METADATA_NAME",
    "UNKNOWN_LABEL",
    "Archive",
    "PlantedSample",
    "Scan",
    "make_scan",
    "write_archive",
]
