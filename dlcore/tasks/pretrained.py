"""Models that others trained, as models of dlcore: folders of Hugging Face's kind, and files of llama2.c.

    model = dlcore.from_pretrained("all-MiniLM-L6-v2")      # a TextEmbedder;  of GPT-2's and Llama's shape a LanguageModel
    model.predict(["a text"])                               # model.generate("Once upon a time")
    model.save("minilm.dlc")
    dlcore.to_pretrained(model, "folder")                   # back: config.json, model.safetensors, tokenizer.json

Nothing in the files is run, and nothing but NumPy is needed.
"""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcore.data.text.published import cut_to, of_folder
from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.deploy import huggingface, llama2c
from dlcore.deploy.huggingface import Folder
from dlcore.errors import ModelFileError, UsageError
from dlcore.models import pretrained as shapes
from dlcore.training import answers

if TYPE_CHECKING:
    from dlcore.tasks.embed import TextEmbedder
    from dlcore.tasks.language_model import LanguageModel
    from dlcore.training.model import Model

_POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max"}


def from_pretrained(path: str | Path, *, tokenizer: str | Path = "", context: int = 0,
                    precision: str = "float32") -> LanguageModel | TextEmbedder:
    """The model in a folder (config.json, model.safetensors, tokenizer) or in a file of llama2.c.

    tokenizer   a tokenizer.json or its folder, for llama2.c its tokenizer.bin; by default what lies beside the weights
    context     the most tokens that a language model sees; 0: as many as it was made for
    precision   of products in what it answers: "float32", "bf16", "tf32x3" or "int8"; see `Model.answers_in`
    ModelFileError names what is missing, extra, misshapen, pickled or not supported."""
    answers.check(precision)
    place = Path(path)
    source = huggingface.read(place) if place.is_dir() else llama2c.read(place)
    layer, kind = layer_of(source, context)
    found = tokenizer_of(place, tokenizer, layer.tokens.input_dim)
    if len(found) > layer.tokens.input_dim:
        raise ModelFileError("the tokenizer does not fit the model", where=source.where,
                             expected=f"at most {layer.tokens.input_dim} tokens", got=str(len(found)))
    unused = shapes.fill(kind, layer, source.tensors, source.where)
    made = embedder(layer, found, source.where) if kind == "bert" else language_model(layer, kind, found)
    made.unused_ = unused           # type: ignore[union-attr]
    made.answers_in = precision
    return made


def network(path: str | Path, context: int = 0) -> Model:
    """Ids to logits (of a language model), or to a vector for each token, without a tokenizer.   ModelFileError"""
    place = Path(path)
    source = huggingface.read(place) if place.is_dir() else llama2c.read(place)
    layer, kind = layer_of(source, context)
    shapes.fill(kind, layer, source.tensors, source.where)
    return model_of(layer)


def layer_of(source: Folder, context: int = 0) -> tuple[Any, str]:
    """A layer for what the configuration says, built, without values; and its kind."""
    from dlcore.layers import Input
    config = dict(source.config)
    key = {"gpt2": "n_positions", "llama": "max_position_embeddings"}.get(str(config.get("model_type")), "")
    if context and key:
        limit = config.get(key, context)
        if context < 2 or (isinstance(limit, int) and context > limit):
            raise UsageError("the model has no such context", where="context", expected=f"2 to {limit}", got=str(context))
        if key == "max_position_embeddings":    # rotary positions are no weights
            config[key] = context
    layer, kind = shapes.layer_of(config, source.where)
    layer(Input((min(8, layer.context),), "int32"))
    return layer, kind


def model_of(layer: Any) -> Model:
    from dlcore.layers import Input
    from dlcore.training.model import Model
    ids = Input((layer.context,), "int32")
    made = Model(ids, layer(ids))
    made.ensure_store()
    return made


def tokenizer_of(place: Path, given: str | Path, vocabulary: int) -> TextTokenizer:
    """The tokenizer that was named, or that lies beside the weights."""
    if place.is_dir():
        return of_folder(place) if not given else TextTokenizer.from_file(given)
    if given and (Path(given).is_dir() or Path(given).suffix == ".json"):
        return TextTokenizer.from_file(given)
    return llama2c.tokenizer(given or llama2c.tokenizer_beside(place, vocabulary), vocabulary)


# ---- language models -------------------------------------------------------------------------------------------------
def language_model(layer: Any, kind: str, tokenizer: TextTokenizer) -> LanguageModel:
    from dlcore.tasks import language_settings as settings
    from dlcore.tasks.language_model import LanguageModel
    b = layer.blocks[0]
    made = LanguageModel(arch="gpt" if kind == "gpt2" else "llama", tokenizer="bpe", vocabulary=max(3, len(tokenizer)),
                         context=layer.context, layers=len(layer.blocks), heads=b.num_heads, width=layer.width, tied=layer.tied,
                         bias=b.use_bias, position=layer.position, kv_heads=b.attention.groups)
    made.tokenizer_, made._network = cut_to(tokenizer, None), model_of(layer)
    settings.compile(made._network, made, 1)
    return made


# ---- embeddings ------------------------------------------------------------------------------------------------------
def embedder(layer: Any, tokenizer: TextTokenizer, where: str) -> TextEmbedder:
    from dlcore.tasks.embed import TextEmbedder
    if tokenizer.pad_id != 0:
        raise ModelFileError("this tokenizer does not fit: id 0 must be padding", where=where, got=f"padding is {tokenizer.pad_id}")
    return TextEmbedder.of(layer, tokenizer, **sentence_settings(Path(where), layer.context))


def sentence_settings(place: Path, context: int) -> dict[str, Any]:
    """Pooling, normalisation and the longest text as sentence-transformers' files say; without them the mean, as it is."""
    found: dict[str, Any] = {"pool": "mean", "normalize": False, "max_len": context}
    lengths = place / "sentence_bert_config.json"
    longest = huggingface.read_json(lengths).get("max_seq_length") if lengths.is_file() else None
    if isinstance(longest, int) and longest >= 3:
        found["max_len"] = min(context, longest)
    modules = place / "modules.json"
    for module in huggingface.read_json(modules) if modules.is_file() else ():
        kind = str(module.get("type", "")).rpartition(".")[2]
        if kind == "Normalize":
            found["normalize"] = True
        elif kind == "Pooling":
            found["pool"] = pooling(place / str(module.get("path", "")) / "config.json")
        elif kind != "Transformer":
            raise ModelFileError("the model has a part that is not supported", where=str(modules),
                                 expected="Transformer, Pooling, Normalize", got=kind)
    return found


def pooling(path: Path) -> str:
    config: Mapping[str, Any] = huggingface.read_json(path)
    chosen = [name for name, value in config.items() if name.startswith("pooling_mode_") and value is True]
    if "pooling_mode" in config:            # as newer files have it
        chosen = [f"pooling_mode_{config['pooling_mode']}_{'token' if config['pooling_mode'] == 'cls' else 'tokens'}"]
    if len(chosen) != 1 or chosen[0] not in _POOLING:
        raise ModelFileError("sequences are pooled in a way that is not supported", where=str(path), expected=", ".join(_POOLING),
                             got=", ".join(chosen) or "none")
    return _POOLING[chosen[0]]


# ---- the way back ----------------------------------------------------------------------------------------------------
def to_pretrained(model: Any, path: str | Path) -> list[str]:
    """Writes a folder of Hugging Face's kind; the names of its files.   UsageError: the folder exists, or the network has no
    counterpart there.   WriteError"""
    estimator, inner = model, getattr(model, "model", model)
    layer = inner.network.nodes[0].layer
    kind = shapes.kind_of(layer)
    if len(inner.network.nodes) > 1 and estimator.task != "embed":
        raise UsageError("this network has no counterpart at Hugging Face", expected="a language model, or an embedder",
                         got=str(getattr(estimator, "task", "a network of several layers")))
    tensors, config = shapes.given(kind, layer)
    files: dict[str, Any] = {huggingface.CONFIG: config}
    tokenizer = getattr(estimator, "tokenizer_", None)
    if tokenizer is not None:
        files |= {"tokenizer.json": json.loads(json.dumps(tokenizer.to_json())),
                  "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": layer.context}}
    if getattr(estimator, "task", "") == "embed":
        files |= sentence_files(estimator, layer.width)
    huggingface.write(path, files, tensors)
    return [*files, huggingface.WEIGHTS]


def sentence_files(estimator: Any, width: int) -> dict[str, Any]:
    """What sentence-transformers wants to know."""
    names = ["Transformer", "Pooling", *(["Normalize"] if estimator.normalize else [])]
    modules = [{"idx": i, "name": str(i), "path": f"{i}_{n}" if i else "", "type": f"sentence_transformers.models.{n}"}
               for i, n in enumerate(names)]
    modes = {name: how == estimator.pool for name, how in _POOLING.items()}
    return {"modules.json": modules, "sentence_bert_config.json": {"max_seq_length": estimator.max_len, "do_lower_case": False},
            "1_Pooling/config.json": {"word_embedding_dimension": width, **modes}}
