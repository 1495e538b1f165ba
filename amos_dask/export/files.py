"""Files of an export: placed as links or copies, in folders that are known to be ours."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from amos_dask.errors import AmosDaskError
from amos_dask.root.staging import Staging, remove_leftovers, write_text

LINKS = ("auto", "hard", "symbolic", "copy")
MARKER = "amos-dask.json"
OWN_KEY = "amos_dask"  # in JSON files of others' forms
# Another file system, one without hard links, a file with too many, or one of another owner.
_NO_HARD_LINKS = (errno.EXDEV, errno.EPERM, errno.ENOTSUP, errno.EMLINK, errno.EACCES)


def stage_file(staging: Staging, source: Path, final: Path, link: str) -> None:
    """Stage a link to a file or its copy, unless it is in place already.

    Parameters
    ----------
    staging : Staging
        Publishes it.
    source, final : Path
        The file, and where it is to appear.
    link : {"auto", "hard", "symbolic", "copy"}
        ``auto``: a hard link where the file system allows one, else a symbolic link.

    Raises
    ------
    AmosDaskError
        When a hard link was asked for and is not possible.
    """
    source = Path(os.path.realpath(source))
    if _is_in_place(source, final, link):
        return
    temporary = staging.path_for(final)
    if link == "copy":
        shutil.copy2(source, temporary)
    elif link == "symbolic" or not _hard_link(source, temporary):
        if link == "hard":
            raise AmosDaskError(
                f"{final}: a hard link to {source} is not possible; take another --link."
            )
        temporary.symlink_to(source)


def _is_in_place(source: Path, final: Path, link: str) -> bool:
    if final.is_symlink():
        return link in ("auto", "symbolic") and final.readlink() == source
    if not final.is_file():
        return False
    if final.samefile(source):  # renaming one link of a file to another would do nothing
        return link in ("auto", "hard")
    ours, theirs = final.stat(), source.stat()
    unchanged = (ours.st_size, ours.st_mtime_ns) == (theirs.st_size, theirs.st_mtime_ns)
    return link == "copy" and unchanged


def _hard_link(source: Path, temporary: Path) -> bool:
    try:
        temporary.hardlink_to(source)
    except OSError as error:
        if error.errno in _NO_HARD_LINKS:
            return False
        raise
    return True


def require_link(link: str) -> None:
    """Raise `AmosDaskError` when a way to link is not known."""
    if link not in LINKS:
        raise AmosDaskError(f"link {link!r} is not known; choose from {LINKS}.")


def claim_folder(folder: Path, record: Mapping[str, Any]) -> None:
    """Mark a folder as an export of ours, with what it was asked to be.

    Raises
    ------
    AmosDaskError
        When it holds something that no export made.
    """
    if not is_ours(folder) and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise AmosDaskError(
            f"{folder}: there already, and no export of amos-dask; choose another place or remove "
            "it yourself."
        )
    write_text(folder / MARKER, to_json(record))


def is_ours(folder: Path) -> bool:
    """Return whether a folder is an export."""
    return (folder / MARKER).is_file()


def remove_if_only_marked(folder: Path) -> None:
    """Remove an export's folder when nothing but its mark is left in it."""
    if [path.name for path in folder.iterdir()] == [MARKER]:
        (folder / MARKER).unlink()
        folder.rmdir()


def remove_others(folder: Path, keep: Collection[Path], prefix: str) -> None:
    """Remove what an earlier export left in a folder and this one does not have.

    Parameters
    ----------
    folder : Path
        The folder, made or not.
    keep : collection of Path
        What this export has.
    prefix : str
        Before the number in the ids of the dataset's samples.
    """
    if not folder.is_dir():
        return
    exported = re.compile(rf"{re.escape(prefix)}_\d{{4,9}}(?:_\d{{4}})?\.nii\.gz")
    remove_leftovers(folder)
    for path in sorted(folder.iterdir()):
        if exported.fullmatch(path.name) and path not in keep:
            path.unlink()


def to_json(content: Any) -> str:
    """Return JSON for people and programs."""
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
