"""The report of a run: one HTML file of pictures, charts and tables."""

from perturbsets.report.page import write_report
