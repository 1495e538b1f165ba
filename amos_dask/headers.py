"""Reading the headers of an archive: what they say of each sample, and what is odd."""

from __future__ import annotations

from collections.abc import Mapping

from amos_dask.archive.discover import Discovery
from amos_dask.engine.events import Notice
from amos_dask.engine.session import Session
from amos_dask.issues import Issue
from amos_dask.records import HeaderCheck
from amos_dask.results import failure_issue
from amos_dask.steps.header_check import check_headers, unchecked_headers


def read_headers(
    session: Session, archive: Discovery, known: Mapping[str, HeaderCheck] | None = None
) -> tuple[dict[str, HeaderCheck], list[Issue]]:
    """Read all headers that are not known.

    Parameters
    ----------
    session : Session
        Where to read them; not asked when all are known.
    archive : Discovery
        The archive.
    known : mapping of str to HeaderCheck, optional
        Sample id -> what was said before by files that are still the same.

    Returns
    -------
    headers : dict of str to HeaderCheck
        What the headers of every sample say.
    issues : list of Issue
        Of names, metadata and headers.
    """
    headers, issues = dict(known or {}), list(archive.issues)
    for issue in issues:
        if issue.code in ("mr_metadata_offset", "mr_metadata_offset_unknown"):
            session.listener(Notice(issue.message))
    unread = [sample for sample in archive.samples if sample.sample_id not in headers]
    for outcome in session.map("headers", check_headers, unread):
        if outcome.value is None:
            issues.append(failure_issue(outcome))
        else:
            headers[outcome.name] = outcome.value
    issues += [issue for check in headers.values() for issue in check.issues]
    samples = archive.samples
    return {s.sample_id: headers.get(s.sample_id) or unchecked_headers(s) for s in samples}, issues
