"""One sample: where it comes from, making it by steps, describing it, what is left to do.

Nothing here knows Dask; every function takes one frozen task and returns one small record.
"""
