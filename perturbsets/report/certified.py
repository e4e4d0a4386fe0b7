"""The section on certificates."""

from __future__ import annotations

from pathlib import Path

from perturbsets.report.radius_charts import certified_chart, coverage_chart
from perturbsets.report.section import Section, read_json, read_tensors


def certificates(run: Path) -> Section:
    """Sentences that hold with a confidence, and the curves that they are points of."""
    title = "Certificates"
    found, file = read_json(run / "certificates" / "certificates.json"), run / "certificates" / "arrays.safetensors"
    if found is None or not file.is_file():
        return Section("certificates", title, needs="certify")
    arrays, charts = read_tensors(file), []
    if "coverage" in found:
        charts.append(coverage_chart(arrays["coverage/errors"], found["coverage"]))
    votes = certified_chart(found["smoothing"])
    return Section("certificates", title, charts=charts if votes is None else [*charts, votes], content=found)
