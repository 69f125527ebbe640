"""Finding the rooms and what they declare."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dlcore.compiler.language import KERNELS, Kernel, Lowering
from dlcore.compiler.levels import Level
from dlcore.errors import SpecError
from dlcore.graph.declaration import DECLARATIONS
from dlcore.graph.spec import Spec, condition

PACKAGE = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Job:
    """One object: a kernel for one level and one choice of dtypes."""

    kernel: Kernel
    spec: Spec
    level: Level
    bound: tuple[tuple[str, str], ...]  # (variable, dtype)
    wide: bool

    @property
    def dtypes(self) -> str:
        return self.spec.key(dict(self.bound), self.wide)

    @property
    def symbol(self) -> str:
        return f"dl_{self.spec.name}_{self.dtypes}_{self.level.name}"


def room_modules() -> list[str]:
    """The device files of all rooms: a room is a folder with `__init__.py` and `cpu.py`."""
    found = [p for family in ("ops", "optim") for p in sorted((PACKAGE / family).glob("*/cpu.py"))]
    return [f"dlcore.{p.parent.parent.name}.{p.parent.name}.cpu" for p in found if (p.parent / "__init__.py").exists()]


def load(modules: list[str] | None = None) -> dict[str, Exception]:
    """Imports the rooms (all, or these modules), filling the registries; returns those that could not be imported."""
    failed: dict[str, Exception] = {}
    for module in room_modules() if modules is None else modules:
        try:
            importlib.import_module(module)
        except Exception as e:  # a room's own fault, of whatever kind, is reported beside those of the others
            failed[module] = e
    return failed


def spec_of(name: str) -> Spec:
    if name not in DECLARATIONS:
        raise SpecError(f"no call {name!r} is declared", hint=f'declare it: call("{name}(...)", over=...)')
    return DECLARATIONS[name].spec


def jobs(level: Level, wide: bool = False) -> Iterator[Job]:
    """Every object that a level needs; SpecError where two kernels claim the same."""
    for name, kernels in sorted(KERNELS.items()):
        yield from jobs_of(kernels, spec_of(name), level, wide)


def jobs_of(kernels: list[Kernel], spec: Spec, level: Level, wide: bool) -> Iterator[Job]:
    """The objects of one call.  A special level has no wide ones: its instructions know no f64."""
    if wide and level.special:
        return
    for bound in spec.variants(wide):
        dtypes = spec.key(bound, wide)
        plain = spec.key({v: "f32" if d == "f64" else d for v, d in bound.items()}) if wide else dtypes
        serving = [k for k in kernels if k.serves(level, plain) or (wide and k.serves(level, dtypes))]
        if len(serving) > 1:
            raise SpecError(
                f"{len(serving)} kernels {spec.name!r} for {dtypes} at level {level.name}",
                hint="tell them apart by levels= or dtypes=",
            )
        for kernel in serving:
            yield Job(kernel, spec, level, tuple(bound.items()), wide)


def check_lowerings(name: str, alternatives: list[Lowering]) -> None:
    """Lowerings name declared calls, with as many arguments and outputs as they have, and a `when` that can be read."""
    outer = spec_of(name)
    for lowering in alternatives:
        if lowering.when:
            condition(lowering.when)
        for inner, reads, writes in lowering.steps:
            spec = spec_of(inner)
            for side, given, wanted in (("reads", reads, spec.arguments), ("writes", writes, spec.outputs)):
                if len(given) != len(wanted):
                    raise SpecError(
                        f"{inner} {side} {len(given)} names",
                        where=spec.text,
                        expected=f"{len(wanted)}: {', '.join(i.name for i in wanted)}",
                        got=", ".join(given),
                    )
        written = {w for _, _, writes in lowering.steps for w in writes}
        if missing := [i.name for i in outer.outputs if i.name not in written]:
            raise SpecError(f"{missing[0]} is never written", where=outer.text)
