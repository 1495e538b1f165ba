"""Files made from a sample's outputs, named after what they were made from."""

from __future__ import annotations

from pathlib import Path


def derived_path(folder: Path, sample_id: str, made_from: tuple[str, ...], ending: str) -> Path:
    """Return where such a file is kept.

    The name holds what it was made from, so that it never speaks for files that have changed since.

    Parameters
    ----------
    folder : Path
        Of this kind of file, under ``.amos-dask`` of ROOT_DIR.
    sample_id : str
        The sample.
    made_from : tuple of str
        Checksums.
    ending : str
        Version of what made it, and the kind of file, such as ``v1.npz.gz``.
    """
    return folder / f"{'-'.join((sample_id, *made_from))}-{ending}"


def forget_others(folder: Path, sample_id: str, keep: Path | None) -> None:
    """Remove a sample's files of a kind, except one."""
    for path in folder.glob(f"{sample_id}-*"):
        if path != keep:
            path.unlink(missing_ok=True)
