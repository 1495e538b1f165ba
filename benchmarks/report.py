"""Reports as Markdown and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import Claim, Report, Table


def to_markdown(name: str, report: Report, machine: Mapping[str, Any]) -> str:
    """Return a report as a Markdown page."""
    parts = [f"# {name}", describe(machine)]
    if report.claims:
        parts += ["## Thresholds", claims_table(report.claims)]
    for table in report.tables:
        parts.append(f"## {table.title}")
        if table.note:
            parts.append(table.note)
        parts.append(_table(table))
    return "\n\n".join(parts) + "\n"


def describe(machine: Mapping[str, Any]) -> str:
    """Return the machine in two lines."""
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items() if v is not None)
    load = " ".join(f"{value:.1f}" for value in machine["load_average"])
    return (
        f"{machine['date']} · {machine['cpu']}, {machine['cores']} cores, "
        f"{machine['memory_gib']} GiB, {machine['file_system']}, load before {load} · "
        f"commit {machine['commit']}\n\npython {machine['python']}, {versions}"
    )


def claims_table(claims: Sequence[Claim]) -> str:
    """Return thresholds and measurements as a Markdown table."""
    rows = [
        {
            "threshold": claim.text,
            "limit": f"{'≤' if claim.at_most else '≥'} {_number(claim.limit)} {claim.unit}".strip(),
            "measured": f"{_number(claim.measured)} {claim.unit}".strip(),
            "holds": "yes" if claim.holds else "**no**",
            "note": claim.note,
        }
        for claim in claims
    ]
    return _rows(rows)


def save(name: str, report: Report, machine: Mapping[str, Any], folder: Path) -> None:
    """Write ``name.json`` and ``name.md``."""
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "benchmark": name,
        "machine": machine,
        "claims": [{**asdict(claim), "holds": claim.holds} for claim in report.claims],
        "tables": [asdict(table) for table in report.tables],
    }
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / f"{name}.md").write_text(to_markdown(name, report, machine), encoding="utf-8")


def save_summary(folder: Path) -> Path:
    """Write ``summary.md``: all thresholds of the saved reports in one table."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        claims = [
            Claim(**{key: value for key, value in claim.items() if key != "holds"})
            for claim in content["claims"]
        ]
        if claims:
            rows.append(f"## {content['benchmark']}\n\n{claims_table(claims)}\n")
    summary = folder / "summary.md"
    summary.write_text("# Thresholds\n\n" + "\n".join(rows), encoding="utf-8")
    return summary


def _table(table: Table) -> str:
    return _rows(table.rows)


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return "(nothing)"
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_number(row.get(name)) for name in columns) + " |" for row in rows]
    return "\n".join(lines)


def _number(value: Any) -> str:
    """Return three significant digits of a float, anything else as it is."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 1e-3 else f"{value:.2e}"
