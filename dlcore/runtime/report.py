"""A program in words and figures, for `dlcore profile` and the logs."""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcore.runtime.program import Program, Step


def table(program: Program) -> list[dict[str, Any]]:
    """A row per step; `threads` is over how many a run with default settings splits it, on a GPU how many it launches."""
    parts = _parts(program)
    return [{"call": step.label, "kernel": f"{step.kernel}[{step.dtypes}]", "shapes": shapes(step), "bytes": step.bytes,
             "flops": step.flops, "segment": step.segment, "group": step.group, "threads": threads}
            for step, threads in zip(program.steps, parts, strict=True)]


def shapes(step: Step) -> str:
    """"x: f32[8, 4], weight: f32[4, 2] -> out: f32[8, 2]"."""
    sides: tuple[list[str], list[str]] = [], []
    for item, array in zip(step.spec.arrays, step.arrays, strict=True):
        if array is not None and item.kind != "work":
            sides[item.kind != "read"].append(f"{item.name}: {array[3]}{list(array[2])}")
    return " -> ".join(", ".join(side) for side in sides)


def on_gpu(program: Program) -> bool:
    return program.planning.get("device") == "cuda"


def _launched(step: Step) -> int:
    """Threads of a kernel on a GPU."""
    from dlcore.runtime.cuda_table import blocks_of, cuda_table

    entry = cuda_table().entry(step.kernel, step.dtypes)
    return max(0, blocks_of(entry, step)) * entry["block"]


def _parts(program: Program) -> list[int]:
    if on_gpu(program):
        return [_launched(step) for step in program.steps]
    parts = [1] * len(program.steps)
    for segments in (("prepare",), program.default_segments()):
        if segments and set(segments) <= set(program.segments):
            chosen = program.plan(segments).arrangement
            for n, step in enumerate(program.steps):
                if step.segment in segments:
                    parts[n] = chosen.parts[n]
    return parts


def describe(program: Program) -> dict[str, Any]:
    """Calls, groups, barriers and threads of a run with default settings; bytes of arena, bound and buffers; slots."""
    segments = program.default_segments()
    if on_gpu(program):
        return {**_schedule_of_gpu(program, segments), **_memory(program)}
    chosen = program.plan(segments).arrangement
    ranges = [chosen.ranges[s] for s in segments]
    return {
        "calls": len(program.steps),
        "segments": list(program.segments),
        "groups": sum(last - first for first, last in ranges),
        "barriers": sum(chosen.barriers[s] for s in segments) + max(0, len(segments) - 1) if chosen.members > 1 else 0,
        "threads": chosen.members,
        "flops": sum(step.flops for step in program.steps if step.segment in segments),
        "expected_us": sum(chosen.expected_ns[s] for s in segments) / 1e3,
        **_memory(program),
    }


def _schedule_of_gpu(program: Program, segments: tuple[str, ...]) -> dict[str, Any]:
    """The same of a GPU, where calls follow one another in a stream."""
    count = sum(step.segment in segments for step in program.steps)
    flops = sum(step.flops for step in program.steps if step.segment in segments)
    return {"calls": len(program.steps), "segments": list(program.segments), "groups": count, "barriers": 0, "threads": 1,
            "flops": flops}


def _memory(program: Program) -> dict[str, Any]:
    return {
        "arena": program.arena,
        "bound": program.bound,
        "total": program.total,
        "arena_ratio": program.arena / program.bound if program.bound else 1.0,
        "buffers": dict(program.sizes),
        "slots": {slot.name: slot.range() for slot in program.slots.values()},
        "planning": dict(program.planning),
    }
