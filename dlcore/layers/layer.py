"""Layers: weights, how they start, and a `call` made of ops.

    class Scale(Layer):
        def build(self, input_shape):
            self.factor = self.add_weight("factor", (input_shape[-1],), "ones")

        def call(self, x):
            return ops.mul(x, ops.spread_rows(...))

`build` runs once, when the shape of the input is known; `call` runs whenever a graph is made (training, inference,
another batch
size).  Shapes have the batch first, None where it is not known: (None, 784).
"""
from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from dlcore.errors import ShapeError, UsageError
from dlcore.layers import initializers
from dlcore.layers.trace import Trace, current, mask_of, set_mask, tracing

Shape = tuple[Any, ...]                 # (None, 784)
PROBE = 7                               # the batch size of graphs that are made only to see shapes


class Variable:
    """A weight of a layer.  Its value is a view of the model's flat buffer once the model has one."""

    def __init__(self, name: str, shape: tuple[int, ...], initializer: initializers.Initializer, trainable: bool,
                 statistic: bool, layer: Layer):
        self.name, self.shape, self.initializer = name, shape, initializer
        self.trainable, self.statistic, self.layer = trainable, statistic, layer
        self.key = f"{name}@{id(self)}"         # what graphs call it; a model's store gives it "dense_1/kernel"
        self.group = ""
        self.regularizer: Any = None
        self.decay = True               # whether weight decay is for it too; biases and norms of transformers are left out
        self.store: Any = None
        self.memory: np.ndarray | None = None

    @property
    def value(self) -> np.ndarray | None:
        """The value in the processor's memory, None before there is one."""
        if self.store is not None:
            self.store.look(self.statistic)
        return self.memory

    @value.setter
    def value(self, value: np.ndarray | None) -> None:
        self.memory = value

    @property
    def path(self) -> str:
        """"dense_1/kernel": the layers around it, and its name."""
        return f"{self.layer.path}/{self.name}" if self.store is None else self.key

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def array(self) -> np.ndarray:
        """The value itself, float32.  UsageError before there is one.  Who writes into it calls `store.changed()`."""
        value = self.value
        if value is None:
            raise UsageError(f"{self.path} has no value yet",
                             hint="build the model first: give it an input shape, or data")
        return value

    def numpy(self) -> np.ndarray:
        """A copy of the value, float32."""
        return self.array.copy()

    def assign(self, value: Any) -> None:
        """Copies a value in.  ShapeError where its shape differs."""
        array = np.asarray(value, np.float32)
        if array.shape != self.shape:
            raise ShapeError(f"{self.path} cannot take this value", expected=f"shape {self.shape}",
                             got=f"shape {array.shape}")
        if self.value is None:
            self.value = array.copy()
        else:
            self.value[...] = array
        if self.store is not None:
            self.store.changed()

    def __repr__(self) -> str:
        return f"<Variable {self.path} {self.shape}>"


class Symbol:
    """What stands for a layer's output while a model is put together: a shape without a batch, and who makes it."""

    def __init__(self, shape: Shape, dtype: str, node: Node | None = None, index: int = 0, name: str = ""):
        self.shape, self.dtype, self.node, self.index, self.name = (None, *shape), dtype, node, index, name

    def __repr__(self) -> str:
        return f"<Symbol {self.shape} {self.dtype}>"


class Node:
    """One use of a layer on symbols: `arguments` as they were passed (symbols, or lists of them)."""

    def __init__(self, layer: Layer, arguments: tuple[Any, ...]):
        self.layer, self.arguments = layer, arguments
        self.inputs = list(flatten(arguments))
        self.outputs: list[Symbol] = []
        self.single = True              # one output, not a tuple of one


def Input(shape: Shape, dtype: str = "float32", name: str | None = None) -> Symbol:  # noqa: N802  (Keras's name)
    """An input of a functional model.  shape: without the batch.  dtype: "float32", or "int32" for ids."""
    if dtype not in ("float32", "int32"):
        raise UsageError("an input's dtype is float32 or int32", got=repr(dtype))
    if not isinstance(shape, (tuple, list)) or not all(isinstance(n, (int, np.integer)) and n > 0 for n in shape):
        raise UsageError("an input's shape is a tuple of positive sizes, without the batch", expected="Input((784,))",
                         got=f"Input({shape!r})")
    return Symbol(tuple(int(n) for n in shape), "f32" if dtype == "float32" else "i32", name=name or "")


def flatten(value: Any) -> Iterator[Any]:
    """The leaves of nested tuples and lists."""
    if isinstance(value, (tuple, list)):
        for v in value:
            yield from flatten(v)
    else:
        yield value


def mapped(function: Any, value: Any) -> Any:
    """`function` of each leaf, in the same nesting of tuples and lists."""
    if isinstance(value, (tuple, list)):
        return type(value)(mapped(function, v) for v in value)
    return function(value)


def listed(out: Any) -> list[Any]:
    """What a layer returned, as a list: one output, or those of a tuple, list or dict."""
    return list(out.values()) if isinstance(out, dict) else list(out) if isinstance(out, (tuple, list)) else [out]


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


class Layer:
    """Base class of layers.

    name         unique in a model; chosen by the model if not given
    trainable    False freezes the weights of this layer and of the layers in it
    input_shape  for the first layer of a Sequential: the input's shape without the batch
    activity_regularizer, kernel_regularizer, bias_regularizer, ...   of the output, and of the weights called so
    """

    _arguments: tuple[tuple[Any, ...], dict[str, Any]]
    _weights: list[Variable]
    _built: bool

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        self = super().__new__(cls)
        self._arguments = arguments, options            # for get_config
        self._weights = []
        self._built = False
        return self

    # of the model's input where this layer comes first; "int32" for layers that take ids
    input_dtype = "float32"
    # whether the mask of the input is that of the output
    supports_masking = False

    def __init__(self, name: str | None = None, trainable: bool = True, input_shape: Shape | None = None,
                 activity_regularizer: Any = None, **regularizers: Any):
        if name is not None and (not isinstance(name, str) or not name):
            raise UsageError("a layer's name is a text", got=repr(name))
        self.given_name, self.trainable = name, trainable
        self.name = self.path = name or snake_case(type(self).__name__)
        self.named = False              # a model has given it its unique name
        self.input_shape = None if input_shape is None else tuple(input_shape)
        self._regularizers = _chosen(type(self).__name__, {"activity_regularizer": activity_regularizer, **regularizers})

    # ---- what subclasses write --------------------------------------------------------------------------------------
    def build(self, input_shape: Any) -> None:
        """Adds the weights.  input_shape: (None, ...), or a list of them where `call` takes several tensors."""

    def call(self, *tensors: Any, **options: Any) -> Any:
        """Ops on tensors of a graph.  A parameter named `training` gets True where the graph is a training step's; `mask`
        gets the mask of the first tensor (a list of masks for a list of tensors), `value_mask` that of `value`."""
        raise NotImplementedError(f"{type(self).__name__} must implement call")

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """The mask of the output: f32 [B, T] or None.  inputs, mask: the first argument of `call`, and its mask.

        Unless overridden, that of the input where `supports_masking` is set, else none."""
        return mask if self.supports_masking and not isinstance(mask, (tuple, list)) else None

    def add_weight(self, name: str, shape: Shape, initializer: str | initializers.Initializer = "glorot_uniform",
                   trainable: bool = True, statistic: bool = False, decay: bool = True) -> Variable:
        """A float32 weight.  statistic: kept with the model, but not trained (running means); decay: not for it, if False."""
        shape = tuple(int(n) for n in shape)
        if any(v.name == name for v in self._weights):
            raise UsageError(f"layer {self.name!r} has two weights called {name!r}")
        variable = Variable(name, shape, initializers.get(initializer), trainable and not statistic, statistic, self)
        variable.regularizer = self._regularizer(name)
        variable.decay = decay
        self._weights.append(variable)
        return variable

    def _regularizer(self, name: str) -> Any:
        """What the constructor was given for the weight of this name: "recurrent_regularizer" is of recurrent_kernel, too."""
        found = vars(self).get("_regularizers", {})
        return found.get(name, found.get(name.removesuffix("_kernel")))

    # ---- weights as attributes: a Variable, or the graph's tensor of it while a trace is open ------------------------
    def __setattr__(self, name: str, value: Any) -> None:
        if name not in ("_weights", "_held") and any(isinstance(v, Variable) for v in flatten(value)):
            self.__dict__.pop(name, None)
            self.__dict__.setdefault("_held", {})[name] = value
        elif getattr(getattr(type(self), name, None), "fset", None) is not None:
            object.__setattr__(self, name, value)       # a property that can be set
        else:
            self.__dict__[name] = value

    def __getattr__(self, name: str) -> Any:
        held = self.__dict__.get("_held", {})
        if name not in held:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        trace = current()
        return held[name] if trace is None else mapped(trace.tensor, held[name])

    # ---- calling ----------------------------------------------------------------------------------------------------
    def __call__(self, *arguments: Any) -> Any:
        """On symbols: a new node of a functional model.  On tensors of a graph: the ops of this layer."""
        leaves = list(flatten(arguments))
        if not leaves:
            raise UsageError(f"layer {self.name!r} was called without an input")
        if all(isinstance(a, Symbol) for a in leaves):
            return self._symbolic(arguments)
        if any(isinstance(a, Symbol) or not hasattr(a, "graph") for a in leaves):
            raise UsageError(f"layer {self.name!r} takes symbols or tensors of a graph", got=_kinds(leaves),
                             hint="arrays go to fit, predict or predict_on_batch of a model")
        self.ensure_built(arguments)
        trace, graph = current(), leaves[0].graph
        if trace is None or trace.graph is not graph:
            with tracing(Trace(graph, False)), graph.scope(self.name):
                return self._call(arguments, False)
        with graph.scope(self.name):
            return self._call(arguments, trace.training)

    def _call(self, arguments: tuple[Any, ...], training: bool) -> Any:
        try:
            out = self.call(*arguments, **self._options(arguments, training))
            activity = vars(self).get("_regularizers", {}).get("activity")
            trace = current()
            if activity is not None and trace is not None:
                trace.penalties += [activity.per_sample(t) for t in flatten(listed(out))]
            if hasattr(out, "graph"):
                set_mask(out, self.compute_mask(arguments[0], mapped(mask_of, arguments[0])))
            return out
        except ShapeError as error:
            if not error.where:
                shapes = ", ".join(str((None, *a.shape[1:])) for a in flatten(arguments))
                error.where = f"layer {self.name!r} ({type(self).__name__}) on {shapes}"
            raise

    def _options(self, arguments: tuple[Any, ...], training: bool) -> dict[str, Any]:
        """What `call` wants to know besides its tensors: whether this is training, and their masks."""
        known = parameters(type(self).call)
        options: dict[str, Any] = {"training": training} if "training" in known else {}
        for name in known[len(arguments):]:
            of = known[0] if name == "mask" else name.removesuffix("_mask")
            if name != of and of in known[:len(arguments)]:
                options[name] = mapped(mask_of, arguments[known.index(of)])
        return options

    def ensure_built(self, arguments: tuple[Any, ...]) -> None:
        """Builds the layer for these inputs, the first time."""
        if not self._built:
            shapes = [(None, *a.shape[1:]) for a in flatten(arguments)]
            with tracing(None):
                self.build(shapes[0] if len(shapes) == 1 and not isinstance(arguments[0], (tuple, list)) else shapes)
            self._built = True
            names = {v.name for v in self._weights}
            for name in vars(self).get("_regularizers", {}):
                if name not in ("activity", *names, *(n.removesuffix("_kernel") for n in names)):
                    raise UsageError(f"layer {self.name!r} has no weight called {name!r}", expected=", ".join(sorted(names)),
                                     got=f"{name}_regularizer")

    def _symbolic(self, arguments: tuple[Any, ...]) -> Any:
        """A node, and the symbols of its outputs; their shapes come from running `call` on a graph of its own."""
        from dlcore.graph import Graph
        node, graph, count = Node(self, arguments), Graph(), iter(range(len(list(flatten(arguments)))))
        tensors = mapped(lambda s: graph.input(f"x{next(count)}", PROBE, *s.shape[1:], dtype=s.dtype), arguments)
        with tracing(Trace(graph, False)):
            out = self(*tensors)
        node.single = not isinstance(out, (tuple, list, dict))
        for index, t in enumerate(listed(out)):
            if not t.shape or t.shape[0] != PROBE:
                raise ShapeError(f"layer {self.name!r} does not keep the batch axis",
                                 expected="batch first in each output",
                                 got=f"shape {t.shape} for a batch of {PROBE}")
            node.outputs.append(Symbol(t.shape[1:], t.dtype, node, index))
        if isinstance(out, dict):
            return dict(zip(out, node.outputs, strict=True))
        return node.outputs[0] if node.single else tuple(node.outputs)

    # ---- what it holds -----------------------------------------------------------------------------------------------
    def sublayers(self) -> list[Layer]:
        """The layers among its attributes, in order of assignment."""
        found = [v for value in vars(self).values() for v in _layers_in(value)]
        return list(dict.fromkeys(found))

    def all_layers(self) -> list[Layer]:
        """This layer and the layers in it, parents first."""
        return list(dict.fromkeys([self, *(inner for layer in self.sublayers() for inner in layer.all_layers())]))

    @property
    def variables(self) -> list[Variable]:
        """Its own weights, then those of the layers in it."""
        return list(dict.fromkeys(v for layer in self.all_layers() for v in layer._weights))

    @property
    def weights(self) -> list[Variable]:
        return self.variables

    @property
    def trainable_variables(self) -> list[Variable]:
        """The weights that training changes: those not frozen here, nor by a layer around them."""
        if not self.trainable:
            return []
        own = [v for v in self._weights if v.trainable]
        return list(dict.fromkeys(own + [v for layer in self.sublayers() for v in layer.trainable_variables]))

    def count_params(self) -> int:
        return sum(v.size for v in self.variables)

    def get_weights(self) -> list[np.ndarray]:
        """Copies of all weights, in the order of `variables`."""
        return [v.numpy() for v in self.variables]

    def set_weights(self, weights: list[Any]) -> None:
        """Copies weights in, in the order of `variables`; nothing is changed if one does not fit."""
        arrays, variables = [np.asarray(w, np.float32) for w in weights], self.variables
        if len(arrays) != len(variables):
            raise ShapeError(f"{self.name!r} has {len(variables)} weights", got=f"{len(arrays)} arrays")
        for v, a in zip(variables, arrays, strict=True):
            if a.shape != v.shape:
                raise ShapeError(f"{v.path} cannot take this value", expected=f"shape {v.shape}",
                                 got=f"shape {a.shape}")
        for v, a in zip(variables, arrays, strict=True):
            v.assign(a)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments as they were given, so that `cls(**config)` makes the same layer."""
        arguments, options = self._arguments
        signature = inspect.signature(type(self).__init__)
        bound = dict(signature.bind(self, *arguments, **options).arguments)
        config: dict[str, Any] = {}
        for (key, value), parameter in zip(bound.items(), (signature.parameters[k] for k in bound), strict=True):
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                config |= value
            elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL and value is not self:
                config[key] = value
        return config | {"name": self.name} | ({} if self.trainable else {"trainable": False})

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Layer:
        return cls(**config)


def _chosen(layer: str, given: dict[str, Any]) -> dict[str, Any]:
    """{"kernel": regulariser} from {"kernel_regularizer": ...}; TypeError for any other argument, as Python has it."""
    found = {}
    for key, value in given.items():
        if not key.endswith("_regularizer"):
            raise TypeError(f"{layer}() got an unexpected keyword argument {key!r}")
        if value is not None:
            from dlcore.layers import regularizers
            found[key.removesuffix("_regularizer")] = regularizers.get(value)
    return found


def _layers_in(value: Any) -> Iterator[Layer]:
    if isinstance(value, Layer):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from _layers_in(v)
    elif isinstance(value, dict):
        yield from _layers_in(list(value.values()))


@functools.cache
def parameters(call: Callable[..., Any]) -> tuple[str, ...]:
    """The names of its parameters, without `self`."""
    return tuple(inspect.signature(call).parameters)[1:]


def _kinds(values: list[Any]) -> str:
    return ", ".join(sorted({type(v).__name__ for v in values}))
