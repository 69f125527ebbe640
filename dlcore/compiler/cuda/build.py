"""The build for CUDA: kernels that are missing from the cache, workers that make them, the archive and its index.

`kernels_cuda.json`   calls, lowerings, and for each entry its launch shape, ptxas' report and the place of its code in
`kernels_cuda.bin`    their PTX and cubins (`archive.py`)
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import multiprocessing
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dlcore.compiler import rooms
from dlcore.compiler.build import ROOT, locked, replace
from dlcore.compiler.cuda import entry, toolkit
from dlcore.compiler.cuda.archive import pack
from dlcore.compiler.cuda.language import CUDA_LOWERINGS, KERNELS, CudaKernel
from dlcore.compiler.digest import describe
from dlcore.compiler.gate import CompileError
from dlcore.compiler.language import Function
from dlcore.compiler.rooms import PACKAGE
from dlcore.graph.declaration import DECLARATIONS
from dlcore.graph.spec import Spec

VERSION = 5
INDEX, ARCHIVE = "kernels_cuda.json", "kernels_cuda.bin"
SOURCES = ("toolkit.py", "intrinsics.py", "vectors.py")  # that all kernels are made of; of those for one architecture: OWN_SOURCES
OWN_SOURCES = ("hopper.py",)


@dataclass(frozen=True)
class Job:
    """One entry: a kernel for one choice of dtypes."""

    kernel: CudaKernel
    spec: Spec
    bound: tuple[tuple[str, str], ...]
    own: tuple[CudaKernel, ...] = ()  # for single architectures

    @property
    def dtypes(self) -> str:
        return self.spec.key(dict(self.bound))

    @property
    def symbol(self) -> str:
        return f"dl_{self.spec.name}_{self.dtypes}"

    def digest(self) -> str:
        parts = [_toolchain(), self.symbol, repr(self.bound), self.spec.text, self.spec.over, repr(self.spec.lists)]
        made = entry.build(self.kernel, self.spec)
        parts += [made.text, made.blocks, str(made.block)]
        parts += [_digest_of(name) for name in OWN_SOURCES if self.own]
        for k in (self.kernel, *self.own):
            parts += [k.arch, k.over, *map(str, (k.block, k.shared, k.cluster, k.beside))]
            parts += describe(Function(k.python, inline=True))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _toolchain() -> str:
    return "\n".join([toolkit.NUMBA_CUDA, repr(toolkit.CAPABILITY), repr(toolkit.ARCHES), *map(_digest_of, SOURCES)])


def _digest_of(name: str) -> str:
    return hashlib.sha256((Path(__file__).parent / name).read_bytes()).hexdigest()


def room_modules() -> list[str]:
    found = [p for family in ("ops", "optim") for p in sorted((PACKAGE / family).glob("*/cuda.py"))]
    return [f"dlcore.{p.parent.parent.name}.{p.parent.name}.cuda" for p in found]


def load(modules: list[str] | None = None) -> list[str]:
    """Imports the rooms' device files, filling the registries; returns their faults."""
    faults = []
    for module in room_modules() if modules is None else modules:
        try:
            importlib.import_module(module)
        except Exception as e:  # a room's own fault is reported beside those of the others
            faults.append(f"{module}: {type(e).__name__}: {e}")
    return faults


def jobs() -> list[Job]:
    found = []
    for name, kernels in sorted(KERNELS.items()):
        spec = rooms.spec_of(name)
        for bound in spec.variants():
            serving = [k for k in kernels if k.serves(spec.key(bound))]
            common, own = [k for k in serving if not k.arch], tuple(k for k in serving if k.arch)
            if len(common) > 1 or (own and not common) or len({k.arch for k in own}) < len(own):
                raise CompileError(f"{len(common)} and {len(own)} CUDA kernels {name!r} for {spec.key(bound)}")
            found += [Job(k, spec, tuple(bound.items()), own) for k in common]
    return found


def _start(modules: list[str] | None) -> None:
    toolkit.prepare()
    load(modules)


def _compile(symbol: str, path: str) -> str:
    """Runs in a worker: the fault, or ''."""
    try:
        job = next(j for j in jobs() if j.symbol == symbol)
        made = compile_job(job)
        unfinished = Path(path).with_suffix(f".{os.getpid()}")
        unfinished.write_text(json.dumps(made))
        unfinished.rename(path)
    except Exception as e:  # whatever is wrong with one kernel is reported, and the next one is compiled
        return f"{symbol}: {type(e).__name__}: {e}"
    return ""


def _ptx(kernel: CudaKernel, job: Job) -> tuple[str, entry.Entry]:
    """The PTX of one of a job's kernels, with what it says of its blocks."""
    ptx, made = toolkit.to_ptx(kernel, job.spec, dict(job.bound), job.symbol)
    said = f".minnctapersm {kernel.beside}\n" if kernel.beside else ""
    if kernel.cluster > 1:  # its blocks run in clusters, however it is launched
        said += f".explicitcluster\n.reqnctapercluster {kernel.cluster}, 1, 1\n"
    return re.sub(r"(\.maxntid[^\n]*\n)", lambda line: line[1] + said, ptx), made


def compile_job(job: Job) -> dict[str, Any]:
    """PTX, cubins (base64) and reports of a job."""
    ptx, made = _ptx(job.kernel, job)
    cubins, reports, own, launches = {}, {}, {}, {}
    for k in job.own:
        own[k.arch], other = _ptx(k, job)
        launches[k.arch] = {"blocks": other.blocks, "block": other.block, "shared": k.shared}
    with tempfile.TemporaryDirectory() as folder:
        for arch in toolkit.ARCHES:
            data, reports[arch] = toolkit.to_cubin(own.get(arch, ptx), arch, Path(folder))
            cubins[arch] = base64.b64encode(data).decode()
    common = {"blocks": made.blocks, "block": made.block, "shared": job.kernel.shared}
    return {"ptx": ptx, "own": own, "cubins": cubins, "reports": reports, "launch": common, "own_launches": launches}


def _code(made: dict[str, Any]) -> dict[str, bytes]:
    """The parts of an entry's code by name."""
    parts = {"ptx": made["ptx"].encode()} | {f"ptx {arch}": text.encode() for arch, text in made["own"].items()}
    return parts | {arch: base64.b64decode(data) for arch, data in made["cubins"].items()}


@dataclass
class CudaBuild:
    """What to build, and where; as `dlcore.compiler.build.Build`."""

    output: Path
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    cache: Path = ROOT / "build" / "kernels"
    modules: list[str] | None = None
    say: Callable[[str], None] = print

    def run(self) -> None:
        """Builds; CompileError lists every fault, after everything else has been built."""
        toolkit.prepare()
        self.cache.mkdir(parents=True, exist_ok=True)
        with locked(self.cache / "cuda.lock", self.say):
            faults = load(self.modules)
            for name, alternatives in CUDA_LOWERINGS.items():
                try:
                    rooms.check_lowerings(name, alternatives)
                except Exception as e:  # reported beside the others
                    faults.append(f"lowering of {name}: {e}")
            found = jobs()
            paths = {job.symbol: self.cache / f"{job.digest()}.cuda" for job in found}
            absent = [job.symbol for job in found if not paths[job.symbol].exists()]
            if absent:
                self.say(f"compiling {len(absent)} of {len(found)} kernels for {', '.join(toolkit.ARCHES)}")
                faults += self.compile(absent, paths)
            self.finish([job for job in found if paths[job.symbol].exists()], paths)
        if faults:
            raise CompileError(f"{len(faults)} faults in the CUDA kernels\n" + "\n".join(faults))

    def compile(self, absent: list[str], paths: dict[str, Path]) -> list[str]:
        """Spawned processes, because Numba is not fork-safe once it has run; one job at a time each."""
        context = multiprocessing.get_context("spawn")
        workers = max(1, min(self.workers, len(absent)))
        with context.Pool(workers, _start, (self.modules,)) as pool:
            return [f for f in pool.starmap(_compile, [(s, str(paths[s])) for s in absent], chunksize=1) if f]

    def finish(self, built: list[Job], paths: dict[str, Path]) -> None:
        """The archive and its index, each replaced at once, and only if it changes."""
        self.output.mkdir(parents=True, exist_ok=True)
        calls: dict[str, Any] = {}
        for name, declaration in sorted(DECLARATIONS.items()):
            spec = declaration.spec
            calls[name] = {"spec": spec.text, "over": spec.over, "flops": declaration.flops, "F": list(spec.lists["F"])}
            calls[name] |= {"G": list(spec.lists["G"]), "entries": {}}
        found = [json.loads(paths[job.symbol].read_text()) for job in built]
        archive, places = pack([_code(made) for made in found], self.cache, self.workers)
        for job, made, place in zip(built, found, places, strict=True):
            calls[job.spec.name]["entries"][job.dtypes] = {
                "symbol": job.symbol,
                **made["launch"],
                "own_launches": {k.arch: made["own_launches"][k.arch] | {"cluster": k.cluster} for k in job.own},
                "reports": made["reports"],
                "piece": place.piece,
                "ptx": place.parts.pop("ptx"),
                "own_ptx": {arch: place.parts.pop(f"ptx {arch}") for arch in made["own"]},
                "cubins": place.parts,
            }
        lowerings = {
            name: [
                {"steps": [[n, list(r), list(w)] for n, r, w in each.steps], "when": each.when, "product": each.product}
                for each in alternatives
            ]
            for name, alternatives in sorted(CUDA_LOWERINGS.items())
        }
        index = {"version": VERSION, "arches": list(toolkit.ARCHES), "bytes": len(archive), "calls": calls}
        replace(self.output / ARCHIVE, archive)
        replace(self.output / INDEX, (json.dumps(index | {"lowerings": lowerings}, indent=1) + "\n").encode())
        self.say(f"{self.output / ARCHIVE}: {len(built)} CUDA kernels, {len(archive) / 1e6:.2f} MB")
