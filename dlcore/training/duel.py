"""The step of two networks against each other: two programs on the same weights, run one after the other.

The discriminator's program makes images with the generator as it stands and updates the discriminator; the generator's makes new
ones, judges them by the discriminator as it then stands, and updates the generator.  Each runs both networks with the batch's own
statistics, and moves those of the network that it trains.  What is drawn follows from (seed, step, place), so a resumed training
goes on to the same bits.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.layers.trace import Trace, tracing
from dlcore.training.feed import ArrayFeed
from dlcore.training.programs import Programs, Runner, Signature, leaf

if TYPE_CHECKING:
    from dlcore.graph import Graph, Tensor
    from dlcore.runtime import Program
    from dlcore.training.adversarial import Adversarial

# places of what is drawn, beyond those that graphs number by themselves
CODES_TO_JUDGE, CODES_TO_LEARN, BETWEEN = 1 << 20, (1 << 20) + 1, (1 << 20) + 2
TINY = 1e-12            # under the root of a gradient's norm, whose derivative would be infinite at 0


class WholeBatches(ArrayFeed):
    """As `ArrayFeed`, of whole batches alone: statistics of a few left rows would be those of another distribution."""

    def __init__(self, model: Any, data: Any, batch_size: int, shuffle: bool, seed: int):
        super().__init__(model, data, batch_size, shuffle, seed)
        self.steps_per_epoch = self.rows // self.batch

    @property
    def sizes(self) -> set[int]:
        return {self.batch}

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Runner]:
        rows, runner = self.order(epoch), self.bind()[self.batch]
        for at in range(start * self.batch, self.steps_per_epoch * self.batch, self.batch):
            runner.rows[:] = rows.data[at:at + self.batch]
            yield runner


class DuelPrograms(Programs):
    """The programs of an `Adversarial`: those of a training step are of kind "discriminator" and "generator"."""

    joins = False

    def program(self, s: Signature) -> Program:
        if s.kind not in MAKERS:
            return super().program(s)
        model: Any = self.model
        return self.cache.get(s, lambda: MAKERS[s.kind](model, s))

    def plan(self, s: Signature) -> None:
        for one in halves(s) if s.kind == "train" else (s,):
            self.program(one)

    def trainer(self, s: Signature, data: dict[str, np.ndarray], seed: int) -> Any:
        return Duel(self, s, data, seed) if s.kind == "train" else super().trainer(s, data, seed)

    @property
    def micro_batches(self) -> int:
        return 1

    def step_flops(self) -> float:
        model: Any = self.model
        known: list[Any] = list(self.cache.items())
        largest = max((s.batch for s, _ in known if s.kind in MAKERS), default=0)
        share = {"discriminator": 1.0, "generator": 1.0 / model.critic_steps}
        return sum(share[s.kind] * sum(row["flops"] for row in program.table()) / s.batch
                   for s, program in known if s.kind in MAKERS and s.batch == largest)


def halves(s: Signature) -> tuple[Signature, Signature]:
    """The signatures of a step's two programs; the generator's reads no images."""
    return replace(s, kind="discriminator"), replace(s, kind="generator", x=s.x[1:], rows=s.rows if s.x[1:] else 0)


class Duel:
    """What a `Runner` is to a step of one program; the same attributes and methods.   rows: the numbers of the batch's rows"""

    def __init__(self, programs: DuelPrograms, s: Signature, data: dict[str, np.ndarray], seed: int):
        judging, making = halves(s)
        for one in (judging, making):                       # both planned before one is bound
            programs.program(one)
        self.judging, self.making = (programs.bind(programs.program(one), one, data, seed) for one in (judging, making))
        model: Any = programs.model
        self.factor, self.every, self.batch = model.rate_factor, model.critic_steps, s.batch
        self.version, self.generation = self.judging.version, self.judging.generation
        self.instance, self.inputs = self.judging.instance, ()
        self.norm: Any = memoryview(self.making.instance["norm"])
        self.scalars: dict[str, Any] = {"lr": 0.0, "step": 0}
        self.sums = [0.0] * model.objective.width
        self.rows: Any = memoryview(np.zeros(s.batch, np.int32))        # type: ignore[arg-type]

    @property
    def constants(self) -> dict[str, Any]:
        return {}

    @property
    def status(self) -> Any:
        """That of the last program that ran: both stop where it is set."""
        return memoryview(self.instance["status"])

    def run(self) -> None:
        """A step of the discriminator, and in every `critic_steps`-th step one of the generator."""
        step, lr = self.scalars["step"], self.scalars["lr"]
        self.run_one(self.judging, step, lr * self.factor)
        self.sums[:-2] = list(self.judging.sums)
        self.sums[-2:] = [0.0, 0.0]
        if not self.status[0] and step % self.every == 0:
            self.run_one(self.making, step // self.every, lr)
            self.sums[-2:] = [self.making.sums[0], float(self.batch)]

    def run_one(self, runner: Runner, step: int, lr: float) -> None:
        if runner.rows is not None:
            runner.rows[:] = self.rows
        given = {"step": step, "lr": lr}
        runner.scalars = {name: given[name] for name in runner.scalars}
        self.instance = runner.instance
        runner.run()


# ---- the two programs ------------------------------------------------------------------------------------------------
def traced(model: Adversarial, s: Signature, make: Callable[[Graph, Trace, list[Tensor]], Program]) -> Program:
    """Opens the trace of a step on the inputs of a signature."""
    from dlcore.graph import Graph
    graph = Graph(model.store.parameters, precision=model.precision)
    trace = Trace(graph, True, True)
    with tracing(trace):
        ids = graph.input("rows", s.batch, dtype="i32") if s.rows else None
        return make(graph, trace, [leaf(graph, s, f, ids) for f in s.x])


def discriminator_program(model: Adversarial, s: Signature) -> Program:
    """Judges a batch of images and as many generated ones, and updates the discriminator.   Sums: those of the objective's
    first names."""
    from dlcore import ops
    objective, judge = model.objective, model.discriminator

    def make(graph: Graph, trace: Trace, x: list[Tensor]) -> Program:
        image, *labels = x
        with trace.holding(False):
            fake = generated(model, graph, s.batch, labels, CODES_TO_JUDGE)
        real_score = judge(x if labels else image).reshape(s.batch)
        with trace.holding(False):
            fake_score = judge([fake, *labels] if labels else fake).reshape(s.batch)
            reported, loss = [real_score, fake_score], judged(objective.loss, real_score, fake_score)
            if objective.loss == "wgan-gp":
                reported.append(penalty(graph, judge, image, fake, labels, objective.penalty))
                loss = ops.add(loss, reported[2])
        if objective.loss == "nonsaturating":
            reported[:2] = [ops.sigmoid(score) for score in reported[:2]]
        sums = graph.concat([ops.sum(t) for t in (loss, *reported)])
        return planned(graph, trace, loss, sums, judge, model.discriminator_optimizer)
    return traced(model, s, make)


def generator_program(model: Adversarial, s: Signature) -> Program:
    """Makes images, asks the discriminator about them, and updates the generator.   Sums: its loss."""
    from dlcore import ops
    loss_name, judge = model.objective.loss, model.discriminator

    def make(graph: Graph, trace: Trace, labels: list[Tensor]) -> Program:
        fake = generated(model, graph, s.batch, labels, CODES_TO_LEARN)
        with trace.holding(False):
            score = ops.neg(judge([fake, *labels] if labels else fake).reshape(s.batch))
        loss = ops.softplus(score) if loss_name == "nonsaturating" else score
        return planned(graph, trace, loss, ops.sum(loss), model.generator, model.optimizer)
    return traced(model, s, make)


MAKERS = {"discriminator": discriminator_program, "generator": generator_program}


def generated(model: Adversarial, graph: Graph, batch: int, labels: list[Tensor], place: int) -> Tensor:
    """Images of codes that are drawn, for these labels."""
    from dlcore import ops
    width = model.generator.network.inputs[0].shape[1] - sum(t.shape[1] for t in labels)
    code = ops.random_normal(batch, width, graph=graph, node=place)
    return model.generator(ops.concat([code, *labels], 1) if labels else code)


def judged(loss: str, real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's loss of each pair, without a penalty, f32[B]."""
    from dlcore import ops
    if loss == "nonsaturating":
        return ops.add(ops.softplus(ops.neg(real)), ops.softplus(fake))
    if loss == "hinge":
        return ops.add(ops.relu(ops.shift(ops.neg(real), 1.0)), ops.relu(ops.shift(fake, 1.0)))
    return ops.sub(fake, real)


def penalty(graph: Graph, judge: Any, real: Tensor, fake: Tensor, labels: list[Tensor], factor: float) -> Tensor:
    """factor (|g| - 1)**2 with g the gradient at points drawn between real and fake, f32[B]."""
    from dlcore import ops
    B, size = real.shape[0], real.size // real.shape[0]
    share = ops.random_uniform(B, 1, graph=graph, node=BETWEEN)
    a, b = real.reshape(B, size), fake.reshape(B, size)
    point = ops.add(b, ops.mul(ops.sub(a, b), share)).reshape(*real.shape)
    score = judge([point, *labels] if labels else point)
    slope, = graph.gradients(score, [point], ops.fill(1.0, B, graph=graph).reshape(*score.shape))
    length = ops.sqrt(ops.shift(ops.row_sum(ops.square(slope.reshape(B, size))), TINY))
    return ops.scale(ops.square(ops.shift(length, -1.0)), factor)


def planned(graph: Graph, trace: Trace, loss: Tensor, sums: Tensor, network: Any, optimizer: Any) -> Program:
    """The program that updates one network's weights."""
    from dlcore import ops
    from dlcore.graph import plan
    weights = [trace.tensor(v) for v in network.trainable_variables if v.key in graph.leaves]

    def updates() -> dict[str, Tensor]:
        ops.check_finite(loss, graph.status)
        return {"norm": optimizer.update(graph, weights)}
    return plan(graph, {"sums": sums}, gradients={loss: weights}, updates=updates)
