"""What `dlcore data check` reports: findings with a code, a severity and the rows that they are about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

# code -> what it is about; the numbers are stable
CODES = {
    "DL-D02": "bytes that are not UTF-8",
    "DL-D03": "rows that are malformed",
    "DL-D04": "rows without text, or without any value",
    "DL-D05": "rows without a label",
    "DL-D06": "rows that occur more than once",
    "DL-D07": "labels with few rows",
    "DL-D08": "labels that are unbalanced, or only one label",
    "DL-D09": "texts that are much longer than others",
    "DL-D10": "texts that are equal but for case, spaces and punctuation",
    "DL-D11": "equal inputs in two parts with different labels",
    "DL-D12": "equal inputs in two parts",
    "DL-D13": "equal inputs with different labels",
    "DL-D14": "labels that the training part does not have",
    "DL-D15": "columns without information",
    "DL-D16": "columns of numbers and text",
    "DL-D17": "words that the training part does not have",
    "DL-D18": "columns that the parts do not share",
    "DL-D20": "pictures that cannot be read",
    "DL-D21": "folders of a class without pictures",
    "DL-D22": "pictures of another size than most",
    "DL-D23": "pictures of one colour",
    "DL-D24": "pictures that are turned, have 16 bits or a palette",
    "DL-D25": "boxes outside their picture",
    "DL-D26": "boxes without an area",
    "DL-D27": "boxes that reach beyond the edge of their picture",
    "DL-D28": "pictures that are annotated and are not there",
    "DL-D29": "pictures without a box",
    "DL-D30": "boxes of a class that is not known",
}
ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Finding:
    """One thing to know.  rows: places in `source`, lines of a file or names of pictures; count: how many there are; samples: what
    stands there, for the first rows."""

    code: str
    severity: str
    message: str
    source: str = ""
    rows: Sequence[Any] = ()
    samples: Sequence[str] = ()

    @property
    def count(self) -> int:
        """How many rows it is about."""
        return len(self.rows)

    def to_json(self, show: int) -> dict[str, Any]:
        """As `--json` prints it, with the first `show` rows."""
        return {
            "code": self.code,
            "severity": self.severity,
            "message": self.message,
            "source": self.source,
            "count": self.count,
            "rows": list(self.rows[:show]),
            "samples": list(self.samples[:show]),
        }


@dataclass
class Report:
    """What was found in the parts of a data set.  summary: facts by part, for people and for `--json`."""

    findings: list[Finding] = field(default_factory=list)
    summary: dict[str, dict[str, Any]] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)

    def add(
        self,
        code: str,
        severity: str,
        message: str,
        source: str = "",
        rows: Sequence[Any] = (),
        samples: Sequence[str] = (),
    ) -> None:
        """One more finding."""
        assert code in CODES
        self.findings.append(Finding(code, severity, message, source, rows, samples))

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(f.severity == ERROR for f in self.findings)

    def to_json(self, show: int) -> dict[str, Any]:
        """As `--json` prints it."""
        return {
            "parts": self.summary,
            "findings": [f.to_json(show) for f in self.findings],
            "errors": self.errors,
            "warnings": sum(f.severity == WARNING for f in self.findings),
        }


def plural(count: int, one: str, many: str = "") -> str:
    """ "1 row", "2 rows"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"
