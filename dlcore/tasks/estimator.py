"""What the estimators share: scikit-learn's manners without scikit-learn, one way to train, one way to save."""
from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from dlcore.data.dataset import Dataset
from dlcore.data.loader import Source
from dlcore.data.split import split
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.tasks import manners, recipe, settings
from dlcore.tasks.batches import Batches

if TYPE_CHECKING:
    from dlcore.graph import Tensor
    from dlcore.training.callbacks import Callback
    from dlcore.training.history import History
    from dlcore.training.model import Model

FEWEST_TO_DIVIDE = 50                  # with fewer rows all are trained on, unless a share was asked for by number of rows
_PIECE = 4096                           # rows that are encoded at once
_SECTIONS = {"data": ("val_split",), "model": ("hidden", "dropout"),
             "train": ("epochs", "batch", "optimizer", "lr", "schedule", "weight_decay", "patience")}


class Estimator:
    """Base class.  A subclass's constructor stores its parameters under their names and does nothing else.

    It says what a row is (`_fit_inputs`, `_inputs`), what an answer is (`_fit_answers`), and its `task`.
    """

    task: ClassVar[str]
    _kind: ClassVar[str]                # "classifier" or "regressor"; "multi-label": any number of labels
    _input_dtype: ClassVar[str] = "f32"
    _sections: ClassVar[Mapping[str, tuple[str, ...]]] = _SECTIONS      # of a configuration -> parameters
    _own: ClassVar[Mapping[str, tuple[str, ...]]] = {}      # section -> parameters that this estimator alone has there
    _network: Model
    # parameters that every estimator has
    hidden: Sequence[int]
    dropout: float
    epochs: int
    batch_size: int
    lr: float
    optimizer: str
    schedule: str
    weight_decay: float
    patience: int
    val_split: float
    random_state: int | None
    training: Mapping[str, Any] | None = None      # further settings: see `dlcore.tasks.recipe`
    _tables = False             # whether its networks look ids up in tables
    foldable: ClassVar[bool] = True     # whether rows can be divided into folds

    # ---- scikit-learn's manners --------------------------------------------------------------------------------------

    @classmethod
    def _parameters(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters.  `deep` is there for scikit-learn: no parameter is an estimator."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Change parameters by name; raises `UsageError` for one that does not exist."""
        for name, value in params.items():
            if name not in self._parameters():
                raise UsageError(f"{type(self).__name__} has no parameter {name!r}",
                                 expected=", ".join(self._parameters()))
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = inspect.signature(type(self).__init__).parameters
        changed = [f"{name}={value!r}" for name, value in self.get_params().items() if value != defaults[name].default]
        return f"{type(self).__name__}({', '.join(changed)})"

    @property
    def _estimator_type(self) -> str:
        return self._kind

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_network")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags
        # texts are taken as categories, but the tag `string` would promise to take any object
        images = self.task == "image-classify"
        return Tags(estimator_type=self._kind, target_tags=TargetTags(required=True),
                    classifier_tags=ClassifierTags() if self._kind == "classifier" else None,
                    regressor_tags=RegressorTags() if self._kind == "regressor" else None,
                    input_tags=InputTags(allow_nan=not images, two_d_array=not images, three_d_array=images))

    def sections(self) -> dict[str, dict[str, Any]]:
        """The parameters as a configuration groups them, but for the seed: see `Task.defaults`."""
        params = {**_plain(self.get_params()), "batch": self.batch_size, **recipe.of(self)}
        keys = [key for key in recipe.KEYS if self._tables or key != "sparse"] if "training" in params else []
        own = {**self._own, "train": (*self._own.get("train", ()), *keys)}
        return {section: {name.replace("_", "-"): params[name] for name in (*names, *own.get(section, ()))}
                for section, names in self._sections.items()}

    # ---- what a subclass says ----------------------------------------------------------------------------------------

    def _fit_inputs(self, x: Any, rows: np.ndarray) -> list[str]:
        """Fit the preprocessing on these rows; what it decided, one line each."""
        raise NotImplementedError

    def _raw(self, x: Any) -> Any:
        """Inputs to train on in a form that has a length and rows; raises `DataError`."""
        raise NotImplementedError

    def _checked(self, x: Any) -> Any:
        """The same for inputs of a fitted estimator: they must be of the kind that it was trained on."""
        raise NotImplementedError

    def _inputs(self, x: Any) -> np.ndarray:
        """Raw inputs as the network takes them: f32 (N, width)."""
        raise NotImplementedError

    def _training(self, x: Any, rows: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> np.ndarray | Source:
        """These rows of the inputs to train on: encoded, or a source that makes each batch when it is needed."""
        return self._inputs(take(x, rows))

    def _held_back(self, x: Any, rows: np.ndarray, targets: np.ndarray) -> Any:
        """These rows to validate on: encoded, with targets; or an iterable of such batches."""
        return self._inputs(take(x, rows)), targets

    def _parts(self) -> dict[str, Any]:
        """The fitted preprocessing for a model file: file name -> JSON."""
        raise NotImplementedError

    def _restore(self, config: Mapping[str, Any], extras: Mapping[str, Any], where: str) -> int | tuple[int, ...]:
        """The opposite of `_parts`; returns how many numbers a row has, or their shape.  Raises `ModelFileError`."""
        raise NotImplementedError

    # ---- training ----------------------------------------------------------------------------------------------------

    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
            callbacks: Sequence[Callback] = (), log: Callable[[str], None] | None = None) -> Self:
        """Train on raw inputs `x` and answers `y`, or on a `Dataset`.

        `sample_weight` (N,) weighs the rows' losses.  `validation_data` is a `Dataset` or a pair (x, y); without it a
        share `val_split` of the rows is kept for validation.  `log` is told every decision, one line at a time.
        `callbacks` see the network's training; in them `save` works.  Raises `DataError` and `UsageError` before
        anything is trained, and `DivergedError`.
        """
        say = log or (lambda line: None)
        self._check_params()
        x, y = pair(x, y, "the training data")
        x = self._raw(x)
        if len(x) != len(y):
            raise DataError("inputs and answers do not fit together", expected=f"{len(x):,} answers", got=f"{len(y):,}")
        if len(x) < 2:
            raise DataError(f"there is only {len(x)} sample to train on" if len(x) else "there are no rows to train on")
        self.seed_ = int.from_bytes(os.urandom(4)) if self.random_state is None else int(self.random_state)
        for line in self._fit_answers(y):
            say(line)
        targets = self._targets(y)
        weight = manners.weights(sample_weight, len(x))
        train, val, line = self._divide(targets, validation_data)
        self.validation_rows_ = val                             # of x; none where all rows are trained on
        say(line)
        for line in self._fit_inputs(x, train):
            say(line)
        validation = self._validation(x, targets, val, validation_data)
        taken = targets[train], None if weight is None else weight[train].astype(np.float32)
        self._train(self._training(x, train, *taken), *taken, validation, callbacks, say)
        return self

    def _check_params(self) -> None:
        settings.check_params(self)

    def _divide(self, targets: np.ndarray, validation_data: Any) -> tuple[np.ndarray, np.ndarray, str]:
        """Row numbers for training and validation, and a line about them."""
        count = len(targets)
        everything, nothing = np.arange(count), np.arange(0)
        if validation_data is not None:
            return everything, nothing, f"{count:,} rows to train on, validation data as given"
        if self.val_split == 0:
            return everything, nothing, f"all {count:,} rows are trained on, none kept for validation"
        if count < FEWEST_TO_DIVIDE:
            return everything, nothing, f"all {count:,} rows are trained on: too few to keep some for validation"
        train, val = split(count, self.val_split, self.seed_, targets if self._kind == "classifier" else None)
        how = "by label, " if self._kind == "classifier" else ""
        return train, val, f"{len(train):,} rows to train on, {len(val):,} for validation ({how}seed {self.seed_})"

    def _validation(self, x: Any, targets: np.ndarray, val: np.ndarray,
                    validation_data: Any) -> tuple[np.ndarray, np.ndarray] | None:
        if validation_data is not None:
            given = validation_data if isinstance(validation_data, tuple) else (validation_data, None)
            x_val, y_val = pair(given[0], given[1], "the validation data")
            return self._inputs(x_val), self._targets(y_val)
        return self._held_back(x, val, targets[val]) if len(val) else None

    def _make(self, shape: tuple[int, ...]) -> tuple[Model, str]:
        """The network for encoded inputs of this shape, and its description."""
        from dlcore.models import mlp
        network = mlp(shape, self.hidden, self._outputs(), dropout=self.dropout, seed=self.seed_,
                      output_activation="softmax" if self._kind == "classifier" else None)
        return network, "-".join(map(str, (shape[0], *self.hidden, self._outputs())))

    def _begin(self, network: Model, path: str) -> list[str]:
        """Takes weights to begin with; the names of those that fit.   ModelFileError"""
        return network.load_weights(path, skip_mismatch=True)

    def learning_rates(self) -> dict[str, float]:
        """Factors of the learning rate by patterns of weights, where the recipe gives none."""
        return {}

    def _compile(self, network: Model) -> None:
        """Loss, metrics and optimizer."""
        settings.compile(network, self)

    def _train(self, inputs: np.ndarray | Source | Batches, targets: np.ndarray, weight: np.ndarray | None,
               validation: tuple[np.ndarray, np.ndarray] | None, callbacks: Sequence[Callback],
               say: Callable[[str], None]) -> None:
        from dlcore.training.early_stopping import EarlyStopping
        loaded = isinstance(inputs, (Source, Batches))
        shape = inputs.shape if loaded else inputs.shape[1:]
        network, described = self._make(shape)
        for line in recipe.prepare(network, self):
            say(line)
        self._compile(network)
        for line in recipe.set_precision(network, self):
            say(line)
        self._network = network
        say(f"network {described}, {network.count_params():,} weights; dropout {self.dropout:g}")
        say(f"{self.optimizer}, learning rate {self.lr:g} ({self.schedule}), batches of {self.batch_size}, "
            f"at most {self.epochs} epochs" + (f", weight decay {self.weight_decay:g}" if self.weight_decay else "")
            + recipe.described(self)
            + (f", stops {self.patience} epochs after the best" if self.patience and validation else ""))
        best = EarlyStopping(recipe.of(self)["monitor"], patience=self.patience or None) if validation else None
        size = 1 if isinstance(inputs, Batches) else self.batch_size
        steps = -(-len(inputs) // (size * recipe.of(self)["accumulate"]))
        network.optimizer.learning_rate = recipe.schedule(self, self.epochs * steps, steps) or self.lr
        own: list[Callback] = [inputs] if isinstance(inputs, Batches) else []
        own += [recipe.plateau(self)] if self.schedule == "plateau" else []
        if isinstance(validation, tuple) and settings.mixes_targets(self):
            validation = validation[0], settings.one_hot(validation[1], self._outputs())
        history = network.fit(inputs, None if loaded else targets, batch_size=self.batch_size, epochs=self.epochs,
                              validation_data=validation, sample_weight=None if loaded else weight,
                              callbacks=[*own, *callbacks, *([best] if best else [])], seed=self.seed_, verbose=0)
        self.history_: History = history
        self.n_iter_ = len(history.epoch)
        if best:
            say(best.describe())

    def measure_loader(self, data: Dataset, batch_size: int, steps: int) -> dict[str, float] | None:
        """Trains the network so many steps on batches that the loader makes of `data`; see `training.loaded.measure`.

        None where there is no loader, because the step gathers its rows itself.  The weights change: this is for measuring."""
        from dlcore.training.loaded import measure
        network, x = self.model, self._raw(data.x)
        source = self._training(x, np.arange(len(x)), self._targets(np.asarray(data.y)), None)
        if not isinstance(source, Source):
            return None
        precision = network.precision
        self._compile(network)
        network.precision = precision
        return measure(network, source, batch_size, steps)

    # ---- using what was trained --------------------------------------------------------------------------------------

    @property
    def model(self) -> Model:
        """The network, on encoded inputs."""
        if not self.__sklearn_is_fitted__():
            raise manners.not_fitted(f"this {type(self).__name__} is not fitted", hint="call fit first")
        return self._network

    @property
    def answers_in(self) -> str:
        """The precision of products in what the network answers: "float32" (so it is after training and loading), or what is
        assigned here, of "bf16", "tf32x3" and "int8"; see `Model.answers_in`.   UsageError for any other, and before `fit`"""
        return self.model.answers_in

    @answers_in.setter
    def answers_in(self, precision: str) -> None:
        self.model.answers_in = precision

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the network's weights, f32."""
        return self.model.get_weights()

    def _predict(self, x: Any) -> np.ndarray:
        """The network's outputs, f32 (N, outputs); inputs are encoded piece by piece."""
        network = self.model
        x = self._checked(x)
        out = np.empty((len(x), self._outputs()), np.float32)
        for begin in range(0, len(x), _PIECE):
            rows = np.arange(begin, min(begin + _PIECE, len(x)))
            out[rows] = network.predict(self._inputs(take(x, rows)))
        return out

    # ---- export ------------------------------------------------------------------------------------------------------

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of one sample as exported code takes it: encoded, unless a subclass says otherwise."""
        assert self.model.network is not None
        return self.model.network.inputs[0].shape[1:]

    def samples(self, x: Any) -> np.ndarray:
        """Raw inputs as exported code is given them, f32 (N, *sample_shape)."""
        return self._inputs(self._checked(x))

    def answers(self, samples: np.ndarray) -> np.ndarray:
        """The answers to such samples, f32 (N, outputs)."""
        return self.model.predict(samples).reshape(len(samples), -1)

    def random_samples(self, count: int) -> np.ndarray:
        """Samples for a comparison where there are no data, f32 (count, *sample_shape)."""
        return np.random.default_rng(0).standard_normal((count, *self.sample_shape), dtype=np.float32)

    def trace(self, x: Tensor) -> Tensor:
        """The answer to one such sample, by ops on tensors of a graph."""
        assert self.model.network is not None
        out = self.model.network.apply([x])[0]
        return out.reshape(1, out.size)

    # ---- files -------------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, *, folder: bool = False) -> None:
        """Write a model file (or, with `folder`, a folder) that `dlcore.load` reads back.  Raises `WriteError`."""
        from dlcore.deploy import model_file
        model_file.write(path, *self.contents(), folder=folder)

    def contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        """(config, tensors, further parts) of the model file; the tensors are the weights' own memory, not copies."""
        from dlcore.tasks.card import card
        from dlcore.training import saving
        parts, tensors = saving.parts(self.model)
        config = {"model_type": self.task, "estimator": type(self).__name__, "params": _plain(self.get_params()),
                  "model": parts["model"]}
        # what the optimizer remembers belongs to a checkpoint
        weights = {name: tensor for name, tensor in tensors.items() if name.startswith("weights/")}
        extras = {**self._parts(), "labels.json": self._answers.to_json(), "README.md": card(self)}
        return config, weights, extras

    @classmethod
    def _described(cls, config: Mapping[str, Any], where: str) -> Self:
        """One with the parameters that a model file names.   ModelFileError"""
        params = config.get("params")
        if not isinstance(params, Mapping) or not set(params) <= set(cls._parameters()):
            raise ModelFileError("the parameters of the model are malformed", where=where)
        made = cls(**params)
        try:
            made._check_params()
        except UsageError as error:
            raise ModelFileError("a parameter of the model is malformed", where=where, got=error.message) from None
        return made

    @classmethod
    def from_file(cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], extras: Mapping[str, Any],
                  where: str) -> Self:
        """The estimator that a model file describes; raises `ModelFileError` whatever the file says."""
        result = cls._described(config, where)
        result._answers = cls._answers_from_json(extras.get("labels.json"), f"{where}, labels.json")
        width = result._restore(config, extras, where)
        from dlcore.training import saving
        network = saving.restore({"model": config.get("model")}, tensors, where=where)
        assert network.network is not None
        found = [(symbol.dtype, symbol.shape[1:]) for symbol in (*network.network.inputs, *network.network.outputs)]
        expected = [*((cls._input_dtype, _shape(n)) for n in result._input_widths(width)),
                    *(("f32", _shape(n)) for n in result._output_widths())]
        if found != expected or not result._fits(network):
            raise ModelFileError("network, preprocessing and labels do not fit together", where=where, expected=str(expected),
                                 got=str(found)[:120])
        result._network = network
        return result

    def _input_widths(self, width: Any) -> Sequence[Any]:
        """Numbers per row, or their shape, of each input of the network, the rows of data being of this width."""
        return [width]

    def _output_widths(self) -> Sequence[int | tuple[int, ...]]:
        """Numbers per row of each output of the network, or their shape."""
        return [self._outputs()]

    def _fits(self, network: Any) -> bool:
        """Whether a network that was read suits the preprocessing, beyond its sizes."""
        return True

    # ---- answers: see supervised.py --------------------------------------------------------------------

    _answers: Any

    def _fit_answers(self, y: Any) -> list[str]:
        raise NotImplementedError

    @classmethod
    def _answers_from_json(cls, value: Any, where: str) -> Any:
        raise NotImplementedError

    def _targets(self, y: Any) -> np.ndarray:
        return self._answers.encode(y)

    def _outputs(self) -> int:
        raise NotImplementedError


def pair(x: Any, y: Any, name: str) -> tuple[Any, Any]:
    """Inputs and answers, from a `Dataset` or as they come."""
    if isinstance(x, Dataset):
        x, y = x.x, x.y
    if y is None:
        raise DataError(f"{name} has no answers", got="it requires y to be passed, but the target y is None")
    return x, manners.as_column(y)


def take(x: Any, rows: np.ndarray) -> Any:
    return x[rows] if isinstance(x, np.ndarray) else x.take(rows)


def renamed(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the command line as parameters: `batch` is `batch_size` there, and the recipe is one, `training`."""
    training = {name: value for name, value in options.items() if name in recipe.KEYS and value != recipe.KEYS[name][0]}
    own = {"batch_size" if name == "batch" else name: value for name, value in options.items() if name not in recipe.KEYS}
    return own | ({"training": training} if training else {})


def _shape(width: int | tuple[int, ...]) -> tuple[int, ...]:
    return width if isinstance(width, tuple) else (width,)


def _plain(value: Any) -> Any:
    """A parameter as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple, np.ndarray)) else value
