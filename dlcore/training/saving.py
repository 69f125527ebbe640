"""Models to files and back: layers and connections as JSON, weights as tensors; never code.

    {"model_type": "model", "model": {"class_name": "Sequential", ...}, "compile": {...}, "training": {"step": 1200,
    ...}}

What is read is not trusted: whatever does not make a model is a ModelFileError, and nothing is allocated before the
shapes that the layers ask for are those of the tensors in the file.
"""
from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dlcore import layers as layers_module
from dlcore import optim
from dlcore.errors import DlcoreError, ModelFileError, UsageError
from dlcore.layers import activations, initializers, regularizers
from dlcore.layers.initializers import Initializer
from dlcore.layers.layer import Input, Layer, Symbol, Variable, listed, mapped
from dlcore.training import losses
from dlcore.training.state import TrainingState

if TYPE_CHECKING:
    from dlcore.training.model import Model

MODEL_TYPE = "model"
OPTIMIZERS = tuple(name for names in optim.ROOMS.values() for name in names)
_FAULTS = (ArithmeticError, AttributeError, IndexError, KeyError, MemoryError, RecursionError, TypeError, ValueError)


# ---- writing ---------------------------------------------------------------------------------------------------------
def save(model: Model, path: str | os.PathLike[str], extras: Mapping[str, Any] | None = None) -> None:
    """Writes a model file, whole or not at all."""
    from dlcore.deploy import model_file
    config, tensors = parts(model)
    model_file.write(path, {"model_type": MODEL_TYPE, **config}, tensors, dict(extras or {}))


def parts(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(config, tensors) that `restore` makes the model of; a task puts them into a file of its own."""
    if not model.built:
        raise UsageError("a model without shapes cannot be saved",
                         hint="give its first layer an input_shape, or fit it")
    model.ensure_store()
    if model.averages.kept and not model.averages.in_place:
        with model.averages.used(True):         # in the middle of an epoch: what is saved is what is used
            averaged, tensors = parts(model)
            return averaged, {name: tensor.copy() for name, tensor in tensors.items()}
    tensors = {f"weights/{name}": v.array for name, v in named_variables(model).items()}
    config: dict[str, Any] = {"model": model_config(model)}
    if model.optimizer is not None and model.own_class:
        config["compile"] = {"optimizer": optimizer_config(model.optimizer), "precision": model.precision,
                             **model.objective.config()}
        state = model.state
        config["training"] = {"seed": state.seed, "epoch": state.epoch + bool(state.position), "step": state.step}
        if model.averages.in_place:
            config["training"]["averages"] = True
        tensors |= {f"optimizer/{name}": view for name, view in model.store.state(model.optimizer.name).items()}
    return config, tensors


def writing(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What `save` would write now, copied: (config, tensors) for `model_file.write`, in another thread if need be."""
    config, tensors = parts(model)
    return {"model_type": MODEL_TYPE, **config}, {name: tensor.copy() for name, tensor in tensors.items()}


def pickled(model: Model) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, type[Layer]]]:
    """Config, tensors (copies) and the user's own layer classes: the arguments of `unpickled`."""
    config, tensors = parts(model)
    config["answers_in"] = model._answers_in        # a copy answers as the model does; one from a file as is chosen there
    own = {type(layer).__name__: type(layer) for layer in (model, *_inner(model))
           if getattr(layers_module, type(layer).__name__, None) is not type(layer)}
    return config, {name: tensor.copy() for name, tensor in tensors.items()}, own


def unpickled(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], own: Mapping[str, Any]) -> Model:
    """The model of `pickled`."""
    model = restore(config, tensors, own, "a pickle")
    model.answers_in = config.get("answers_in", "")
    return model


def _inner(layer: Layer) -> list[Layer]:
    return [inner for child in layer.sublayers() for inner in (child, *_inner(child))]


def named_variables(model: Layer) -> dict[str, Variable]:
    """Every weight once, by the names of the layers around it: "block/dense/kernel"."""
    found: dict[str, Variable] = {}
    seen: set[int] = set()

    def walk(layer: Layer, prefix: str) -> None:
        for v in layer._weights:
            if id(v) not in seen:
                seen.add(id(v))
                found[_free(prefix + v.name, found)] = v
        for inner in layer.sublayers():
            walk(inner, f"{prefix}{inner.name}/")
    walk(model, "")
    return found


def _free(name: str, taken: Mapping[str, Any]) -> str:
    n, free = 1, name
    while free in taken:
        n += 1
        free = f"{name}:{n}"
    return free


def model_config(model: Model) -> dict[str, Any]:
    """Layers and connections."""
    from dlcore.training.model import Model, Sequential
    network = model.network
    kind = type(model) if model.own_class else Model
    config: dict[str, Any] = {"class_name": kind.__name__, "name": model.name, "seed": model.seed,
                              "inputs": [{"name": s.name, "shape": list(s.shape[1:]), "dtype": _long(s.dtype)}
                                         for s in network.inputs]}
    if type(model) is Sequential:
        return config | {"layers": [layer_config(layer) for layer in model.layers]}
    if kind is not Model:
        return config | {"config": plain(model.get_config())}
    places = {id(s): {"input": i} for i, s in enumerate(network.inputs)}
    for n, node in enumerate(network.nodes):
        places |= {id(s): {"node": n, "output": k} for k, s in enumerate(node.outputs)}
    layers = network.layers
    return config | {
        "layers": [layer_config(layer) for layer in layers],
        "nodes": [{"layer": layers.index(node.layer),
                   "arguments": mapped(lambda s: places[id(s)], list(node.arguments))}
                  for node in network.nodes],
        "outputs": [places[id(s)] for s in network.outputs], "single_output": network.single_output,
        **({"output_keys": list(network.output_keys)} if network.output_keys else {}),
        **({"fewer_steps": True} if network.fewer_steps else {})}


def layer_config(layer: Layer) -> dict[str, Any]:
    from dlcore.training.model import Model
    if isinstance(layer, Model):
        return {"model": model_config(layer), "trainable": layer.trainable}
    return {"class_name": type(layer).__name__, "config": plain(layer.get_config())}


def plain(value: Any) -> Any:
    """Constructor arguments as JSON."""
    if isinstance(value, Initializer):
        return {"initializer": initializers.serialise(value)}
    if isinstance(value, regularizers.Regularizer):
        return {"regularizer": regularizers.serialise(value)}
    if isinstance(value, Layer):
        return {"layer": layer_config(value)}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, (np.integer, np.floating)):
        return value.item()
    if callable(value):
        return activations.serialise(activations.get(value))
    return value


def optimizer_config(optimizer: Any) -> dict[str, Any]:
    if type(optimizer).__name__ not in OPTIMIZERS:
        raise UsageError("an optimizer of the user's own cannot be saved", got=type(optimizer).__name__)
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def _long(dtype: str) -> str:
    return "float32" if dtype == "f32" else "int32"


# ---- reading ---------------------------------------------------------------------------------------------------------
def load(path: str | os.PathLike[str], custom_objects: Mapping[str, Any] | None = None) -> Model:
    """The model in a file.  ModelFileError where it holds none."""
    from dlcore.deploy import model_file
    config, tensors, _ = model_file.read(path)
    if config.get("model_type") != MODEL_TYPE:
        raise ModelFileError("this file holds something else than a model", where=str(path), expected=MODEL_TYPE,
                             got=repr(config.get("model_type")), hint="dlcore.load(path) opens every kind")
    return restore(config, tensors, custom_objects, str(path))


def restore(config: Mapping[str, Any], tensors: Mapping[str, np.ndarray],
            custom_objects: Mapping[str, Any] | None = None,
            where: str = "") -> Model:
    """The model of `parts`.  ModelFileError where config and tensors do not make one."""
    own = dict(custom_objects or {})
    try:
        model = make_model(config["model"], own)
        take_weights(model, tensors)
        if "compile" in config:
            take_compiled(model, config["compile"], config.get("training", {}), tensors, own)
    except ModelFileError:
        raise
    except DlcoreError as error:
        raise ModelFileError("the model's description makes no model", where=where or error.where,
                             got=str(error).replace("\n", ";"), hint=error.hint) from error
    except _FAULTS as error:
        raise ModelFileError("the model's description is damaged", where=where,
                             got=f"{type(error).__name__}: {error}"[:200]) from error
    return model


def make_model(config: Mapping[str, Any], own: Mapping[str, Any]) -> Model:
    """The layers, connected, without values."""
    from dlcore.training.model import Model, Sequential
    inputs = [Input(tuple(i["shape"]), i["dtype"], i["name"] or None) for i in config["inputs"]]
    options = {"name": config["name"], "seed": config["seed"]}
    if config["class_name"] == "Sequential":
        return Sequential([inputs[0], *(make_layer(c, own) for c in config["layers"])], **options)
    if config["class_name"] != "Model":
        model = class_named(config["class_name"], own)(**decoded(config["config"], own))
        if not isinstance(model, Model):
            raise ModelFileError("the model is made of something that is no model", got=repr(config["class_name"]))
        shapes = [s.shape for s in inputs]
        model.build(shapes[0] if len(shapes) == 1 else shapes, [i["dtype"] for i in config["inputs"]])
        return model
    layers = [make_layer(c, own) for c in config["layers"]]
    made: list[list[Symbol]] = []

    def symbol(place: Any) -> Any:
        if isinstance(place, list):
            return [symbol(p) for p in place]
        if "input" in place:
            return inputs[_index(place["input"])]
        return made[_index(place["node"])][_index(place["output"])]
    for node in config["nodes"]:
        out = layers[_index(node["layer"])](*[symbol(p) for p in node["arguments"]])
        made.append(listed(out))
    outputs: Any = [symbol(p) for p in config["outputs"]]
    if keys := config.get("output_keys"):
        if not isinstance(keys, list) or not all(isinstance(key, str) and key for key in keys) or \
                not len(set(keys)) == len(keys) == len(outputs):
            raise ModelFileError("the names of the model's outputs are damaged", got=str(keys)[:100])
        outputs = dict(zip(keys, outputs, strict=True))
    model = Model(inputs, outputs[0] if config["single_output"] else outputs, **options)
    model.network.fewer_steps = bool(config.get("fewer_steps", False))
    return model


def make_optimizer(config: Mapping[str, Any]) -> Any:
    if config["class_name"] not in OPTIMIZERS:
        raise ModelFileError("the model uses an optimizer that is not known", got=repr(config["class_name"]))
    return getattr(optim, config["class_name"])(**config["config"])


def _index(value: Any) -> int:
    if not isinstance(value, int) or value < 0:
        raise ModelFileError("a number in the model's description is damaged", got=repr(value))
    return value


def make_layer(config: Mapping[str, Any], own: Mapping[str, Any]) -> Layer:
    if "model" in config:
        model = make_model(config["model"], own)
        model.trainable = bool(config["trainable"])
        return model
    return class_named(config["class_name"], own).from_config(decoded(config["config"], own))


def class_named(name: Any, own: Mapping[str, Any]) -> type[Layer]:
    """A layer of dlcore, or one of the user's own."""
    found = own.get(name) or (getattr(layers_module, name, None) if isinstance(name, str) else None)
    if not (isinstance(found, type) and issubclass(found, Layer)):
        raise ModelFileError("the model uses a layer that is not known", got=repr(name),
                             hint=f"load(path, custom_objects={{{name!r}: ...}})")
    return found


def decoded(value: Any, own: Mapping[str, Any]) -> Any:
    """Constructor arguments from JSON."""
    if isinstance(value, dict):
        if value.keys() == {"initializer"}:
            return initializers.get(value["initializer"])
        if value.keys() == {"regularizer"}:
            return regularizers.get(value["regularizer"])
        if value.keys() == {"layer"}:
            return make_layer(value["layer"], own)
        return {k: decoded(v, own) for k, v in value.items()}
    return [decoded(v, own) for v in value] if isinstance(value, list) else value


def take_weights(model: Model, tensors: Mapping[str, np.ndarray]) -> None:
    """Copies the weights in, after all were found to fit."""
    variables = named_variables(model)
    wanted = {f"weights/{n}": v for n, v in variables.items()}
    given = {n for n in tensors if n.startswith("weights/")}
    if wanted.keys() != given:
        raise ModelFileError("the file's weights are not the model's", got=", ".join(sorted(wanted.keys() ^ given)[:5]))
    for name, v in wanted.items():
        array = tensors[name]
        if array.shape != v.shape or array.dtype != np.float32:
            raise ModelFileError("a weight has the wrong shape or dtype", where=name, expected=f"float32 {v.shape}",
                                 got=f"{array.dtype} {array.shape}")
    for name, v in wanted.items():
        v.value = tensors[name]             # the store copies it to its place
    model.ensure_store()


def take_compiled(model: Model, compiled: Mapping[str, Any], training: Mapping[str, Any],
                  tensors: Mapping[str, np.ndarray],
                  own: Mapping[str, Any]) -> None:
    """Compiles the model as it was, and puts the optimizer's state back."""
    unknown = [str(c["name"]) for c in compiled["loss"] if c["name"] not in losses.LOSSES and c["name"] not in own]
    if not all(isinstance(c["name"], str) for c in compiled["loss"]):
        raise ModelFileError("the model's losses are damaged", got=str(compiled["loss"])[:100])
    if unknown:
        warnings.warn(f"the loss {unknown[0]!r} is not known, so the model is not compiled; pass custom_objects to "
                      "train it on", stacklevel=4)
        return
    names = compiled["outputs"]
    made: Any = {n: make_loss(c, own) for n, c in zip(names, compiled["loss"], strict=True)}
    per_output: Any = {key: dict(zip(names, compiled[key], strict=True))
                       for key in ("loss_weights", "metrics", "weighted_metrics")}
    if len(model.network.outputs) == 1:
        made, per_output = made[names[0]], {k: v[names[0]] for k, v in per_output.items()}
    model.compile(make_optimizer(compiled["optimizer"]), made, precision=compiled["precision"], **per_output)
    seed, epoch, step = (_index(training.get(k, 0)) for k in ("seed", "epoch", "step"))
    model.state = TrainingState(seed, epoch, step=step)
    state = {n.removeprefix("optimizer/"): a for n, a in tensors.items() if n.startswith("optimizer/")}
    model.ensure_store().take_state(state)
    model.averages.in_place = bool(training.get("averages", False))


def make_loss(config: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    """One of dlcore's losses, or one of the user's own."""
    if config["name"] in own:
        return own[config["name"]]
    return losses.LOSSES[config["name"]](**{k: v for k, v in config.items() if k != "name"})
