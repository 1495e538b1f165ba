"""The steps of the pipeline: pure functions on arrays, and thin reading and writing around them.

Stages know images and kernels; they know neither Dask, nor ROOT_DIR, nor each other.
"""
