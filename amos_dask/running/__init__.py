"""The public API: `run`, and one function for each command; as good from a notebook."""
