"""Models: layers put together, trained and used.  Keras's names and meanings.

    model = Sequential([Dense(256, activation="relu", input_shape=(784,)), Dense(10, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(x, y, batch_size=64, epochs=5, validation_split=0.1)
    probabilities = model.predict(x_test)

Everything random follows from seeds: `Model(seed=...)` gives the initial weights, `fit(seed=...)` order and dropout.
"""
from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore.errors import DataError, ShapeError, UsageError
from dlcore.layers.layer import Input, Layer, Shape, Symbol, Variable, listed
from dlcore.training import answers, arrays, dataset, fitting
from dlcore.training.averages import Averages
from dlcore.training.callbacks import Callback
from dlcore.training.dataset import DataSet
from dlcore.training.feed import batch_of
from dlcore.training.history import History
from dlcore.training.loop import Loop, diverged, set_scalars
from dlcore.training.network import Network, keys_of, name_layers, symbols
from dlcore.training.programs import Programs, Runner, signature
from dlcore.training.session import Session
from dlcore.training.state import TrainingState
from dlcore.training.store import WeightStore, store_of
from dlcore.training.summary import summary_text

if TYPE_CHECKING:
    from dlcore.training.objective import Objective

BATCH = 32                  # of `fit`, as in Keras
KEPT = 32                   # runners by shape that the quick ways of one thread keep
WHOLE_BATCH = 256           # of `evaluate` and `predict`, where it changes nothing but the speed


class Model(Layer):
    """A functional model `Model(inputs=x, outputs=y)`, or the base class of one that implements `call`.

    inputs, outputs: what `Input` and layers returned, or lists of them; outputs also as a dict, whose keys name them: `predict`
    returns them by these keys, losses, metrics and targets may be given by them.   seed: of the initial weights."""

    own_class = True            # whether a file names the subclass; else it holds layers and connections

    def __init__(self, inputs: Any = None, outputs: Any = None, name: str | None = None, seed: int = 0, **options: Any):
        super().__init__(name=name, **options)
        if not isinstance(seed, (int, np.integer)) or seed < 0:
            raise UsageError("a seed is a whole number, not negative", got=repr(seed))
        self.seed = int(seed)
        self.optimizer: Any = None
        self.stop_training = False
        self.precision = "float32"
        self._answers_in = ""           # see `answers_in`
        self.state = TrainingState(self.seed)
        self.programs = Programs(self)
        self.averages = Averages(self)
        self._network: Network | None = None
        self._store: WeightStore | None = None
        self._claimed = False                   # the optimizer's state has a name of its own in the store
        self._compiled: dict[str, Any] | None = None
        self._trained: list[Variable] | None = None
        self._objective: Objective | None = None
        self._lock = threading.RLock()          # planning and binding
        self._local = threading.local()         # predict_on_batch: runners of this thread, by shape
        self._fast: dict[Any, Runner] = {}      # train_on_batch: runners by shapes
        if (inputs is None) != (outputs is None):
            raise UsageError("a functional model needs inputs and outputs", hint="Model(inputs=x, outputs=y)")
        if inputs is not None:
            ins, _ = symbols(inputs, "inputs")
            outs, single = symbols(outputs, "outputs")
            self._connect(Network(ins, outs, single, keys_of(outputs)))

    # ---- building ----------------------------------------------------------------------------------------------------
    def _connect(self, network: Network) -> None:
        self._network, self._built = network, True
        name_layers(self.layers)

    def __reduce__(self) -> Any:
        """Pickled and copied by what a model file holds, and by the classes of layers that are the user's own."""
        from dlcore.training import saving
        return saving.unpickled, saving.pickled(self)

    @property
    def built(self) -> bool:
        """Whether shapes and weights are known."""
        return self._network is not None

    @property
    def network(self) -> Network:
        """Layers and connections.  UsageError before the model is built."""
        if self._network is None:
            raise UsageError("the model is not built yet",
                             hint="give the first layer an input_shape, or fit the model to data")
        return self._network

    @property
    def layers(self) -> list[Layer]:
        """The layers of the model, in order."""
        if self._network is None or self._network.layers == [self]:
            return Layer.sublayers(self)
        return self._network.layers

    def sublayers(self) -> list[Layer]:
        return self.layers

    def build_from(self, x: Any) -> None:
        """Builds a model whose input shapes were not given, by the shapes of this data."""
        parts = list(x) if isinstance(x, (list, tuple)) and all(hasattr(a, "shape") for a in x) else [x]
        made = [arrays.as_array(a, "x") for a in parts]
        shapes = [(None, *a.shape[1:]) for a in made]
        self.build(shapes if len(made) > 1 else shapes[0],
                   ["int32" if a.dtype in (np.int32, np.int64) else "float32" for a in made])

    def build(self, input_shape: Shape | list[Shape], dtypes: Sequence[str] | None = None) -> None:
        """Builds the model for inputs of this shape, the batch being None: (None, 784).  For models without `Input`."""
        if self.built:
            return
        if type(self).call is Model.call:
            raise UsageError("this model has no layers yet", hint="Model(inputs=..., outputs=...), Sequential([...]), "
                             "or a subclass that implements call")
        shapes = input_shape if isinstance(input_shape, list) else [input_shape]
        ins = [Input(s[1:], d) for s, d in zip(shapes, dtypes or ["float32"] * len(shapes), strict=True)]
        self._built = True
        out = self._symbolic(tuple(ins))
        self._connect(Network(ins, listed(out), isinstance(out, Symbol), keys_of(out)))

    def call(self, *inputs: Any) -> Any:
        """The outputs for tensors of a graph."""
        flat = list(inputs[0]) if len(inputs) == 1 and isinstance(inputs[0], (list, tuple)) else list(inputs)
        return self.network.arranged(self.network.apply(flat))

    @property
    def store(self) -> WeightStore:
        """The memory of the weights.  UsageError before the model is built."""
        return self._store or self.ensure_store()

    def ensure_store(self) -> WeightStore:
        """Finds or makes the store that holds all weights; initial values are drawn when there is none yet."""
        variables = self.variables
        if self._store is None or any(v.store is not self._store for v in variables):
            _ = self.network
            with self._lock:
                if self._store is not None:     # the weights have moved to another store, the optimizer's state has not
                    self.state.step = 0
                self._store = store_of(variables, self.seed)
                self._claimed = False
                self._forget_programs()
        if not self._claimed and self.optimizer is not None:
            self.optimizer.name = self._store.claim(self.optimizer.name, self)
            self._claimed = True
        return self._store

    # ---- compiling ---------------------------------------------------------------------------------------------------
    def compile(self, optimizer: Any = "adam", loss: Any = None, metrics: Any = None, loss_weights: Any = None,
                weighted_metrics: Any = None, precision: str = "float32") -> None:
        """Says how the model is trained; the optimizer starts anew.

        optimizer   "sgd", "adam", "adamw", or an optimizer of `dlcore.optim`
        loss        a name, a loss of `dlcore.training.losses`, or a function (y_true, y_pred) -> one value per sample;
                    a list or dict of them for several outputs
        metrics     the same, as a list; weighted_metrics: those that sample weights count in
        precision   of products: "float32", "bf16", or "tf32x3" (a GPU's float32 on tensor cores); `answers_in` is another for
                    evaluation and prediction
        """
        from dlcore import optim
        answers.check_training(precision)
        if self.averages.in_place:              # of an optimizer that is left: the averages stay as the weights
            self.averages = Averages(self)
        self.optimizer = optim.get(optimizer)
        self.precision = precision
        self._compiled = {"loss": loss, "metrics": metrics, "loss_weights": loss_weights,
                          "weighted_metrics": weighted_metrics}
        self._objective, self._claimed, self._trained = None, False, None
        self.state = TrainingState(self.seed)
        self._forget_programs()
        if self.built:
            _ = self.objective, self.trained_variables      # a wrong name is reported here

    @property
    def answers_in(self) -> str:
        """The precision of products in evaluation, prediction, generation and translation: that of training, unless another of
        "float32", "bf16", "tf32x3" and "int8" is assigned, which holds for models among its layers too; "" goes back.
        UsageError for any other.

        bf16 and int8 are for weights in products: what a device has no such kernels for is float32.  It is not saved."""
        return self._answers_in or self.precision

    @answers_in.setter
    def answers_in(self, precision: str) -> None:
        answers.choose(self, precision)

    @property
    def trained_variables(self) -> list[Variable]:
        """The weights that training changes: those that were trainable when the model was compiled, as in Keras."""
        if self._trained is None:           # by `vars`: as an attribute they would be tensors while a trace is open
            vars(self)["_trained"] = self.trainable_variables
        return vars(self)["_trained"]

    def _forget_programs(self) -> None:
        self.programs = Programs(self)
        self._fast, self._local = {}, threading.local()

    @property
    def objective(self) -> Objective:
        """Losses and metrics, matched to the outputs."""
        if self._objective is None:
            if self._compiled is None:
                raise UsageError("the model is not compiled", hint='model.compile("adam", "mean_squared_error")')
            from dlcore.training.objective import Objective
            self._objective = Objective(self.network, **self._compiled)
        return self._objective

    # ---- training ----------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Any = None, batch_size: int = BATCH, epochs: int = 1, verbose: int = 1,
            callbacks: Iterable[Callback] | None = None, validation_split: float = 0.0, validation_data: Any = None,
            shuffle: bool = True, class_weight: Mapping[int, float] | None = None, sample_weight: Any = None,
            seed: int | None = None, steps_per_epoch: int | None = None) -> History:
        """Trains for a number of epochs and returns their losses and metrics.

        x, y              arrays, lists or dicts of arrays (several inputs and outputs); or x an iterable of batches
                          (x, y) or (x, y, sample_weight), or a `Source`, whose batches a background thread makes;
                          so does it for a memory-mapped x
        batch_size        rows per step; the last step of an epoch takes what is left
        validation_split  share of the rows, the last ones, that is held back
        validation_data   (x, y), (x, y, sample_weight), or an iterable of such batches
        class_weight      class -> weight of its samples;  sample_weight: one per row
        shuffle, seed     a new order each epoch, drawn for (seed, epoch); `seed` also draws dropout
        verbose           0 silent, 1 a line per epoch on stderr

        A second `fit` goes on where the first ended: optimizer state, step and epoch are kept.
        Raises DataError, ShapeError, UsageError before the first step; DivergedError where one meets NaN or infinity.
        """
        if not all(isinstance(n, (int, np.integer)) for n in (epochs, batch_size)) or epochs < 0 or batch_size < 1:
            raise UsageError("epochs must be a whole number and not negative, batch_size at least 1",
                             got=f"{epochs!r}, {batch_size!r}")
        state = self.state
        state.seed = state.seed if seed is None else seed
        state.start_epoch()
        source = fitting.as_source(x, y, sample_weight)
        if source is not None:
            if validation_split or class_weight:
                raise UsageError("validation_split and class_weight need arrays in memory", hint="pass validation_data and weights")
            feed: fitting.Feed = fitting.LoadedFeed(self, source, batch_size, shuffle, state.seed)
        elif fitting.is_batches(x, y):
            if validation_split or sample_weight is not None:
                raise UsageError("validation_split and sample_weight need arrays",
                                 hint="batches may be (x, y, sample_weight); pass validation_data")
            feed = fitting.batch_feed(self, x, steps_per_epoch, class_weight)
        else:
            data = dataset.make(self, x, y, sample_weight, class_weight)
            if validation_split and validation_data is None:
                data, validation_data = fitting.hold_back(data, validation_split, verbose)
            feed = fitting.array_feed(self, data, batch_size, shuffle)
        self.ensure_store()
        steps = getattr(feed, "planned", feed.steps_per_epoch)
        if steps is None and hasattr(x, "__len__"):
            steps = -(-len(x) // self.programs.micro_batches)
        params = {"epochs": epochs, "steps": steps, "batch_size": batch_size, "verbose": verbose}
        return self._run(Loop(self, feed, state, state.epoch + epochs), validation_data, callbacks or (), params)

    def _run(self, loop: Loop, validation: Any, callbacks: Iterable[Callback], params: dict[str, Any]) -> History:
        """Runs the loop of a `fit` with its callbacks and lines."""
        if validation is not None:
            def validate() -> dict[str, float]:
                logs = self._evaluate(validation, WHOLE_BATCH, "validation ")
                return {f"val_{name}": value for name, value in logs.items()}
            loop.validate = validate
        return Session(self, loop, callbacks, {**params, "validation": validation is not None}).run()

    def find_learning_rate(self, x: Any, y: Any = None, batch_size: int = BATCH, min_lr: float = 1e-6, max_lr: float = 1.0,
                           steps: int = 100, **options: Any) -> Any:
        """Looks for a learning rate: trains over `steps` steps while it grows from min_lr to max_lr, and puts everything
        back.  Returns a `LearningRateFinder`: suggestion, rates, losses, to_csv(path).  options: further ones of `fit`."""
        from dlcore.training.rate_finder import LearningRateFinder
        finder = LearningRateFinder(min_lr, max_lr, steps)
        self.fit(x, y, batch_size=batch_size, epochs=steps, verbose=0, callbacks=[finder], **options)
        return finder

    def train_on_batch(self, x: Any, y: Any, sample_weight: Any = None,
                       class_weight: Mapping[int, float] | None = None, return_dict: bool = False) -> Any:
        """One step on one batch; returns its loss before the step, or [loss, metrics...] if there are metrics.

        Labels out of range raise DataError, a NaN or infinity DivergedError; in both cases no weight has changed."""
        given = (x, y) if sample_weight is None else (x, y, sample_weight)
        known = None
        if sample_weight is None and class_weight is None:
            known = self._fast.get((getattr(x, "shape", None), getattr(y, "shape", None)))
        if known is not None and known.generation == self.store.generation:
            runner = known
            try:
                sums = self._train_step(runner, given)
            except ShapeError:              # of a dtype that has to be converted first
                runner, batch = self._train_runner(given, class_weight)
                sums = self._train_step(runner, batch)
        else:
            runner, batch = self._train_runner(given, class_weight)
            sums = self._train_step(runner, batch)
        if runner.status[0]:
            failure = diverged(runner, self.state)
            batch_of(self, given, class_weight)                         # bad labels and NaN are reported as such
            raise failure
        objective = self.objective
        if len(sums) == 1 and not return_dict and objective.finishers[0] is None:
            return float(sums[0]) / runner.batch
        logs = objective.logs(sums, runner.batch)
        return logs if return_dict else list(logs.values())

    def _train_step(self, runner: Runner, batch: tuple[Any, ...]) -> Any:
        """The sums that the step reports."""
        self.averages.use(False)
        set_scalars(runner, self.state, self.optimizer)
        try:
            sums = runner.call(batch)[0]        # the gradient norm follows
        except BaseException:
            self.state.step -= 1
            raise
        self.store.version += 1
        return sums

    def _train_runner(self, given: tuple[Any, ...], class_weight: Any) -> tuple[Runner, tuple[Any, ...]]:
        """The runner for this batch, made if need be, and the batch's arrays, checked."""
        with self._lock:
            batch = batch_of(self, given, class_weight)
            self.ensure_store()
            s = signature(self, "train", batch.rows, batch.x, batch.y, batch.weight is not None)
            runner = self.programs.runner(s, self.state.seed)
            shapes = tuple(getattr(a, "shape", None) for a in given)
            if batch.weight is None and shapes == tuple(None if v is None else v.shape for v in runner.inputs):
                remember(self._fast, shapes, runner)
        return runner, runner.read(batch.arrays())

    # ---- evaluating --------------------------------------------------------------------------------------------------
    def evaluate(self, x: Any, y: Any = None, batch_size: int = WHOLE_BATCH, sample_weight: Any = None,
                 verbose: int = 0, return_dict: bool = False, report: bool = False) -> Any:
        """The loss, or [loss, metrics...] where there are metrics, over all rows; x may be an iterable of batches.

        report: everything that can be measured instead, an `Evaluation` whose text is printed: metrics with 95 % intervals, and of
        labels precision, recall and F1 of each.  For arrays without weights."""
        if report:
            if fitting.is_batches(x, y) or sample_weight is not None:
                raise UsageError("a report is made of arrays without weights", hint="evaluate(x, y, report=True)")
            from dlcore.training import reporting
            return reporting.evaluation(self, x, y, batch_size)
        if fitting.is_batches(x, y):
            logs = self._evaluate(x, batch_size)
        else:
            logs = self._evaluate((x, y) if sample_weight is None else (x, y, sample_weight), batch_size)
        if verbose:
            print("  ".join(f"{n} {v:.4f}" for n, v in logs.items()), file=sys.stderr)
        if return_dict:
            return logs
        return list(logs.values()) if len(logs) > 1 else logs["loss"]

    def _evaluate(self, data: Any, batch_size: int, what: str = "") -> dict[str, float]:
        """data: a DataSet, a tuple (x, y[, sample_weight]), or an iterable of such tuples."""
        self.averages.use(True)
        if isinstance(data, tuple):
            data = dataset.make(self, data[0], data[1], data[2] if len(data) > 2 else None, what=what)
        parts = [data] if isinstance(data, DataSet) else (batch_of(self, item) for item in data)
        totals, rows = [0.0] * self.objective.width, 0
        for part in parts:
            for start in range(0, part.rows, batch_size):
                piece = part.slice(start, start + batch_size)
                runner = self._evaluator(piece)
                runner.put(piece.arrays())
                runner.run()
                for i, value in enumerate(runner.sums):
                    totals[i] += value
                rows += piece.rows
        if not rows:
            raise DataError("there is nothing to evaluate", got="no batches")
        return self.objective.logs(totals, rows)

    def _evaluator(self, piece: DataSet) -> Runner:
        s = signature(self, "evaluate", piece.rows, piece.x, piece.y, piece.weight is not None)
        with self._lock:
            self.ensure_store()
            runner = self.programs.runner(s)
            self.programs.refresh(runner)
        return runner

    def test_on_batch(self, x: Any, y: Any, sample_weight: Any = None, return_dict: bool = False) -> Any:
        """The loss of one batch, or [loss, metrics...] where there are metrics; nothing is trained."""
        batch = batch_of(self, (x, y) if sample_weight is None else (x, y, sample_weight))
        logs = self._evaluate(batch, batch.rows)
        return logs if return_dict else list(logs.values()) if len(logs) > 1 else logs["loss"]

    def predict(self, x: Any, batch_size: int = WHOLE_BATCH, verbose: int = 0) -> Any:
        """The outputs for all rows of x: an array, or a list or dict of arrays where the model was given several outputs so.

        x: arrays, or an iterable of batches: x alone, or (x, y, ...), of which x is taken.   verbose: 1 says on stderr how many
        rows there were."""
        if batch_size < 1:
            raise UsageError("batch_size must be at least 1", got=repr(batch_size))
        if fitting.is_stream(x):
            return self._predict_batches(x, batch_size, verbose)
        data = DataSet(dataset.inputs(self, x), (), None)
        out: list[np.ndarray] = []
        self.ensure_store()
        for start in range(0, data.rows, batch_size):
            piece = data.slice(start, start + batch_size)
            runner = self._predictor(piece.x)
            made = runner.call(runner.read(piece.x))
            out = out or [np.empty((data.rows, *a.shape[1:]), a.dtype) for a in made]
            for whole, a in zip(out, made, strict=True):
                whole[start:start + len(a)] = a
        if verbose:
            print(f"{data.rows:,} rows", file=sys.stderr)
        return self.network.arranged(out)

    def _predict_batches(self, batches: Iterable[Any], batch_size: int, verbose: int) -> Any:
        """The outputs for the rows of all batches, one after another."""
        made = [self.predict(b[0] if isinstance(b, tuple) else b, batch_size) for b in batches]
        if not made:
            raise DataError("there is nothing to predict", got="no batches")
        if verbose:
            print(f"{len(made):,} batches", file=sys.stderr)
        return self.network.arranged([np.concatenate(parts) for parts in zip(*map(listed, made), strict=True)])

    def predict_on_batch(self, x: Any) -> Any:
        """The outputs for one batch of any size; the quickest way for few rows.  Several threads may call it."""
        try:
            runner = self._local.runners[x.shape]
            if runner.version == self._store.version:       # type: ignore[union-attr]
                return runner.instance.call((x,))[0]
        except (AttributeError, KeyError, ShapeError):      # the first time in this thread, or to be converted first
            pass
        xs = dataset.inputs(self, x)
        self.ensure_store()
        runner = self._predictor(xs)
        read, single = runner.read(xs), self.network.single_output
        made = runner.call(read)
        if single and getattr(x, "shape", None) == xs[0].shape and len(read) == len(runner.inputs) == 1:
            remember(self._local.runners, x.shape, runner)
        return made[0] if single else self.network.arranged(made)

    def _predictor(self, xs: Sequence[np.ndarray]) -> Runner:
        """This thread's runner for inputs of these shapes, its packed weights up to date."""
        if self.averages.in_place != self.averages.kept:
            with self._lock:
                self.averages.use(True)
        local, store, shapes = self._local, self.store, tuple(a.shape for a in xs)
        if not hasattr(local, "runners"):
            local.runners, local.made = {}, {}
        runner = local.made.get(shapes)
        with self._lock:
            if runner is None or runner.generation != store.generation:
                s = signature(self, "predict", len(xs[0]), xs)
                runner = self.programs.bind(self.programs.program(s), s, {}, 0)
                remember(local.made, shapes, runner)
            self.programs.refresh(runner)
        return runner

    # ---- weights and files -------------------------------------------------------------------------------------------
    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, layer by layer."""
        if self.built:
            self.ensure_store()
        return super().get_weights()

    def set_weights(self, weights: list[Any]) -> None:
        """Copies weights in; nothing is changed if one does not fit.  Averages of weights begin with them."""
        if self.built:
            self.ensure_store()
        super().set_weights(weights)
        self.averages.restart()

    def save_weights(self, path: str | os.PathLike[str]) -> None:
        """Writes the weights alone, to a safetensors file: names are those of the layers, "block/dense/kernel"."""
        from dlcore.training import weight_files
        weight_files.save(self, path)

    def load_weights(self, path: str | os.PathLike[str], skip_mismatch: bool = False) -> list[str]:
        """Copies in the weights of a safetensors file, a model file or a folder; returns the names of those taken.

        skip_mismatch: those that the file has not, or has in another shape, are left as they are.  Without it a
        ModelFileError names them.  Nothing is changed where an error is raised."""
        from dlcore.training import weight_files
        return weight_files.load(self, path, skip_mismatch)

    def freeze(self, *patterns: str) -> list[str]:
        """Sets `trainable = False` for the layers whose path or name matches one of the patterns ("block_*", "embedding");
        returns their paths.  To be called before `compile`.  UsageError for a pattern that matches none."""
        from dlcore.training import weight_files
        return weight_files.freeze(self, patterns)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes layers, weights, and what `compile` was told, with the optimizer's state, to one file."""
        from dlcore.training import saving
        saving.save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Model:
        """What `save` wrote.  custom_objects: the user's own layers, losses and metrics by name.  ModelFileError."""
        from dlcore.training import saving
        return saving.load(path, custom_objects)

    def summary(self, print_fn: Callable[[str], Any] = print) -> None:
        """Prints layers, output shapes and numbers of weights."""
        print_fn(summary_text(self))


class Sequential(Model):
    """Layers one after another.  The first has an `input_shape`, or an `Input` before it; else data gives the shape."""

    def __init__(self, layers: Iterable[Layer | Symbol] = (), name: str | None = None, seed: int = 0, **options: Any):
        super().__init__(name=name, seed=seed, **options)
        self._chain: list[Layer] = []
        self._input: Symbol | None = None
        for layer in layers:
            self.add(layer)

    def add(self, layer: Layer | Symbol) -> None:
        """Adds a layer behind the others."""
        if isinstance(layer, Symbol) and layer.node is None and not self._chain:
            self._input = layer
            return
        if not isinstance(layer, Layer):
            raise UsageError("Sequential takes layers", got=repr(layer), hint="an Input may stand first")
        if self._store is not None:
            raise UsageError("layers cannot be added to a model in use", hint="add them before weights are asked for")
        if layer in self._chain:
            raise UsageError(f"the layer {layer.name!r} stands in this Sequential twice",
                             hint="a functional Model may use a layer several times")
        if self._input is None and not self._chain:
            self._input = first_input(layer)
        self._chain.append(layer)
        if self._input is not None:
            self._join(self._input)

    def _join(self, source: Symbol) -> None:
        """Connects the layers that are not connected yet."""
        last, done = (self.network.outputs[0], len(self.network.nodes)) if self.built else (source, 0)
        for layer in self._chain[done:]:
            last = layer(last)
        self._connect(Network([source], [last], True))

    @property
    def layers(self) -> list[Layer]:
        return list(self._chain)

    def build(self, input_shape: Shape | list[Shape], dtypes: Sequence[str] | None = None) -> None:
        """Builds the model for inputs of this shape: (None, 784)."""
        if not self.built:
            if not self._chain:
                raise UsageError("this Sequential has no layers", hint="Sequential([...]) or add(layer)")
            self._input = Input(tuple(input_shape)[1:], self._chain[0].input_dtype)
            self._join(self._input)


def remember(runners: dict[Any, Runner], shapes: Any, runner: Runner) -> None:
    """Keeps a runner to be found by shapes; of data in ever new shapes only the last are kept."""
    if len(runners) >= KEPT:
        del runners[next(iter(runners))]
    runners[shapes] = runner


def first_input(layer: Layer) -> Symbol | None:
    """The input that a first layer says it takes; None where data has to tell."""
    if isinstance(layer, Model) and layer.built:
        symbol = layer.network.inputs[0]
        return Input(symbol.shape[1:], "float32" if symbol.dtype == "f32" else "int32")
    return None if layer.input_shape is None else Input(layer.input_shape, layer.input_dtype)
