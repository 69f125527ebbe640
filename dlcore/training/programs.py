"""From a model to programs: a training step, an evaluation, a prediction, for one batch size each.

A program's inputs are the batch itself, or, where the data lies in memory, the numbers of its rows: then the data set
is bound to the user's arrays and the program gathers what it needs.

Graph and ops are imported where they are first used: a program that only imports dlcore shall not wait for them.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DeviceError, UsageError
from dlcore.graph.cache import ProgramCache, program_bytes
from dlcore.layers.trace import Trace, tracing
from dlcore.training.accumulated import Accumulated, micro_signatures
from dlcore.training.arrays import DTYPES
from dlcore.training.prepared import Pool, Prepared

if TYPE_CHECKING:
    from dlcore.graph import Graph, Tensor
    from dlcore.runtime import Instance, Program
    from dlcore.training.model import Model
    from dlcore.training.store import WeightStore

CACHE_BYTES = 1 << 30
ROW_KERNEL = "sum_rows"             # a device without it updates tables whole
WHOLE = ("ids", "integers")         # kinds of targets that stay integers


@dataclass(frozen=True)
class Field:
    """One array of a batch.  dtype: of the user's array; tail: its shape without the batch; whole: integers, not
    floats."""

    name: str
    dtype: str
    tail: tuple[int, ...]
    whole: bool


@dataclass(frozen=True)
class Signature:
    """What a program is made for, and found again by.  rows: of the data set that it gathers from, 0 for batches."""

    kind: str                       # "train", "evaluate", "predict"
    batch: int
    rows: int
    x: tuple[Field, ...]
    y: tuple[Field, ...] = ()
    weighted: bool = False


def signature(model: Model, kind: str, batch: int, x: Sequence[np.ndarray], y: Sequence[np.ndarray] = (),
              weighted: bool = False, rows: int = 0) -> Signature:
    """The signature for these arrays (of which only dtypes and shapes matter)."""
    network = model.network
    xs = tuple(Field(f"x/{n}", DTYPES[a.dtype], a.shape[1:], s.dtype == "i32")
               for n, a, s in zip(network.input_names, x, network.inputs, strict=True))
    ys: tuple[Field, ...] = ()
    if y:
        objective = model.objective
        ys = tuple(Field(f"y/{n}", DTYPES[a.dtype], a.shape[1:], objective.kind(i, a) in WHOLE)
                   for i, (n, a) in enumerate(zip(objective.target_names, y, strict=True)))
    if not rows:                    # a batch is converted on its way in: the user's dtype does not matter
        xs, ys = (tuple(Field(f.name, "i32" if f.whole else "f32", f.tail, f.whole) for f in fs) for fs in (xs, ys))
    return Signature(kind, batch, rows, xs, ys, weighted)


def leaf(graph: Graph, s: Signature, f: Field, ids: Tensor | None) -> Tensor:
    """The tensor of one array of a batch."""
    if ids is None:
        return graph.input(f.name, s.batch, *f.tail, dtype=f.dtype)
    from dlcore import ops
    data = graph.data(f.name, s.rows, *f.tail, dtype=f.dtype)
    return ops.gather(data, ids) if f.whole or f.dtype == "f32" else ops.gather(data, ids, scale=1.0)


def make(model: Model, s: Signature) -> Program:
    """Traces the model and plans the program."""
    from dlcore import ops
    from dlcore.graph import Graph, Slot, plan
    from dlcore.runtime import device_table
    store = model.store
    graph = Graph(store.parameters, precision=model.precision if s.kind == "train" else model.answers_in)
    trace = Trace(graph, s.kind == "train", s.kind == "train")
    with tracing(trace):
        ids = graph.input("rows", s.batch, dtype="i32") if s.rows else None
        x = [leaf(graph, s, f, ids) for f in s.x]
        y = [leaf(graph, s, f, ids) for f in s.y]
        weight = leaf(graph, s, Field("sample_weight", "f32", (), False), ids) if s.weighted else None
        outputs = model.network.apply(x)
        if s.kind == "predict":
            return plan(graph, dict(zip(model.network.output_names(), outputs, strict=True)))
        penalised = [v for v in model.trained_variables if v.regularizer is not None and v.key in graph.leaves]
        penalty = sum_of([v.regularizer(trace.tensor(v)) for v in penalised])
        activity = sum_of(trace.penalties)
        extra = [] if penalty is None else [ops.scale(penalty, float(s.batch))]
        extra += [] if activity is None else [ops.sum(activity)]
        total, sums, weighted = model.objective.tensors(outputs, y, weight, extra)
        if s.kind == "evaluate":
            return plan(graph, {"sums": sums})
        weights = [trace.tensor(v) for v in model.trained_variables if v.key in graph.leaves]
        if not weights:
            raise UsageError("the model has no weights to train", hint="add layers, or set layer.trainable = True")
        seeds = {} if weight is None else {total: ops.scale(weight, Slot("loss_scale"))}
        if activity is not None:            # sample weights do not weigh it
            total, seeds = ops.add(weighted, activity), {}
        gradients = {total: weights}
        if penalty is not None:             # once per step: `loss_scale` is 1 / batch, or 1 / batch of the whole step
            gradients[penalty] = [trace.tensor(v) for v in penalised]
            seeds[penalty] = ops.scale(ops.fill(Slot("loss_scale"), 1, graph=graph), float(s.batch))

        def updates() -> dict[str, Tensor]:
            ops.check_finite(weighted, graph.status)
            return {"norm": model.optimizer.update(graph, weights)}
        by_rows = not model.optimizer.accumulates and device_table().has(ROW_KERNEL)
        lookups = trace.sparse() if by_rows else {}
        return plan(graph, {"sums": sums}, gradients=gradients, seeds=seeds, updates=updates,
                    lookups={table: found for table, found in lookups.items() if table in weights})


def sum_of(tensors: Sequence[Tensor]) -> Tensor | None:
    """The sum of tensors of one shape; None of none."""
    from dlcore import ops
    total = tensors[0] if tensors else None
    for t in tensors[1:]:
        total = ops.add(total, t)
    return total


@dataclass
class Runner:
    """A program bound to memory, and what a step touches in it.

    constants  slots to set once, before the first run
    scalars  slots to set before each run: `lr` and `step`, where the program has them
    prepared what its program reads that was prepared of the weights
    sums     what the step reports, f32[width of the objective]
    status   not zero once a step met a value that is not finite
    norm     of all gradients of the step, f32[1]
    rows     the numbers of the batch's rows, where the program gathers

    The last four are memoryviews: an element of one is read in a third of the time that a NumPy array takes.
    """

    instance: Instance
    batch: int
    constants: dict[str, Any] = field(default_factory=dict)
    scalars: dict[str, Any] = field(default_factory=dict)
    prepared: tuple[Prepared, ...] = ()
    sums: Any = None
    status: Any = None
    norm: Any = None
    rows: Any = None
    inputs: tuple[np.ndarray | None, ...] = ()
    version: int = -1               # of the weights that were packed
    generation: int = -1            # of the memory that it is bound to

    def put(self, arrays: Sequence[np.ndarray]) -> None:
        """Copies a batch into the inputs (None: one that the program does not read), converting dtypes."""
        for view, array in zip(self.inputs, arrays, strict=True):
            if view is not None:
                view[...] = array

    def send(self) -> None:
        """The inputs are written: a GPU copies them while it computes something else."""
        if hasattr(self.instance, "send"):
            self.instance.send()

    def read(self, arrays: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """The arrays that the program reads."""
        return tuple(a for a, view in zip(arrays, self.inputs, strict=True) if view is not None)

    def run(self) -> None:
        """Runs a step with the slots as `scalars` says."""
        if self.constants:
            self.instance.run(**self.constants, **self.scalars)
            self.constants = {}
        else:
            self.instance.run(**self.scalars)

    def call(self, arrays: tuple[Any, ...]) -> tuple[np.ndarray, ...]:
        """The same on a batch, whose arrays are in the order of the inputs; returns copies of the outputs."""
        if self.constants:
            out = self.instance.call(arrays, **self.constants, **self.scalars)
            self.constants = {}
            return out
        return self.instance.call(arrays, **self.scalars)


class Programs:
    """The programs of a model, found by signature, least recently used out first; and runners bound to its store."""

    joins = True                    # whether a training step is one program, so that steps can follow one another without Python

    def __init__(self, model: Model):
        self.model, self.cache = model, ProgramCache(CACHE_BYTES)
        self.runners = ProgramCache(CACHE_BYTES, lambda runner: program_bytes(runner.instance))
        self.prepared = Pool()

    def program(self, s: Signature) -> Program:
        return self.cache.get(s, lambda: make(self.model, s))

    def runner(self, s: Signature, seed: int = 0) -> Runner:
        """A runner whose inputs are batches; kept for the next batch of this signature."""
        self.plan(s)
        found = self.runners.get(s, lambda: self.trainer(s, {}, seed))
        if found.generation != self.model.store.generation:         # the memory has moved
            self.runners.clear()
            found = self.runners.get(s, lambda: self.trainer(s, {}, seed))
        return found

    def step_flops(self) -> float:
        """Floating-point operations of a training step for each of its rows, of the largest step planned; 0 before one is."""
        known: list[Any] = list(self.cache.items())
        steps = [(s.batch, program) for s, program in known if s.kind == "train"]
        if not steps:
            return 0.0
        batch, program = max(steps, key=lambda step: step[0])
        return sum(row["flops"] for row in program.table()) / batch

    @property
    def micro_batches(self) -> int:
        """How many there are in a step."""
        return self.model.optimizer.gradient_accumulation_steps or 1 if self.model.optimizer is not None else 1

    def plan(self, s: Signature) -> None:
        """Makes the programs of a signature.  What is to run on the same memory is planned before any of it is bound."""
        if s.kind != "train" or self.micro_batches == 1:
            self.program(s)
        else:
            for _, small in micro_signatures(s, self.micro_batches):
                self.program(small)

    def trainer(self, s: Signature, data: dict[str, np.ndarray], seed: int) -> Any:
        """A Runner, or for a step of several micro-batches what is like one, on these data sets (those it reads)."""
        if s.kind == "train" and self.micro_batches > 1:
            return Accumulated(self, s, self.micro_batches, data, seed)
        return self.bind(self.program(s), s, data, seed)

    def bind(self, program: Program, s: Signature, data: dict[str, np.ndarray], seed: int) -> Runner:
        """An instance of the program on the model's weights and these data sets."""
        store: WeightStore = self.model.store
        try:
            instance, held = self.prepared.bind(store, program, {name: a for name, a in data.items() if name in program.sizes})
        except DeviceError as error:
            if error.share:
                error.hint = f"a batch of about {max(1, int(error.share * s.batch))} in the place of {s.batch} may fit"
            raise
        # of several micro-batches the gradients are summed over rows: the update divides them
        constants = {"seed": seed, "loss_scale": 1.0 if s.kind == "train" and self.micro_batches > 1 else 1.0 / s.batch}
        runner = Runner(instance, s.batch, {n: v for n, v in constants.items() if n in program.slots},
                        {n: 0 for n in ("lr", "step") if n in program.slots}, held)
        if not s.rows:
            names = [f.name for f in (*s.x, *s.y)] + ["sample_weight"] * s.weighted
            runner.inputs = tuple(instance[n] if n in program.leaves else None for n in names)
        if s.kind != "predict":
            runner.sums = memoryview(instance["sums"])
        if s.kind == "train":
            runner.status, runner.norm = memoryview(instance["status"]), memoryview(instance["norm"])
        if s.rows:
            runner.rows = memoryview(instance["rows"])
        runner.version, runner.generation = store.version, store.generation
        return runner

    def refresh(self, runner: Runner) -> None:
        """Packs the weights again where they have changed."""
        if runner.version != self.model.store.version:
            for held in runner.prepared:
                held.refresh(self.model.store)
            if "prepare" in runner.instance.program.segments:
                runner.instance.run("prepare")
            runner.version = self.model.store.version
