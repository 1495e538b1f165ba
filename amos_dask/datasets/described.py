"""Files that a definition describes: the download, scans without labels, the metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import Field, with_config

from amos_dask.datasets.forms import (
    NEVER,
    Count,
    MetadataField,
    NamePattern,
    Text,
    name_pattern,
)


@with_config(extra="forbid")
@dataclass(frozen=True)
class PublishedFile:
    """A file, such as the dataset's zip, as its publishers describe it.

    Parameters
    ----------
    where : str
        The page it is downloaded from, or its own URL.
    md5 : str or None
        Its MD5; None when nobody tells.
    n_bytes, n_bytes_uncertain : int
        Its size, 0 when nobody tells, and by how much that may be off: the page shows three digits.
    name : str
        A plain name, never a path.
    """

    where: Text
    md5: Text | None
    n_bytes: Count = 0
    n_bytes_uncertain: Count = 0
    name: Text = field(kw_only=True)

    def fits(self, n_bytes: int) -> bool:
        """Return whether a file of this size can be the published one."""
        return not self.n_bytes or abs(n_bytes - self.n_bytes) <= self.n_bytes_uncertain


@with_config(extra="forbid")
@dataclass(frozen=True)
class Unlabelled:
    """Files of scans without labels, which lie beside the archive.

    Parameters
    ----------
    published : tuple of str
        Their names, as they are published.
    zips, csvs : re.Pattern
        Match the name of such a zip, whose first group is the modality, and of its metadata.
    damaged : frozenset of int
        Scans whose published file is damaged.
    """

    published: tuple[Text, ...] = ()
    zips: NamePattern = NEVER
    csvs: NamePattern = NEVER
    damaged: frozenset[Count] = frozenset()


@with_config(extra="forbid")
@dataclass(frozen=True)
class MetadataFile:
    """The table that tells of the scans: a csv, tsv or xlsx file.

    Parameters
    ----------
    files : str
        Pattern of its name, with ``*``.
    id_column : str
        Column of the scans' numbers or ids.
    official_file : str
        The name that is preferred where several files fit.
    columns : mapping of str to str
        Field of `Metadata` -> column.
    mr_rows_may_be_shifted : bool
        Whether MR scan N may stand in row N - 1, as in AMOS22.
    """

    files: Text
    id_column: Annotated[Text, Field(alias="id")]
    official_file: str = ""
    columns: Mapping[MetadataField, Text] = field(default_factory=dict)
    mr_rows_may_be_shifted: bool = False

    def is_name_of(self, name: str) -> bool:
        """Return whether a file name fits, in upper or lower case."""
        return name_pattern(self.files).fullmatch(name) is not None
