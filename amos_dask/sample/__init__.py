"""One sample from end to end, over the stages: fused for ``run``, from files for each command.

Nothing here knows Dask; every function takes one frozen task and returns one small record.
"""
