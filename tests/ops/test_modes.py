"""The cases reach every kernel, and every `+` output in both of its modes: overwriting and adding."""
from __future__ import annotations

from functools import cache
from itertools import product

from ops.harness import build_added, plan_gradients, room_cases

from dlcore.graph import Spec, plan
from dlcore.runtime import kernel_table

# Reached by other tests: optimizers by tests/optim, norms per sample and weights that are held as bf16 or int8 by tests/ops/matmul.
OPTIMIZERS = {"adadelta", "adagrad", "adagrad_rows", "adam", "adam_rows", "adamax", "amsgrad", "average", "lamb", "lamb_direction",
              "lion", "muon", "muon_direction", "muon_normalise", "muon_polynomial", "nadam", "nadam_momentum", "rmsprop", "sgd",
              "sgd_momentum", "sgd_rows"}
HALVES = {"halved", "half_nn", "half_nt", "half_dense", "half_parts"}
BYTES = {"quantized_nn", "quantized_nt", "quantized_rows", "int8_product", "int8_dense"}
ELSEWHERE = OPTIMIZERS | HALVES | BYTES | {"dense_sample_norms"}


@cache
def steps_seen() -> dict[str, set]:
    """kernel -> the add bits that it was planned with: (0, 1) writes its first `+` output, adds to its second."""
    seen: dict[str, set] = {}
    for precision, (room, members) in product(("float32", "bf16"), room_cases().items()):
        for case in members:
            _, program = plan_gradients(room, case, precision=precision)
            programs = [program]
            made, totals = build_added(room, case, precision)
            if totals:
                programs.append(plan(made.graph, totals))
            for step in (s for p in programs for s in p.steps):
                seen.setdefault(step.kernel, set()).add(step.add)
    return seen


def kernels_of_this_level() -> dict:
    table = kernel_table()
    return {name: call for name, call in table.calls.items()
            if name not in ELSEWHERE and any(table.has(name, d) for d in ("f32", "f32_f32"))}


def test_every_kernel_is_reached():
    assert set(kernels_of_this_level()) - set(steps_seen()) == set()


def test_every_added_output_overwrites_and_adds():
    missing = []
    for name, call in kernels_of_this_level().items():
        for k, _ in enumerate(Spec(call["spec"], call["over"]).added):
            bits = {add[k] for add in steps_seen().get(name, ())}
            missing += [(name, k, "overwrite")] if 0 not in bits and 2 not in bits else []
            missing += [(name, k, "add")] if 1 not in bits and 2 not in bits else []
    assert not missing
