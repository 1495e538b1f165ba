"""The archive: where its files are, what their names mean, and the metadata of its scans."""
