"""Statistics of an organised dataset: exact, of all voxels of all samples together."""
