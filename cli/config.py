"""The configuration of a run: sections with known keys, all problems reported at once, written as commented TOML.

Four sources, the later ones win: the task's defaults for the architecture, the preset, a configuration file, the command line
(options, then `--set section.key=value`).
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from dlcore.cli.errors import similar
from dlcore.errors import ConfigError


def _dashed(name: str) -> str:
    return name.replace("_", "-")


class Section(BaseModel):
    """Unknown keys, wrong types, NaN and infinities are refused; keys are written with dashes."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        alias_generator=_dashed,
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
    ("train", "precision"): (Literal["float32", "bf16"], {"description": "of the products of training steps: float32 | bf16"}),
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
LONGEST_SHOWN = 60  # of a value in a message
SECTIONS: dict[str, type[Section]] = {"data": DataSection, "model": Section, "train": TrainSection, "run": RunSection}


@dataclass
class Value:
    """A value and where it came from: a file's line, an option, `--set`, or a default."""

    value: Any
    source: str = ""


@dataclass
class Draft:
    """A configuration being put together: sections of keys with their sources, and the problems met so far."""

    task: str
    sections: dict[str, dict[str, Value]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def put(self, section: str, key: str, value: Any, source: str) -> None:
        """Later values replace earlier ones."""
        self.sections.setdefault(section, {})[key] = Value(value, source)

    def put_below(self, section: str, key: str, value: Any, source: str) -> None:
        """A value that counts only where there is none yet."""
        self.sections.setdefault(section, {}).setdefault(key, Value(value, source))

    def set(self, text: str) -> None:
        """One `--set section.key=value`; the value is read as TOML, and as text where it is none."""
        name, equals, value = text.partition("=")
        section, dot, key = name.strip().partition(".")
        if not (equals and dot and section and key):
            self.problems.append(_problem("--set", text, "cannot be read: section.key=value is expected"))
            return
        self.put(section, key, toml_value(value), "--set")


def toml_value(text: str) -> Any:
    """`text` read as a TOML value; text that is none stands for itself."""
    try:
        values = tomllib.loads(f"x = {text}")
    except tomllib.TOMLDecodeError:
        return text.strip()
    return values["x"] if len(values) == 1 else text.strip()


def read_file(path: Path) -> tuple[dict[str, Any], dict[tuple[str, str], int]]:
    """A TOML file and the line of each (section, key).  Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError:
        guess = similar(path.name, [file.name for file in path.parent.glob("*.toml")])
        hint = f"did you mean {str(path.with_name(guess))!r}?" if guess else "dlcore config init TASK -o FILE makes one"
        raise ConfigError("no such configuration file", where=str(path), hint=hint) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as fault:
        raise ConfigError(
            "the configuration file cannot be read", where=str(path), expected="TOML, as UTF-8", got=str(fault)
        ) from None
    return values, _lines(text)


def _lines(text: str) -> dict[tuple[str, str], int]:
    section, lines = "", {}
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[\s*([\w-]+)\s*\]", line):
            section = head[1]
            lines[section, ""] = number
        elif key := re.match(r'\s*"?([\w-]+)"?\s*=', line):
            lines[section, key[1]] = number
    return lines


def put_file(draft: Draft, path: Path) -> None:
    """Add what a configuration file says; its `task` must be the draft's."""
    values, lines = read_file(path)
    for section, content in values.items():
        if isinstance(content, dict):
            for key, value in content.items():
                draft.put(section, key, value, f"{path.name}:{lines.get((section, key), '?')}")
        elif section != "task":
            draft.problems.append(
                _problem(f"{path.name}:{lines.get(('', section), '?')}", section, "stands in no section")
            )


def validate(draft: Draft, defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The checked sections {"data": ..., "model": ..., "train": ..., "run": ...}.

    `defaults` (section -> key -> default) holds the keys that the task and its architecture add to those every task has.
    Raises ConfigError with every problem there is.
    """
    kinds = {section: _section_of(section, base, defaults.get(section, {})) for section, base in SECTIONS.items()}
    checked: dict[str, dict[str, Any]] = {}
    names = {section: [_dashed(name) for name in kind.model_fields] for section, kind in kinds.items()}
    for section in SECTIONS:
        content = draft.sections.get(section, {})
        try:
            checked[section] = kinds[section](**{key: item.value for key, item in content.items()}).model_dump(
                by_alias=True
            )
        except ValidationError as fault:
            for error in fault.errors():
                draft.problems.append(_explain(section, error, content, names))
    draft.problems += _combinations(draft, checked)
    keys = [f"{section}.{_dashed(key)}" for section, kind in kinds.items() for key in kind.model_fields]
    for section in draft.sections.keys() - kinds.keys():
        for key, item in draft.sections[section].items():
            draft.problems.append(
                _problem(
                    item.source,
                    f"{section}.{key}",
                    "unknown section",
                    similar(f"{section}.{key}", keys) or similar(section, kinds),
                )
            )
    if draft.problems:
        count = len(draft.problems)
        raise ConfigError(
            f"{count} problem{'s' * (count > 1)} in the configuration, nothing was started\n"
            + "\n".join(draft.problems)
        )
    return checked


def _section_of(section: str, base: type[Section], defaults: Mapping[str, Any]) -> type[Section]:
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


def _explain(section: str, error: Any, content: Mapping[str, Value], names: Mapping[str, list[str]]) -> str:
    key = str(error["loc"][0])
    item = content.get(key, Value(None))
    name = f"{section}.{key}"
    if error["type"] == "extra_forbidden":
        guess = similar(key, names[section])
        elsewhere = [place for place in names if key in names[place]]
        place = elsewhere[0] if elsewhere and not guess else section
        return _problem(item.source, name, "unknown key", f"{place}.{guess or key}" if guess or elsewhere else "")
    if error["type"] == "missing":
        return _problem("", name, "is missing")
    guess = similar(item.value, re.findall(r"'([^']*)'", error["msg"])) if isinstance(item.value, str) else ""
    shown = json.dumps(item.value, default=str, ensure_ascii=False)
    if len(shown) > LONGEST_SHOWN:
        shown = shown[:LONGEST_SHOWN] + "..."
    which = f"item {error['loc'][1] + 1} " if len(error["loc"]) > 1 and isinstance(error["loc"][1], int) else ""
    return _problem(item.source, f"{name} = {shown}", which + _expectation(error), guess)


def _expectation(error: Any) -> str:
    """What a value must be, from pydantic's kind of error."""
    given = error.get("ctx", {})
    known = {
        "int_type": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "finite_number": "must be a finite number",
        "string_type": "must be text",
        "bool_type": "must be true or false",
        "list_type": "must be a list, such as [64, 32]",
        "greater_than": f"must be above {given.get('gt', 0):g}",
        "greater_than_equal": f"must be at least {given.get('ge', 0):g}",
        "less_than": f"must be below {given.get('lt', 0):g}",
        "less_than_equal": f"must be at most {given.get('le', 0):g}",
        "literal_error": f"must be one of {given.get('expected')}",
    }
    return known.get(error["type"], error["msg"].lower())


def _combinations(draft: Draft, checked: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Settings that are fine one by one and do not go together."""
    data = checked.get("data", {})
    given = draft.sections.get("data", {})
    folds, kind = data.get("folds", 0), data.get("fold-kind", "auto")
    wrong = []
    if folds == 1:
        wrong.append(("folds", "must be 0, or at least 2"))
    if data.get("group") and data.get("time-order"):
        wrong.append(("time-order", "does not go with data.group: folds go by one of them"))
    if not folds:
        wrong += [(key, "needs data.folds") for key in ("group", "time-order") if data.get(key)]
        wrong += [("fold-kind", "needs data.folds")] if kind != "auto" else []
    elif "group" in kind and not data.get("group"):
        wrong.append(("fold-kind", "needs data.group, the column of the groups"))
    elif data.get("group") and kind not in ("auto", "group", "stratified-group"):
        wrong.append(("group", f"does not go with folds of kind {kind}"))
    elif data.get("time-order") and kind not in ("auto", "time"):
        wrong.append(("time-order", f"does not go with folds of kind {kind}"))
    return [
        _problem(given[key].source if key in given else "", f"data.{key} = {json.dumps(data[key])}", why) for key, why in wrong
    ]


def json_schema(task: str, defaults: Mapping[str, Mapping[str, Any]], architectures: list[str]) -> dict[str, Any]:
    """The JSON schema of a task's configuration file."""
    sections = {}
    for section, base in SECTIONS.items():
        made = _section_of(section, base, defaults.get(section, {})).model_json_schema(by_alias=True)
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


def _problem(source: str, what: str, why: str, guess: str = "") -> str:
    return f"  {source:<15} {what:<28} {why}" + (f"; did you mean {guess}?" if guess else "")


def to_toml(task: str, sections: Mapping[str, Mapping[str, Any]], header: str = "") -> str:
    """Sections as TOML, each known key with its comment."""
    lines = [f"# {header}"] if header else []
    lines.append(f"task = {to_text(task)}")
    for section, values in sections.items():
        kind = SECTIONS.get(section, Section)
        notes = {_dashed(name): info.description for name, info in kind.model_fields.items()}
        notes |= {key: text for (place, key), text in COMMENTS.items() if place == section}
        notes |= {key: options["description"] for (place, key), (_, options) in SHARED.items() if place == section}
        lines += ["", f"[{section}]"]
        for key, value in values.items():
            text = f"{key if re.fullmatch(r'[A-Za-z0-9_-]+', key) else to_text(key)} = {to_text(value)}"
            lines.append(f"{text:<32} # {notes[key]}" if notes.get(key) else text)
    return "\n".join(lines) + "\n"


def to_text(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_text, value)) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{to_text(str(key))} = {to_text(item)}" for key, item in value.items()) + "}"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
