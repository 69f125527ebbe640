"""Networks whose weights come from elsewhere: the shapes of GPT-2, BERT and Llama, and their tensors' names at Hugging Face.

    layer, kind = layer_of(config)          a layer of dlcore for what config.json says
    fill(kind, layer, tensors)              takes every tensor; one error names all that are missing, extra or misshapen
    tensors, config = given(kind, layer)    the way back

A dense layer's weights are [outputs, inputs] there and [inputs, outputs] here; queries, keys and values are one weight here.
"""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from dlcore.errors import ModelFileError, UsageError
from dlcore.layers.bert import BertEncoder
from dlcore.layers.transformer import CausalLM

# activations at Hugging Face -> here; the first name of one is that which is written
ACTIVATIONS = {"gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh", "gelu": "gelu", "relu": "relu",
               "silu": "silu", "swish": "silu", "tanh": "tanh"}
_LISTED = 6             # tensors that an error names of a kind


class Settings:
    """A config.json whose values are checked when they are asked for.   ModelFileError names the key."""

    def __init__(self, config: Mapping[str, Any], where: str):
        self.config, self.where = config, f"{where}/config.json"

    def fail(self, name: str, expected: str, hint: str = "") -> ModelFileError:
        return ModelFileError(f"the model's {name} is not supported", where=self.where, expected=expected,
                              got=repr(self.config.get(name))[:80], hint=hint)

    def whole(self, name: str, default: int | None = None) -> int:
        value = self.config.get(name)
        value = default if value is None else value
        if type(value) is not int or not 0 < value < 1 << 31:
            raise self.fail(name, "a positive whole number")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.config.get(name)
        value = default if value is None else value
        if type(value) not in (int, float) or not 0 <= value < 1e12:
            raise self.fail(name, "a number from 0")
        return float(value)

    def only(self, name: str, allowed: Any, default: Any) -> Any:
        """A value that must be one of these."""
        value = self.config.get(name)
        value = default if value is None else value
        if not isinstance(value, (str, int, float)) or value not in allowed:
            raise self.fail(name, ", ".join(map(repr, allowed)))
        return allowed[value] if isinstance(allowed, dict) else value


# ---- from config.json to layers --------------------------------------------------------------------------------------
def gpt2(c: Settings) -> CausalLM:
    for name, default in (("scale_attn_weights", True), ("scale_attn_by_inverse_layer_idx", False), ("add_cross_attention", False)):
        c.only(name, (default,), default)
    width = c.whole("n_embd", 768)
    return CausalLM(c.whole("vocab_size", 50257), c.whole("n_positions", 1024), c.whole("n_layer", 12), c.whole("n_head", 12),
                    width, activation=c.only("activation_function", ACTIVATIONS, "gelu_new"),
                    epsilon=c.number("layer_norm_epsilon", 1e-5), intermediate_dim=c.whole("n_inner", 4 * width),
                    tied=c.only("tie_word_embeddings", (True, False), True))


def llama(c: Settings) -> CausalLM:
    width, heads = c.whole("hidden_size", 4096), c.whole("num_attention_heads", 32)
    for name in ("attention_bias", "mlp_bias"):
        c.only(name, (False,), False)
    if c.whole("head_dim", width // heads) != width // heads:
        raise c.fail("head_dim", f"hidden_size / num_attention_heads, {width // heads}")
    rope = c.config.get("rope_parameters") or c.config.get("rope_scaling") or {}
    if not isinstance(rope, Mapping) or rope.get("rope_type", rope.get("type", "default")) != "default":
        raise c.fail("rope_parameters" if "rope_parameters" in c.config else "rope_scaling", "rotary positions without scaling")
    base = Settings(rope, c.where).number("rope_theta", c.number("rope_theta", 10000.0))
    return CausalLM(c.whole("vocab_size", 32000), c.whole("max_position_embeddings", 2048), c.whole("num_hidden_layers", 32), heads,
                    width, use_bias=False, activation=c.only("hidden_act", {"silu": "silu", "swish": "silu"}, "silu"),
                    tied=c.only("tie_word_embeddings", (True, False), False), position="rotary", normalization="rms",
                    num_key_value_heads=c.whole("num_key_value_heads", heads),
                    intermediate_dim=c.whole("intermediate_size", 11008), gated=True, epsilon=c.number("rms_norm_eps", 1e-6),
                    rotary_base=base)


def bert(c: Settings) -> BertEncoder:
    c.only("position_embedding_type", ("absolute",), "absolute")
    c.only("is_decoder", (False,), False)
    c.only("pad_token_id", (0,), 0)
    width = c.whole("hidden_size", 768)
    return BertEncoder(c.whole("vocab_size", 30522), c.whole("max_position_embeddings", 512), c.whole("num_hidden_layers", 12),
                       c.whole("num_attention_heads", 12), width, c.whole("intermediate_size", 4 * width),
                       c.whole("type_vocab_size", 2), activation=c.only("hidden_act", ACTIVATIONS, "gelu"),
                       epsilon=c.number("layer_norm_eps", 1e-12), name="encoder")


SHAPES: dict[str, Callable[[Settings], Any]] = {"gpt2": gpt2, "bert": bert, "llama": llama}


def layer_of(config: Mapping[str, Any], where: str = "") -> tuple[Any, str]:
    """(a layer, its kind) for a config.json.   ModelFileError for another model, and for settings that are not supported."""
    kind = config.get("model_type")
    if kind not in SHAPES:
        raise ModelFileError("models of this type are not supported", where=f"{where}/config.json", expected=", ".join(SHAPES),
                             got=f"model_type {kind!r}"[:80])
    try:
        return SHAPES[kind](Settings(config, where)), kind
    except UsageError as error:
        raise ModelFileError(error.message, where=f"{where}/config.json", expected=error.expected, got=error.got) from None


# ---- names of tensors ------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Entry:
    """A weight here, and the tensors that it is there: side by side in its last axis, turned where they are [outputs, inputs]."""

    variable: Any
    names: tuple[str, ...]
    turned: bool = False
    widths: tuple[int, ...] = ()

    def shapes(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        for name, width in zip(self.names, self.widths or self.variable.shape[-1:], strict=True):
            shape = (*self.variable.shape[:-1], width)
            yield name, shape[::-1] if self.turned else shape

    def take(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        parts = [tensors[n].T if self.turned else tensors[n] for n in self.names]
        return np.ascontiguousarray(parts[0] if len(parts) == 1 else np.concatenate(parts, -1), np.float32)

    def give(self) -> dict[str, np.ndarray]:
        array = self.variable.array
        parts = np.split(array, np.cumsum(self.widths)[:-1], -1) if self.widths else [array]
        return {n: np.ascontiguousarray(p.T if self.turned else p) for n, p in zip(self.names, parts, strict=True)}


def dense(name: str, layer: Any, turned: bool = True) -> list[Entry]:
    return [Entry(layer.kernel, (f"{name}.weight",), turned), *([Entry(layer.bias, (f"{name}.bias",))] if layer.use_bias else [])]


def norm(name: str, layer: Any) -> list[Entry]:
    if hasattr(layer, "gamma"):
        return [Entry(layer.gamma, (f"{name}.weight",)), Entry(layer.beta, (f"{name}.bias",))]
    return [Entry(layer.scale, (f"{name}.weight",))]


def projection(name: str, weights: list[Any], turned: bool = True) -> list[Entry]:
    """[kernel] or [kernel, bias]."""
    return [Entry(weights[0], (f"{name}.weight",), turned), *(Entry(b, (f"{name}.bias",)) for b in weights[1:])]


def several(stem: str, names: tuple[str, ...], attention: Any) -> list[Entry]:
    """The packed queries, keys and values, which are tensors of their own there."""
    H, G, D = attention.num_heads, attention.groups, attention.key_dim
    widths = (H * D, G * D, G * D)
    return [Entry(w, tuple(f"{stem}.{n}.{kind}" for n in names), kind == "weight", widths)
            for w, kind in zip(attention.qkv, ("weight", "bias"))]              # noqa: B905  (there may be no bias)


def gpt2_entries(lm: CausalLM) -> Iterator[Entry]:
    yield Entry(lm.tokens.embeddings, ("wte.weight",))
    assert lm.positions is not None
    yield Entry(lm.positions.positions, ("wpe.weight",))
    for i, b in enumerate(lm.blocks):
        stem = f"h.{i}"
        yield from (*norm(f"{stem}.ln_1", b.attention_norm), *projection(f"{stem}.attn.c_attn", b.attention.qkv, False),
                    *projection(f"{stem}.attn.c_proj", b.attention.out, False), *norm(f"{stem}.ln_2", b.dense_norm),
                    *dense(f"{stem}.mlp.c_fc", b.expand, False), *dense(f"{stem}.mlp.c_proj", b.contract, False))
    yield from norm("ln_f", lm.last_norm)
    if lm.head is not None:
        yield from dense("lm_head", lm.head)


def llama_entries(lm: CausalLM) -> Iterator[Entry]:
    yield Entry(lm.tokens.embeddings, ("embed_tokens.weight",))
    for i, b in enumerate(lm.blocks):
        stem = f"layers.{i}"
        yield from (*norm(f"{stem}.input_layernorm", b.attention_norm),
                    *several(f"{stem}.self_attn", ("q_proj", "k_proj", "v_proj"), b.attention),
                    *projection(f"{stem}.self_attn.o_proj", b.attention.out),
                    *norm(f"{stem}.post_attention_layernorm", b.dense_norm), *dense(f"{stem}.mlp.gate_proj", b.gate),
                    *dense(f"{stem}.mlp.up_proj", b.expand),
                    *dense(f"{stem}.mlp.down_proj", b.contract))
    yield from norm("norm", lm.last_norm)
    if lm.head is not None:
        yield from dense("lm_head", lm.head)


def bert_entries(encoder: BertEncoder) -> Iterator[Entry]:
    yield Entry(encoder.tokens.embeddings, ("embeddings.word_embeddings.weight",))
    yield Entry(encoder.positions, ("embeddings.position_embeddings.weight",))
    yield Entry(encoder.segments, ("embeddings.token_type_embeddings.weight",))
    yield from norm("embeddings.LayerNorm", encoder.norm)
    for i, b in enumerate(encoder.blocks):
        stem = f"encoder.layer.{i}"
        yield from (*several(f"{stem}.attention.self", ("query", "key", "value"), b.attention),
                    *projection(f"{stem}.attention.output.dense", b.attention.out),
                    *norm(f"{stem}.attention.output.LayerNorm", b.attention_norm), *dense(f"{stem}.intermediate.dense", b.expand),
                    *dense(f"{stem}.output.dense", b.contract), *norm(f"{stem}.output.LayerNorm", b.dense_norm))


@dataclass(frozen=True)
class Names:
    """entries; prefix: that tensors of a model with a head carry; aside: buffers and heads that are not used here."""

    entries: Callable[[Any], Iterator[Entry]]
    prefix: str
    aside: tuple[str, ...]


NAMES = {"gpt2": Names(gpt2_entries, "transformer.", ("h.*.attn.bias", "h.*.attn.masked_bias")),
         "llama": Names(llama_entries, "model.", ("*rotary_emb.inv_freq",)),
         "bert": Names(bert_entries, "bert.", ("embeddings.position_ids", "embeddings.token_type_ids", "pooler.*", "cls.*"))}
_OLD = ((".LayerNorm.gamma", ".LayerNorm.weight"), (".LayerNorm.beta", ".LayerNorm.bias"))     # BERT's names before 2019


def renamed(name: str, prefix: str) -> str:
    name = name.removeprefix(prefix)
    for old, new in _OLD:
        name = name.replace(old, new)
    return name


# ---- taking and giving -----------------------------------------------------------------------------------------------
def fill(kind: str, layer: Any, tensors: Mapping[str, np.ndarray], where: str = "") -> list[str]:
    """Takes the weights in, before the model's memory is made; the names of tensors that are not used here.

    ModelFileError names what is missing, extra, misshapen or no number."""
    names = NAMES[kind]
    found = {renamed(n, names.prefix): t for n, t in tensors.items()}
    aside = [n for n in found if any(fnmatchcase(n, pattern) for pattern in names.aside)]
    entries = list(names.entries(layer))
    wanted = {name: shape for entry in entries for name, shape in entry.shapes()}
    if kind != "bert" and "lm_head.weight" not in wanted and "lm_head.weight" in found:
        table = found[entries[0].names[0]] if entries[0].names[0] in found else None
        if table is not None and np.array_equal(table, found["lm_head.weight"]):
            aside.append("lm_head.weight")          # tied, and written twice
    extra = [n for n in found if n not in wanted and n not in aside]
    problems = {"missing": [n for n in wanted if n not in found], "extra": extra,
                "misshapen": [f"{n} {found[n].shape}, not {shape}" for n, shape in wanted.items()
                              if n in found and found[n].shape != shape],
                "no floating point": [f"{n} {found[n].dtype}" for n in wanted if n in found and found[n].dtype.kind != "f"]}
    if any(problems.values()):
        said = "; ".join(f"{what}: {listed(items)}" for what, items in problems.items() if items)
        raise ModelFileError("the tensors are not those of the configuration", where=where, got=said,
                             hint="config.json and weights must come from the same model")
    for entry in entries:
        entry.variable.value = entry.take(found)
    return aside


def listed(names: list[str]) -> str:
    return ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def kind_of(layer: Any) -> str:
    """The kind whose names a layer's weights can have.   UsageError where there is none."""
    if isinstance(layer, BertEncoder):
        return "bert"
    if isinstance(layer, CausalLM):
        b = layer.blocks[0]
        if (layer.position, b.normalization, b.gated, b.use_bias) == ("rotary", "rms", True, False):
            return "llama"
        if (layer.position, b.normalization, b.gated, b.use_bias) == ("learned", "layer", False, True):
            return "gpt2"
    raise UsageError("this network has no counterpart at Hugging Face", expected=f"the shape of {', '.join(SHAPES)}",
                     got=type(layer).__name__)


def given(kind: str, layer: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(tensors, config.json) of a layer."""
    prefix = "" if kind == "bert" else NAMES[kind].prefix
    tensors = {n if n.startswith("lm_head") else prefix + n: array for entry in NAMES[kind].entries(layer)
               for n, array in entry.give().items()}
    b = layer.blocks[0]
    activation = next(theirs for theirs, ours in ACTIVATIONS.items() if ours == b.activation)
    rest = {"vocab_size": layer.tokens.input_dim, "torch_dtype": "float32"}
    if kind == "gpt2":
        return tensors, {"model_type": kind, "architectures": ["GPT2LMHeadModel"], "n_positions": layer.context,
                         "n_embd": layer.width, "n_layer": len(layer.blocks), "n_head": b.num_heads, "n_inner": b.intermediate_dim,
                         "activation_function": activation, "layer_norm_epsilon": b.epsilon,
                         "tie_word_embeddings": layer.tied, **rest}
    shared = {"hidden_size": layer.width, "num_hidden_layers": len(layer.blocks), "num_attention_heads": b.num_heads,
              "intermediate_size": b.intermediate_dim, "hidden_act": activation, "max_position_embeddings": layer.context, **rest}
    if kind == "bert":
        return tensors, {"model_type": kind, "architectures": ["BertModel"], "type_vocab_size": layer.kinds, "pad_token_id": 0,
                         "layer_norm_eps": b.epsilon, "position_embedding_type": "absolute", **shared}
    return tensors, {"model_type": kind, "architectures": ["LlamaForCausalLM"], "num_key_value_heads": b.attention.groups,
                     "rms_norm_eps": b.epsilon, "rope_theta": b.self_options["rotary_base"], "attention_bias": False,
                     "mlp_bias": False, "tie_word_embeddings": layer.tied, **shared}
