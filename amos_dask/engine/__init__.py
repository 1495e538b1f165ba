"""Where to run: from options to a Dask client. Each kind of cluster is imported when asked for."""

from amos_dask.engine.connect import connect
from amos_dask.engine.options import BATCH_SYSTEMS, ClusterOptions

__all__ = ["BATCH_SYSTEMS", "ClusterOptions", "connect"]
