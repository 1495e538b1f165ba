"""The steps of the pipeline: pure functions on arrays and headers, and thin reading and writing.

Steps know images and kernels; they know neither Dask, nor ROOT_DIR, nor each other.
"""
