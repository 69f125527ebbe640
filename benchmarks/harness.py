"""Speed beside other libraries: workers take turns in one process group, so that a busy moment hits all of them.

A workload (`w1.py`, ...) names cases and runners.  For each case and number of threads every runner starts one worker process
(`peers/*.py`), which builds the workload and then draws samples whenever it is its turn.  Reported are medians with minimum and
maximum over the samples of all turns, in microseconds per step, and the limits of the machine, measured in the same run by
`probe.c`.  The results are one JSON file and one Markdown table.

A step's limit is the longer of two times: its operations at the machine's peak for the precision of its products, and the bytes
that it reads from memory, where a case states them, at the memory's best rate.

Long steps, a few runners at a time: `--case TEXT --runner NAME --merge` adds a call's records to those of earlier calls.  Samples
of a runner that takes part again are pooled as long as there are at most 64, else the newer record stays; how many times faster
dlcore is than a peer is by the medians of calls that both took part in.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAUSE = 0.3  # seconds between turns: the last worker's threads spin for a while after their last job
KEPT = 64  # a record of at most so many samples holds them all
PEAKS = {"": "fma_f32", "float32": "fma_f32", "bf16": "dot_bf16", "int8": "dot_int8"}  # precision -> the limit by probe.c


@dataclass(frozen=True)
class Case:
    """One column of the table.  `flops` per step and `bytes` that it reads from memory give the limit; 0: none to state.

    precision: of the products of rows that do not state their own."""

    part: str
    batch: int
    flops: int = 0
    bytes: int = 0
    precision: str = ""

    def __str__(self) -> str:
        return f"{self.part}, batch {self.batch}"


@dataclass(frozen=True)
class Runner:
    """One row of the table: a library (`peer`), how it runs (`mode`), its script, and the parts that it can do.

    precision: of its products, where the rows of a case differ in it; rows are compared with those of the same."""

    peer: str
    mode: str
    script: str
    parts: tuple[str, ...]
    precision: str = ""

    def __str__(self) -> str:
        return f"{self.peer} {self.mode}"


class Worker:
    """A running worker process."""

    def __init__(self, python: str, runner: Runner, case: Case, threads: int):
        words = [
            python,
            str(HERE / "peers" / runner.script),
            "--mode",
            runner.mode,
            "--part",
            case.part,
            "--batch",
            str(case.batch),
            "--threads",
            str(threads),
        ]
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True
        )
        self.samples: list[float] = []
        self.memory = 0.0  # the most that the process held so far, MiB
        try:
            self.about = self._answer()
        except RuntimeError:
            self.stop()
            raise

    def turn(self, seconds: float) -> None:
        """Draw samples for some seconds."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # of a worker that ended: what it said last is told below
            self.process.stdin.write(json.dumps({"seconds": seconds}) + "\n")
            self.process.stdin.flush()
        answer = self._answer()
        self.samples += answer["samples"]
        self.memory = answer["memory"]

    def stop(self) -> None:
        """End the process, which ends at the end of its input."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()
        self.errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            code = self.process.wait()
            self.errors.seek(0)
            said = (self.errors.read().strip().splitlines() or ["the worker said nothing"])[-1]
            raise RuntimeError(f"{said} (killed by signal {-code})" if code < 0 else said)
        return json.loads(line)


@dataclass
class Report:
    """What a run found: written as JSON, shown as Markdown."""

    workload: str
    machine: dict[str, Any]
    rounds: int
    seconds: float
    calls: int = 1  # of the script, whose records were merged
    limits: list[dict[str, Any]] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def limit(self, name: str, threads: int) -> float:
        """The best rate of the run, in 1e9 operations or bytes a second; 0 where it was not measured."""
        return max(
            (row["best"] for row in self.limits if row["limit"] == name and row["threads"] == threads), default=0.0
        )

    def bound(self, case: Case, precision: str, threads: int) -> float:
        """The least seconds of a step; 0 where none is stated, or a rate that it needs was not measured."""
        amounts = ((case.flops, PEAKS.get(precision, "")), (case.bytes, "read_memory"))
        times = [amount / (self.limit(name, threads) * 1e9 or math.inf) for amount, name in amounts if amount]
        return max(times) if times and all(times) else 0.0

    def state_bounds(self, cases: Sequence[Case]) -> None:
        """Write the limit into the records of these cases."""
        found = {str(case): case for case in cases}
        for record in self.records:
            if case := found.get(record["case"]):
                record["limit"] = self.bound(case, record["precision"] or case.precision, record["threads"])

    def merge(self, earlier: dict[str, Any]) -> None:
        """Take in what an earlier call found."""
        self.calls += earlier.get("calls", 1)
        self.records = [record | {"by_call": {str(self.calls): record["median"]}} for record in self.records]
        extremes: dict[tuple[str, int], dict[str, Any]] = {}
        for row in earlier["limits"] + self.limits:
            seen = extremes.setdefault((row["limit"], row["threads"]), dict(row))
            seen |= {"best": max(seen["best"], row["best"]), "worst": min(seen["worst"], row["worst"])}
        self.limits = list(extremes.values())
        found = {identity(record): record for record in earlier["records"]}
        found |= {identity(record): pooled(found.get(identity(record)), record) for record in self.records}
        self.records = list(found.values())
        solved = tuple(failure_head(*key) for key in found)
        self.failures = [f for f in dict.fromkeys(earlier["failures"] + self.failures) if not f.startswith(solved)]

    def save(self, folder: Path) -> Path:
        """WORKLOAD.json and WORKLOAD.md."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.workload}.json").write_text(json.dumps(self.__dict__, indent=1) + "\n")
        path = folder / f"{self.workload}.md"
        path.write_text(self.markdown())
        return path

    def markdown(self) -> str:
        """A table per number of threads, the limits and the machine."""
        lines = [f"# {self.workload.upper()}, microseconds per step: median [min-max]", ""]
        for threads in sorted({record["threads"] for record in self.records}):
            lines += [f"## {threads} thread{'s' * (threads > 1)}", "", *self._table(threads), ""]
        lines += ["## Most memory of a process, MiB", "", *self._memory(), ""]
        lines += [
            "## Limits of the machine in this run",
            "",
            "| limit | threads | best | worst |",
            "| --- | --- | --- | --- |",
        ]
        for row in self.limits:
            unit = "GB/s" if "memory" in row["limit"] else "Gop/s"
            lines.append(f"| {row['limit']}, {unit} | {row['threads']} | {row['best']} | {row['worst']} |")
        lines += ["", "## Machine", "", *(f"* {key}: {value}" for key, value in self.machine.items())]
        lines += [
            "",
            f"{self.rounds} turns of {self.seconds:g} s for each worker and case{f', {self.calls} calls' * (self.calls > 1)}.",
            *(f"* not measured: {f}" for f in self.failures),
        ]
        return "\n".join(lines) + "\n"

    def _table(self, threads: int) -> list[str]:
        records = [record for record in self.records if record["threads"] == threads]
        cases = list(dict.fromkeys(record["case"] for record in records))
        found = {(record["runner"], record["case"]): record for record in records}
        best = {case: min(record["median"] for record in records if record["case"] == case) for case in cases}
        rows = ["| | " + " | ".join(cases) + " |", "| --- |" + " --- |" * len(cases)]
        for runner in dict.fromkeys(record["runner"] for record in records):
            cells = []
            for case in cases:
                record = found.get((runner, case))
                mark = "**" if record and record["median"] == best[case] else ""
                cells.append(
                    f"{mark}{micro(record['median'])}{mark} [{micro(record['min'])}-{micro(record['max'])}]"
                    if record
                    else ""
                )
            rows.append(f"| {runner} | " + " | ".join(cells) + " |")
        precisions = sorted({record.get("precision", "") for record in records})
        for precision in precisions:
            alike = [record for record in records if record.get("precision", "") == precision]
            words = f"dlcore against the best peer{precision and ', ' + precision}"
            rows.append(f"| *{words}* | " + " | ".join(self._ratio(alike, case) for case in cases) + " |")
        for precision in precisions:
            limits = {r["case"]: r["limit"] for r in records if r.get("precision", "") == precision}
            cells = [micro(limits[case]) if limits.get(case) else "" for case in cases]
            rows.append(f"| *limit{precision and ', ' + precision}* | " + " | ".join(cells) + " |")
        return rows

    def _memory(self) -> list[str]:
        """A row per runner: the largest of its processes, over numbers of threads."""
        cases = list(dict.fromkeys(record["case"] for record in self.records))
        rows = ["| | " + " | ".join(cases) + " |", "| --- |" + " --- |" * len(cases)]
        for runner in dict.fromkeys(record["runner"] for record in self.records):
            found = [
                max((r["memory"] for r in self.records if (r["runner"], r["case"]) == (runner, case)), default=0)
                for case in cases
            ]
            rows.append(f"| {runner} | " + " | ".join(str(most or "") for most in found) + " |")
        return rows

    @staticmethod
    def _ratio(records: Sequence[dict[str, Any]], case: str) -> str:
        """Of medians of one call each: a peer is compared with what took turns with it, by the median of its calls."""
        ours: dict[str, float] = {}
        for record in records:
            if record["case"] == case and record["peer"] == "dlcore":
                for call, median in by_call(record).items():
                    ours[call] = min(median, ours.get(call, math.inf))
        peers = [r for r in records if r["case"] == case and r["peer"] != "dlcore"]
        ratios = [[median / ours[call] for call, median in by_call(r).items() if call in ours] for r in peers]
        found = [statistics.median(each) for each in ratios if each]
        return f"{min(found):.2f} times faster" if found else ""


def micro(seconds: float) -> str:
    """Microseconds with three digits."""
    value = seconds * 1e6
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def identity(record: dict[str, Any]) -> tuple[str, str, int]:
    """What a record is of: runner, case, threads."""
    return record["runner"], record["case"], record["threads"]


def by_call(record: dict[str, Any]) -> dict[str, float]:
    """The median of each call that a record is of."""
    return record.get("by_call", {"1": record["median"]})


def failure_head(runner: Any, case: Any, threads: int) -> str:
    """How the line of a failure begins."""
    return f"{runner}, {case}, {threads} threads: "


def summary(samples: Sequence[float]) -> dict[str, Any]:
    """The figures of a record, in seconds."""
    kept = {"kept": [round(sample, 7) for sample in samples]} if len(samples) <= KEPT else {}
    return {
        "median": statistics.median(samples),
        "min": min(samples),
        "max": max(samples),
        "samples": len(samples),
        **kept,
    }


def pooled(old: dict[str, Any] | None, new: dict[str, Any]) -> dict[str, Any]:
    """Two records of the same in one, where both have all their samples and are few and of one version; else the newer."""
    if not old or old["version"] != new["version"] or not ("kept" in old and "kept" in new):
        return new
    samples = old["kept"] + new["kept"]
    both = {**summary(samples), "by_call": by_call(old) | by_call(new), "memory": max(old["memory"], new["memory"])}
    return new | both if len(samples) <= KEPT else new


def machine() -> dict[str, Any]:
    """What somebody needs to know to compare figures."""
    facts: dict[str, Any] = {
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "date": time.strftime("%Y-%m-%d"),
    }
    try:
        rows = subprocess.run(
            ["lscpu"], capture_output=True, text=True, check=True, env={**os.environ, "LC_ALL": "C"}
        ).stdout
        fields = dict(row.split(":", 1) for row in rows.splitlines() if ":" in row)
        for key in (
            "Architecture",
            "Model name",
            "CPU family",
            "Model",
            "Thread(s) per core",
            "L1d cache",
            "L2 cache",
            "L3 cache",
            "Hypervisor vendor",
        ):
            if key in fields:
                facts[key] = fields[key].strip()
        flags = set(fields.get("Flags", "").split())
        facts["vector instructions"] = ", ".join(sorted(f for f in flags if f.startswith(("avx", "amx", "fma"))))
    except (OSError, subprocess.CalledProcessError):
        facts["processor"] = platform.processor()
    memory = Path("/proc/meminfo")
    if memory.exists():
        facts["memory, GiB"] = round(int(memory.read_text().split()[1]) / 2**20, 1)
    facts["compiler"] = subprocess.run(["gcc", "--version"], capture_output=True, text=True).stdout.partition("\n")[0]
    facts["load average at the start"] = os.getloadavg()[0]
    return facts


def limits(threads: int) -> list[dict[str, Any]]:
    """The machine's peaks, best of 15, by a C program that is compiled here."""
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "probe"
        native = "-mcpu=native" if platform.machine() == "aarch64" else "-march=native"
        subprocess.run(
            ["gcc", "-O3", native, "-ffp-contract=fast", "-pthread", str(HERE / "probe.c"), "-o", str(program)],
            check=True,
        )
        out = subprocess.run([str(program), str(threads)], check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in out.splitlines()]


def measure(report: Report, case: Case, runners: Sequence[Runner], pythons: dict[str, str], threads: int) -> None:
    """All runners on one case, in turns; appends to the report."""
    workers: list[tuple[Runner, Worker]] = []
    try:
        for runner in runners:
            if case.part not in runner.parts:
                continue
            try:
                workers.append((runner, Worker(pythons[runner.peer], runner, case, threads)))
            except RuntimeError as fault:
                report.failures.append(f"{failure_head(runner, case, threads)}{fault}")
        for _ in range(report.rounds):
            for runner, worker in list(workers):
                time.sleep(PAUSE)
                try:
                    worker.turn(report.seconds)
                except RuntimeError as fault:
                    report.failures.append(f"{failure_head(runner, case, threads)}{fault}")
                    workers.remove((runner, worker))
                    worker.stop()
        for runner, worker in workers:
            report.records.append(
                {
                    "case": str(case),
                    "runner": str(runner),
                    "peer": runner.peer,
                    "mode": runner.mode,
                    "precision": runner.precision,
                    "threads": threads,
                    **summary(worker.samples),
                    "limit": 0.0,  # the end of the run knows it
                    "memory": round(worker.memory),
                    **worker.about,
                }
            )
    finally:
        for _, worker in workers:
            worker.stop()


def main(
    workload: str, cases: Sequence[Case], runners: Sequence[Runner], arguments: Sequence[str] | None = None
) -> int:
    """The command line of a workload's script."""
    parser = argparse.ArgumentParser(
        description=f"Workload {workload.upper()} in dlcore and other libraries, in turns."
    )
    parser.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=PYTHON",
        help="a library and the interpreter that has it: " + ", ".join(sorted({r.peer for r in runners} - {"dlcore"})),
    )
    parser.add_argument(
        "--dlcore", default=sys.executable, metavar="PYTHON", help="the interpreter that has dlcore [this one]"
    )
    parser.add_argument("--threads", default="1,2", help="numbers of threads [1,2]")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each worker [10]")
    parser.add_argument("--seconds", type=float, default=0.5, help="seconds of a turn [0.5]")
    parser.add_argument("--case", action="append", help="only cases whose name holds this text")
    parser.add_argument("--runner", action="append", help="only runners of this name, such as 'torch medium'")
    parser.add_argument("--name", default=workload, help="name of the result's files [the workload's]")
    parser.add_argument("--merge", action="store_true", help="add to the result's files, where they are, in place of new ones")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results [benchmarks/results]")
    options = parser.parse_args(arguments)
    pythons = {"dlcore": options.dlcore, **dict(text.split("=", 1) for text in options.peer)}
    unknown = pythons.keys() - {runner.peer for runner in runners}
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}")
    runners = [runner for runner in runners if runner.peer in pythons]
    runners = [runner for runner in runners if not options.runner or str(runner) in options.runner]
    chosen = [case for case in cases if not options.case or any(text in str(case) for text in options.case)]
    report = Report(options.name, machine(), options.rounds, options.seconds)
    counts = [int(text) for text in options.threads.split(",")]
    for threads in counts:
        report.limits += limits(threads)
    for threads in counts:
        for case in chosen:
            print(f"{case}, {threads} threads", file=sys.stderr, flush=True)
            measure(report, case, runners, pythons, threads)
    for threads in counts:  # again: the best of the run counts, and the drift shows
        report.limits += limits(threads)
    failed = bool(report.failures)
    earlier = options.out / f"{options.name}.json"
    if options.merge and earlier.exists():
        report.merge(json.loads(earlier.read_text()))
    report.state_bounds(cases)
    path = report.save(options.out)
    print(path.read_text())
    return int(failed)
