"""The build: which objects are missing, workers that make them, the link, `kernels.json`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlcore.compiler import levels, rooms
from dlcore.compiler.digest import c99_digest, object_digest
from dlcore.compiler.gate import CompileError
from dlcore.compiler.language import LOWERINGS
from dlcore.compiler.levels import Level
from dlcore.compiler.rooms import PACKAGE, Job
from dlcore.errors import DlcoreError
from dlcore.graph.declaration import DECLARATIONS

ROOT = PACKAGE.parent
VERSION = 1  # of kernels.json
CROSS_COMPILERS = {"aarch64": "aarch64-linux-gnu-gcc", "x86_64": "x86_64-linux-gnu-gcc"}


@dataclass
class Build:
    """What to build, and where.

    levels: of one architecture.  output: the folder of kernels.so and kernels.json.  cache: the folder of the objects.
    modules: device files of rooms, None: all.  Faults of rooms and kernels are collected; what is sound is built."""

    levels: list[Level]
    output: Path
    wide: bool = False
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    cache: Path = ROOT / "build" / "kernels"
    modules: list[str] | None = None
    say: Callable[[str], None] = print
    faults: list[str] = field(default_factory=list)

    def run(self) -> None:
        """Builds; CompileError lists every fault, after everything else has been built."""
        self.cache.mkdir(parents=True, exist_ok=True)
        with locked(self.recipe.with_suffix(".lock"), self.say):
            self.faults += [f"{module}: {type(e).__name__}: {e}" for module, e in rooms.load(self.modules).items()]
            for name, alternatives in LOWERINGS.items():
                with self.noted(f"lowering of {name}"):
                    rooms.check_lowerings(name, alternatives)
            jobs = self.jobs()
            paths = {job.symbol: self.cache / f"{object_digest(job)}.o" for job in jobs}
            missing = [job for job in jobs if not paths[job.symbol].exists()]
            if missing:
                touched = {job.level.name for job in missing}
                self.say(
                    f"compiling {len(missing)} of {len(jobs)} kernels for {', '.join(sorted(touched))}"
                    + (" (wide)" if self.wide else "")
                )
                self.compile(missing, paths)
            self.finish([job for job in jobs if paths[job.symbol].exists()], paths)
            if not self.wide:
                self.translate()
        if self.faults:
            raise CompileError(f"{len(self.faults)} faults in the kernels\n" + "\n".join(self.faults))

    @property
    def recipe(self) -> Path:
        """What the library was linked of last: lines of "symbol object"."""
        return self.cache / f"{zlib.crc32(str(self.output.resolve()).encode()):08x}.link"

    def jobs(self) -> list[Job]:
        found: list[Job] = []
        for level in self.levels:
            for name, kernels in sorted(rooms.KERNELS.items()):
                with self.noted(f"kernel {name}"):
                    found += rooms.jobs_of(kernels, rooms.spec_of(name), level, self.wide)
        return found

    @contextlib.contextmanager
    def noted(self, what: str) -> Iterator[None]:
        try:
            yield
        except (DlcoreError, OSError) as e:
            self.faults.append(f"{what}: {e}")

    # ---- compiling --------------------------------------------------------------------------------------------------
    def compile(self, missing: list[Job], paths: dict[str, Path]) -> None:
        """Shares the jobs out among workers; a worker stays with its level until that has none left."""
        queues = {level.name: [j for j in missing if j.level is level] for level in self.levels}
        lock = threading.Lock()

        def serve() -> None:
            while True:
                with lock:
                    name = max(queues, key=lambda each: len(queues[each]))
                    if not queues[name]:
                        return
                self.drain(levels.LEVELS[name], queues[name], lock, paths)

        threads = [threading.Thread(target=serve) for _ in range(max(1, min(self.workers, len(missing))))]
        for t in threads:
            t.start()
        for t in threads:
            t.join()

    def drain(self, level: Level, queue: list[Job], lock: threading.Lock, paths: dict[str, Path]) -> None:
        command = [sys.executable, "-m", "dlcore.compiler.worker", *(self.modules or [])]
        with subprocess.Popen(
            command, env=worker_environment(level, self.wide), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            assert process.stdin is not None and process.stdout is not None
            while True:
                with lock:
                    if not queue:
                        return process.stdin.close()
                    job = queue.pop()
                answer = ""
                with contextlib.suppress(BrokenPipeError):
                    process.stdin.write(
                        json.dumps({"name": job.spec.name, "dtypes": job.dtypes, "path": str(paths[job.symbol])}) + "\n"
                    )
                    process.stdin.flush()
                    answer = process.stdout.readline()
                error = json.loads(answer)["error"] if answer else "the compiler's process ended"
                if error:
                    self.faults.append(f"{job.symbol}: {error}")
                if not answer:
                    return None

    # ---- linking ----------------------------------------------------------------------------------------------------
    def finish(self, jobs: list[Job], paths: dict[str, Path]) -> None:
        """kernels.so and kernels.json, each replaced at once, and only if it changes."""
        self.output.mkdir(parents=True, exist_ok=True)
        objects = {job.symbol: paths[job.symbol] for job in jobs}
        library, table = self.output / "kernels.so", self.output / "kernels.json"
        wanted = "\n".join(f"{symbol} {path.name}" for symbol, path in objects.items())
        if not (library.exists() and self.recipe.exists() and self.recipe.read_text() == wanted):
            link(self.levels[0].arch, list(objects.values()), library)
            self.recipe.write_text(wanted)
        replace(table, (json.dumps(self.table(jobs), indent=1) + "\n").encode())
        self.say(f"{library}: {len(jobs)} kernels, {library.stat().st_size / 1e6:.2f} MB")

    def translate(self) -> None:
        """kernels_c99.json, unless what it holds is what there is."""
        path = self.output / "kernels_c99.json"
        kernels = [k for _, group in sorted(rooms.KERNELS.items()) for k in group]
        with self.noted("C99"):
            digest = c99_digest(kernels)
            if path.exists() and json.loads(path.read_text()).get("digest") == digest:
                return
            from dlcore.compiler import c99

            data, faults = c99.translate()
            self.faults += faults
            replace(path, (json.dumps({"digest": "" if faults else digest, **data}, indent=1) + "\n").encode())

    def table(self, jobs: list[Job]) -> dict[str, Any]:
        """The contents of kernels.json."""
        calls: dict[str, Any] = {}
        for name, declaration in sorted(DECLARATIONS.items()):
            spec = declaration.spec
            calls[name] = {
                "spec": spec.text,
                "over": spec.over,
                "flops": declaration.flops,
                "F": list(spec.lists["F"]),
                "G": list(spec.lists["G"]),
                "entries": {"cpu": {}},
            }
        for job in jobs:
            calls[job.spec.name]["entries"]["cpu"].setdefault(job.level.name, {})[job.dtypes] = job.symbol
        lowerings = {
            name: [
                {
                    "steps": [[inner, list(reads), list(writes)] for inner, reads, writes in each.steps],
                    "when": each.when,
                    "product": each.product,
                    **({"held": each.held} if each.held else {}),
                }
                for each in alternatives
            ]
            for name, alternatives in sorted(LOWERINGS.items())
        }
        return {
            "version": VERSION,
            "arch": self.levels[0].arch,
            "wide": self.wide,
            "order": [level.name for level in self.levels],
            "levels": {level.name: {"constants": level.constants} for level in self.levels},
            "calls": calls,
            "lowerings": lowerings,
        }


def worker_environment(level: Level, wide: bool) -> dict[str, str]:
    found = levels.environment(level, wide)
    found["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [found.get("PYTHONPATH", "")])])
    return found


def link(arch: str, objects: list[Path], library: Path) -> None:
    """A shared library of libc and libm alone.  CompileError where the linker refuses."""
    compiler = os.environ.get("CC", "cc") if arch == levels.host_arch() else CROSS_COMPILERS[arch]
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        made, listed = Path(folder) / library.name, Path(folder) / "objects"
        listed.write_text("\n".join(f'"{path}"' for path in objects))
        command = [
            *compiler.split(),
            "-shared",
            "-nostartfiles",
            "-s",
            "-o",
            str(made),
            f"@{listed}",
            "-lm",
            "-Wl,-z,defs,-z,noexecstack,-z,relro,-z,now,--build-id=none,-soname,kernels.so",
        ]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CompileError("the kernels cannot be linked", where=" ".join(command), got=done.stderr.strip())
        made.rename(library)


def replace(path: Path, data: bytes) -> None:
    """Writes a file at once, and only if it changes."""
    if path.exists() and path.read_bytes() == data:
        return
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(data)
    unfinished.rename(path)


@contextlib.contextmanager
def locked(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One build of an output at a time; others wait, and then find its objects."""
    with open(path, "w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build")
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
