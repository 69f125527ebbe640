"""A run on one page: `Report` makes a self-contained HTML file with inline SVG; see docs/report.md."""
from __future__ import annotations

from dlcore.report.page import Example, Report

__all__ = ["Example", "Report"]
