"""Reports on evaluations: what was found, and how it is written down."""

from __future__ import annotations

from playground.reports.records import case_record, constraint_records, totals_record
from playground.reports.report import CaseReport, Report, cases_of, report_of
from playground.reports.writing import FORMATS, Format, written

__all__ = [
    "FORMATS",
    "CaseReport",
    "Format",
    "Report",
    "case_record",
    "cases_of",
    "constraint_records",
    "report_of",
    "totals_record",
    "written",
]
