"""The keys of a configuration: sections with what every task has, and what keys mean that several or single tasks have."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model


def dashed(name: str) -> str:
    """As keys are written in files."""
    return name.replace("_", "-")


class Section(BaseModel):
    """Unknown keys, wrong types, NaN and infinities are refused; keys are written with dashes."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=dashed,
        validate_by_name=True,
        strict=True,
        protected_namespaces=(),
    )


class DataSection(Section):
    """What is read, and how it is divided."""

    train: str = Field(description="file or folder; - is standard input")
    test: str = Field("", description="measured once, at the end")
    val_split: float = Field(0.1, ge=0, lt=1, description="share of the training part kept for validation")
    label_col: str = Field("", description="column of the answer")
    text_col: str = Field("", description="column of the text")
    folds: int = Field(0, ge=0, description="of a cross-validation before the training; 0: none")
    fold_kind: Literal["auto", "plain", "stratified", "group", "stratified-group", "time"] = Field(
        "auto", description="auto | plain | stratified | group | stratified-group | time"
    )
    group: str = Field("", description="column of groups that no fold divides; it is not learned from")
    time_order: str = Field("", description="column of the time, for folds that test on what came later")


class TrainSection(Section):
    """How the weights are found."""

    epochs: int = Field(20, ge=1, description="passes over the training part")
    batch: int = Field(64, ge=1, description="rows per step")
    optimizer: Literal[
        "sgd", "adam", "adamw", "adadelta", "adagrad", "adamax", "lamb", "lion", "muon", "nadam", "rmsprop"
    ] = Field("adam", description="sgd | adam | adamw | adadelta | adagrad | adamax | lamb | lion | muon | nadam | rmsprop")
    lr: float = Field(1e-3, gt=0, description="learning rate")
    seed: int = Field(0, ge=0, lt=2**63, description="of weights, order, dropout and the split")
    save_every: int = Field(0, ge=0, description="steps between two checkpoints; 0: one after each epoch")
    keep: int = Field(1, ge=1, description="so many of the latest checkpoints are kept")


class RunSection(Section):
    """Where it is computed."""

    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="auto | cpu | cuda | cuda:1")
    threads: int = Field(0, ge=0, description="0 chooses by cost; results do not depend on it")
    jobs: int = Field(0, ge=0, description="folds at once, each on one thread; 0: one per core; results do not depend on it")
    max_time: float = Field(0.0, ge=0, description="seconds of training, at most about; 0: no limit")
    log_every: int = Field(0, ge=0, description="steps between two lines of progress; 0: on a terminal the live line alone")


# keys that several tasks have: their ranges stand here once
SHARED: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = {
    ("model", "hidden"): (list[Annotated[int, Field(ge=1)]], {"description": "widths of the hidden layers"}),
    ("model", "dropout"): (float, {"ge": 0, "lt": 1, "description": "share of activations set to 0 in training"}),
    ("model", "answers"): (str, {"description": "auto | labels | numbers"}),
    ("model", "latent"): (int, {"ge": 1, "description": "numbers of a code, from which an image is made"}),
    ("model", "filters"): (list[Annotated[int, Field(ge=1)]], {"description": "of the convolutions that change the size"}),
    ("model", "likelihood"): (
        Literal["bernoulli", "gaussian"],
        {"description": "of a pixel, given the code: bernoulli | gaussian"},
    ),
    ("model", "noise"): (float, {"gt": 0, "description": "standard deviation of the gaussian likelihood"}),
    ("model", "beta"): (float, {"ge": 0, "description": "factor of the divergence of codes in the loss"}),
    ("model", "conditional"): (bool, {"description": "images are made for labels"}),
    ("model", "loss"): (
        Literal["nonsaturating", "hinge", "wgan-gp"],
        {"description": "of the two networks: nonsaturating | hinge | wgan-gp"},
    ),
    ("model", "spectral"): (bool, {"description": "spectral in place of batch normalisation of the discriminator"}),
    ("model", "penalty"): (float, {"gt": 0, "description": "factor of the gradient's in the loss wgan-gp"}),
    ("train", "discriminator-lr"): (float, {"ge": 0, "description": "the discriminator's learning rate; 0: the generator's"}),
    ("train", "beta1"): (float, {"ge": 0, "lt": 1, "description": "of optimizers like Adam: how much of the mean gradient stays"}),
    ("train", "beta2"): (float, {"ge": 0, "lt": 1, "description": "of optimizers like Adam: how much of the mean square stays"}),
    ("train", "critic-steps"): (int, {"ge": 1, "description": "steps of the discriminator for one of the generator"}),
    ("train", "judge"): (str, {"description": "lenet, or a run of image-classify, measures the images; empty: nothing"}),
    ("data", "anomalies"): (
        Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, int) else value)],
        {"description": "labels, with commas between them, of images that are not trained on"},
    ),
    ("model", "thresholds"): (
        Annotated[str, BeforeValidator(lambda value: str(value) if isinstance(value, (int, float)) else value)],
        {"description": "several labels are given above these probabilities: auto (each has its own) | a number for all"},
    ),
    ("train", "sample-every"): (int, {"ge": 0, "description": "steps between two pictures in samples/; 0: after each epoch"}),
    ("data", "test-split"): (float, {"ge": 0, "lt": 1, "description": "share of the rows kept for the test, unless it has a file"}),
    ("train", "label-smoothing"): (float, {"ge": 0, "lt": 1, "description": "share of a target that all ids get alike"}),
    ("model", "beam"): (int, {"ge": 1, "description": "translations that are followed at a time"}),
    ("model", "length-penalty"): (float, {"ge": 0, "description": "above 0, longer translations are not at a disadvantage"}),
    ("model", "attention"): (bool, {"description": "a block of self-attention over the coarsest features"}),
    ("model", "threshold"): (float, {"ge": 0, "le": 1, "description": "score that a box has to have to be shown"}),
    ("model", "overlap"): (float, {"ge": 0, "le": 1, "description": "of two boxes of one class, above which the lower score goes"}),
    ("train", "measure-every"): (int, {"ge": 1, "description": "epochs between two measurements on the validation part"}),
    ("data", "augment"): (str, {"description": "random changes of training images, such as crop,flip,rotate=10"}),
    ("data", "size"): (str, {"description": "of images, as 32 or 24x32; empty: the commonest"}),
    ("data", "skip-bad"): (bool, {"description": "leave out what cannot be read, and count it"}),
    ("data", "header"): (
        Annotated[Literal["auto", True, False], BeforeValidator(lambda value: repr(value) if type(value) is int else value)],
        {"description": "whether the first row of csv and tsv names the columns: auto | true | false"},
    ),
    ("data", "targets"): (list[str], {"description": "columns that are forecast; none: all"}),
    ("data", "columns"): (list[str], {"description": "columns that are taken; none: all but the times"}),
    ("data", "gaps"): (Literal["error", "fill", "ignore"], {"description": "where steps are missing: error | fill | ignore"}),
    ("train", "schedule"): (
        Literal[
            "constant", "step", "multi-step", "exponential", "linear", "polynomial", "cosine", "cosine-restarts",
            "one-cycle", "inverse-sqrt", "plateau",
        ],
        {
            "description": "of the learning rate: constant | step | multi-step | exponential | linear | polynomial | cosine"
            " | cosine-restarts | one-cycle | inverse-sqrt | plateau"
        },
    ),
    ("train", "weight-decay"): (float, {"ge": 0, "description": "decoupled from the gradient"}),
    ("train", "warmup"): (
        float,
        {"ge": 0, "description": "steps, or below 1 a share of all steps, in which the learning rate rises"},
    ),
    ("train", "l1"): (float, {"ge": 0, "description": "L1 penalty of matrices and filters"}),
    ("train", "l2"): (float, {"ge": 0, "description": "L2 penalty of matrices and filters"}),
    ("train", "clip"): (float, {"ge": 0, "description": "greatest norm of all gradients together; 0: as they are"}),
    ("train", "accumulate"): (int, {"ge": 1, "description": "micro-batches per update"}),
    ("train", "encoder-rate"): (
        float,
        {"ge": 0, "le": 1, "description": "of bert: the highest block's learning rate beside that of the new layer"},
    ),
    ("train", "layer-decay"): (
        float,
        {"ge": 0, "le": 1, "description": "of bert: a block's learning rate beside that of the block above it"},
    ),
    ("train", "sparse"): (bool, {"description": "update only the rows of tables that a step looks up"}),
    ("train", "precision"): (
        Literal["float32", "bf16", "tf32x3"],
        {"description": "of the products of training steps: float32 | bf16 | tf32x3"},
    ),
    ("train", "ema"): (float, {"ge": 0, "lt": 1, "description": "momentum of averages of weights; 0: none"}),
    ("train", "monitor"): (str, {"description": "what early stopping and the kept weights go by, such as val_accuracy"}),
    ("train", "init"): (str, {"description": "model file whose weights to begin with"}),
    ("train", "freeze"): (list[str], {"description": "patterns of layers that are not trained"}),
    ("train", "optimizer-options"): (dict[str, Any], {"description": "further arguments of the optimizer"}),
    ("train", "schedule-options"): (
        dict[str, Any],
        {"description": "of the schedule: gamma, end, power, milestones, cycles, patience"},
    ),
    ("train", "patience"): (
        int,
        {"ge": 0, "description": "epochs without a better validation loss before it ends; 0: never"},
    ),
}
# what keys mean that single tasks have, and whose type is that of their default
COMMENTS = {
    ("model", "arch"): "architecture of the network",
    ("model", "image-size"): "pixels of the longer side of what the network sees, or [height, width]",
    ("model", "preset"): "named defaults of the task",
    ("model", "tokenizer"): "char | byte | word | bpe | wordpiece, or a tokenizer.json; as the task has them",
    ("model", "vocabulary"): "words or tokens at most",
    ("data", "source"): "column or language to translate from; empty: the first",
    ("data", "target"): "column or language to translate into; empty: the second",
    ("model", "inner"): "columns of the dense networks in the blocks",
    ("model", "source-tokenizer"): "auto | char | word | bpe | byte, or a tokenizer.json",
    ("model", "target-tokenizer"): "the same of the translations",
    ("model", "least"): "times that a word must occur in training",
    ("model", "max-len"): "tokens of a text; 0: what nearly all need",
    ("model", "long"): "longer texts: truncate | windows",
    ("model", "labels"): "auto | one | several for each text",
    ("model", "embed"): "size of the vectors of tokens",
    ("model", "context"): "tokens that are seen at a time",
    ("model", "layers"): "blocks of the network",
    ("model", "heads"): "of attention; must divide width",
    ("model", "width"): "numbers for each token",
    ("model", "tied"): "one table for input and output",
    ("model", "bias"): "whether layers add one",
    ("model", "kv-heads"): "of llama: heads of keys and values; 0: as many as heads",
    ("model", "position"): "learned | sinusoidal | rotary",
    ("data", "begin"): "where windows begin: anywhere | line",
    ("data", "input"): "steps that are seen",
    ("data", "horizon"): "steps that are forecast",
    ("data", "time-col"): "column of the times; none: there is none",
    ("data", "split"): "training, validation, test: 0.7,0.1,0.2 or numbers of steps",
    ("model", "patch"): "steps of a segment; 0: a divisor of input",
    ("model", "mix"): "whether variables are seen together",
    ("model", "normalize"): "whether each window is normalised",
    ("model", "window"): "steps of the moving average",
    ("train", "steps"): "updates; 0: as many as the epochs need",
    ("train", "eval-every"): "steps between two measurements",
    ("train", "min-lr"): "learning rate at the end",
    ("train", "beta-2"): "of AdamW",
}
SECTIONS: dict[str, type[Section]] = {"data": DataSection, "model": Section, "train": TrainSection, "run": RunSection}


def section_of(section: str, base: type[Section], defaults: Mapping[str, Any]) -> type[Section]:
    """`base` with one more field per default; its type is that of SHARED, or the default's."""
    fields: dict[str, Any] = {}
    for key, default in defaults.items():
        attribute = key.replace("-", "_")
        known = base.model_fields.get(attribute)
        if known is not None:
            changed = copy(known)
            changed.default = default
            fields[attribute] = (known.annotation, changed)
        elif (section, key) in SHARED:
            kind, options = SHARED[section, key]
            fields[attribute] = (kind, Field(default, **options))
        else:
            fields[attribute] = (_kind(default), default)
    return create_model(base.__name__, __base__=base, **fields) if fields else base


def _kind(default: Any) -> Any:
    if isinstance(default, (list, tuple)):
        return list.__class_getitem__(type(default[0]) if default else int)
    return type(default)


def json_schema(task: str, defaults: Mapping[str, Mapping[str, Any]], architectures: list[str]) -> dict[str, Any]:
    """The JSON schema of a task's configuration file."""
    sections = {}
    for section, base in SECTIONS.items():
        made = section_of(section, base, defaults.get(section, {})).model_json_schema(by_alias=True)
        made["title"] = section
        if section == "model":
            made["properties"] = {"arch": {"enum": architectures}, "preset": {"type": "string"}, **made.get("properties", {})}
        sections[section] = made
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"dlcore train {task}",
        "type": "object",
        "properties": {"task": {"const": task}, **sections},
        "required": ["task"],
        "additionalProperties": False,
    }
