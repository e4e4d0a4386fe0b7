"""The report: one HTML file that shows what a run learned, beside the numbers that judge it."""

from perturbsets.report.page import write_report
