"""ROOT_DIR on disk: where things lie, how files appear, what is remembered between runs."""
