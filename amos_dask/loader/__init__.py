"""``AMOS``: scans, masks and metadata by id, from the archive as downloaded or from a ROOT_DIR."""

from amos_dask.loader.amos import AMOS

__all__ = ["AMOS"]
