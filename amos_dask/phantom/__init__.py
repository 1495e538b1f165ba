"""Synthetic AMOS22 archives for the demo, the tests and the benchmarks.

`make_scan` makes one abdomen; `write_archive` writes a folder or a zip of them with everything
that is odd in the real archive, and tells what it planted where; `write_ct_org` and
`write_decathlon` do so for other datasets.
"""

from amos_dask.phantom.archive import METADATA_NAME, UNKNOWN_LABEL, Archive, write_archive
from amos_dask.phantom.contents import DEFECTS, PlantedSample
from amos_dask.phantom.others import OtherArchive, OtherSample, write_ct_org, write_decathlon
from amos_dask.phantom.scan import Scan, make_scan

__all__ = [
    "DEFECTS",
    "METADATA_NAME",
    "UNKNOWN_LABEL",
    "Archive",
    "OtherArchive",
    "OtherSample",
    "PlantedSample",
    "Scan",
    "make_scan",
    "write_archive",
    "write_ct_org",
    "write_decathlon",
]
