"""Synthetic AMOS22 archives, for the demo and to try things on.

`write_archive` writes a folder or a zip of abdomens with everything that is odd in the real
archive, and tells what it planted where.
"""

from amos_dask.phantom.archive import METADATA_NAME, Archive, write_archive

__all__ = ["METADATA_NAME", "Archive", "write_archive"]
