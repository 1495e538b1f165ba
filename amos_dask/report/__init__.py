"""The HTML report: what was found and changed, to look at, to trust and to reject."""
