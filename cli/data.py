"""`dlcore data check|show|split|convert|get`: work on data before, between and after training."""

from __future__ import annotations

from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import result, result_json
from dlcore.cli.options import Finite
from dlcore.errors import DataError, UsageError

MARKS = {"error": "✗", "warning": "!", "note": "·"}


@click.group(short_help="Check, show, split, convert and fetch data.", no_args_is_help=True)
def command() -> None:
    """Work on data.

    \b
    dlcore data check train.csv --test test.csv
    dlcore data show photos/
    dlcore data split reviews.csv --val 0.1 --test 0.1 --out parts
    dlcore data convert train.csv train.jsonl.gz
    dlcore data get https://example.org/train.csv --sha256 9f86d08...
    """


def columns(function: Any) -> Any:
    """--label-col and --text-col."""
    function = click.option("--text-col", metavar="NAME", default="", help="Column of the text.")(function)
    return click.option("--label-col", metavar="NAME", default="", help="Column of the answer.")(function)


@command.command(short_help="Look for what would spoil training.", no_args_is_help=True)
@click.argument("path")
@click.option("--val", metavar="PATH", help="The validation part, compared with PATH.")
@click.option("--test", metavar="PATH", help="The test part, compared with PATH.")
@columns
@click.option("--max-len", type=options.Whole(min=1), default=None, help="Words from which a text is too long.")
@click.option("--show", type=options.Whole(min=0), default=None, help="Rows shown for each finding.")
@options.common
def check(
    path: str,
    val: str | None,
    test: str | None,
    label_col: str,
    text_col: str,
    max_len: int | None,
    show: int | None,
    as_json: bool,
) -> None:
    """Look through PATH, a table or pictures, and say what would spoil training, each finding with a code.

    Exit code 4 where a finding is an error (✗); warnings (!) and notes (·) are for you to judge.
    """
    from dlcore.data.inspect import check as look

    sources = {name: source for name, source in (("train", path), ("val", val), ("test", test)) if source}
    report = look(sources, label_col, text_col, max_len or 0)
    if as_json:
        result_json(report.to_json(10 if show is None else show))
    else:
        for line in described(report, show):
            result(line)
    if report.errors:
        raise click.exceptions.Exit(DataError.exit_code)


def described(report: Any, show: int | None) -> list[str]:
    """The report for people: what is wrong first, then what was read."""
    order = {"error": 0, "warning": 1, "note": 2}
    found = []
    for finding in sorted(report.findings, key=lambda f: (order[f.severity], f.code)):
        line = f"{MARKS[finding.severity]} {finding.code}  {finding.message}"
        if finding.rows and not show:
            few = ", ".join(str(row) for row in finding.rows[:3])
            line += f"     rows {few}" + (f" … (--show {finding.count})" if finding.count > 3 else "")
        found.append(line)
        for i, row in enumerate(finding.rows[: show or 0]):
            sample = finding.samples[i] if i < len(finding.samples) else ""
            found.append(f"      {finding.source}:{row}  {sample}".rstrip())
    mark = "✗" if report.errors else "✓"
    return found + [f"{mark} {line}" for line in report.lines]


@command.command(short_help="Show what is read from a file or folder.", no_args_is_help=True)
@click.argument("path")
@click.option("-n", "--rows", type=options.Whole(min=0), default=5, show_default=True, help="Rows shown.")
@options.common
def show(path: str, rows: int, as_json: bool) -> None:
    """Show columns, kinds and the first rows of PATH as dlcore reads it."""
    from dlcore.data.inspect import show as look

    report = look(path, rows)
    if as_json:
        result_json(report)
    else:
        for line in shown(report):
            result(line)


def shown(report: dict[str, Any]) -> list[str]:
    """`data show` for people."""
    lines = list(report["notes"])
    for part, classes in report.get("classes", {}).items():
        counts = ", ".join(f"{name} {count:,}" for name, count in list(classes.items())[:20])
        lines.append(f"{part}: {counts}" + (" ..." if len(classes) > 20 else ""))
    if "columns" in report:
        width = max(len(name) for name in report["columns"])
        lines += [f"  {name:<{width}}  {about}" for name, about in report["columns"].items()]
        for line, row in zip(report["lines"], report["rows"], strict=True):
            lines.append(f"{line:>6}  " + " | ".join("" if cell is None else str(cell)[:60] for cell in row))
    return lines


@command.command(short_help="Divide a table into parts.", no_args_is_help=True)
@click.argument("path")
@click.option("--out", required=True, metavar="FOLDER", help="Where train, val and test are written; made if need be.")
@click.option("--val", type=Finite(0, 1, closed=True), default=0.1, show_default=True, help="Share for validation.")
@click.option("--test", type=Finite(0, 1, closed=True), default=0.1, show_default=True, help="Share for testing.")
@click.option("--seed", type=options.Whole(min=0, max=2**63 - 1), default=0, show_default=True)
@click.option("--label-col", metavar="NAME", default="", help="Divide every label of this column alike.")
@click.option("--group-col", metavar="NAME", default="", help="Keep rows with the same value in one part.")
@click.option("--time-col", metavar="NAME", default="", help="Test on the last rows by this column, validate before.")
@options.common
def split(path: str, out: str, as_json: bool, **given: Any) -> None:
    """Divide PATH into train, val and test, in the same format, by seed alone; nothing is overwritten."""
    from dlcore.data.partition import divide

    report = divide(path, out, **given)
    if as_json:
        result_json(report)
    else:
        for name, part in report["parts"].items():
            result(f"{name:<6}{part['rows']:>10,} rows  {part['path']}")


@command.command(short_help="Write a table or images in another format.", no_args_is_help=True)
@click.argument("source")
@click.argument("target")
@columns
@click.option("--size", metavar="HxW", help="Bring images to this size.")
@options.common
def convert(source: str, target: str, label_col: str, text_col: str, size: str | None, as_json: bool) -> None:
    """Read SOURCE and write TARGET in the format that its name says.

    Tables: .csv .tsv .jsonl .ft .libsvm .txt .npz, all but npz also with .gz. Images: .npz. A name that ends in .cache makes a
    folder that is trained on without being loaded: dlcore train reads it where it lies.
    """
    from dlcore.data.convert import convert as write

    report = write(source, target, label_col=label_col, text_col=text_col, size=size or "")
    if as_json:
        result_json(report)
    else:
        result(f"{report['rows']:,} rows  {report['path']}")


@command.command(short_help="Fetch a file by its address.", no_args_is_help=True)
@click.argument("url")
@click.option("-o", "--out", metavar="PATH", default="", help="The file to write.  [default: the address's last part]")
@click.option("--sha256", metavar="HEX", default="", help="What the file's SHA-256 must be.")
@click.option("--offline", is_flag=True, help="Fetch nothing: only check that the file is there.")
@options.common
def get(url: str, out: str, sha256: str, offline: bool, as_json: bool) -> None:
    """Fetch URL, going on where an earlier try was cut off; the file appears whole or not at all."""
    from dlcore.data.fetch import fetch

    if sha256 and (len(sha256) != 64 or not set(sha256.lower()) <= set("0123456789abcdef")):
        raise UsageError("--sha256 is no SHA-256", expected="64 hexadecimal digits", got=sha256[:70])
    report = fetch(url, out, sha256.lower(), offline)
    if as_json:
        result_json(report)
    else:
        result(
            f"{report['bytes']:,} bytes  {report['path']}\nsha256 {report['sha256']}"
            + ("  (was there)" if report["was_there"] else "")
        )
