"""Vectors for texts: `TextEmbedder`, the task `embed`.  Its models come from elsewhere: see `dlcore.tasks.pretrained`."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.text.published import cut_to
from dlcore.data.text.sequences import pad_sequences
from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.data.texts import read_texts, text_array
from dlcore.errors import ModelFileError, UsageError
from dlcore.tasks.estimator import Estimator
from dlcore.tasks.task import Sections

TOKENIZER = "tokenizer.json"
LENGTHS = (8, 16, 32, 64, 128, 256, 512)           # texts are filled up to the next of these
_NOT_TRAINED = "embeddings are not trained here"
_HINT = "dlcore import FOLDER -o model.dlc; train text-classify --arch bert --init model.dlc"


class TextEmbedder(Estimator):
    """One vector for a text, f32[width], by an encoder of BERT's shape: near each other where texts mean the same.

    pool        "mean" over the tokens, "cls" (the first token), or "max"
    normalize   vectors have length 1, so that their products are cosines
    max_len     tokens of a text, at most, special ones among them; the beginning of longer texts is read
    batch_size  texts at a time"""

    task, _kind = "embed", "embedder"

    def __init__(self, pool: str = "mean", normalize: bool = False, max_len: int = 512, batch_size: int = 32):
        self.pool, self.normalize, self.max_len, self.batch_size = pool, normalize, max_len, batch_size

    def _check_params(self) -> None:
        from dlcore.layers.bert import POOLS
        for holds, name, expected in ((self.pool in POOLS, "pool", ", ".join(POOLS)),
                                      (isinstance(self.normalize, bool), "normalize", "True or False"),
                                      (whole(self.max_len, 3), "max_len", "a whole number from 3"),
                                      (whole(self.batch_size, 1), "batch_size", "a whole number from 1")):
            if not holds:
                raise UsageError(f"{name} = {getattr(self, name)!r} is of no use", expected=expected)

    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Self:
        raise UsageError(_NOT_TRAINED, hint=_HINT)

    @classmethod
    def of(cls, encoder: Any, tokenizer: TextTokenizer, **params: Any) -> Self:
        """From a `BertEncoder` whose weights are there, and its tokenizer."""
        from dlcore import layers as L
        from dlcore.training.model import Model
        made = cls(**params)
        made._check_params()
        made.max_len = min(made.max_len, encoder.context)
        ids = L.Input((made.max_len,), "int32")
        x = L.Pooled(made.pool)(encoder(ids))
        made._take(Model(ids, L.UnitNormalization()(x) if made.normalize else x), tokenizer)
        return made

    def _take(self, network: Any, tokenizer: TextTokenizer) -> None:
        network.ensure_store()
        network.network.fewer_steps = True
        self._network, self.tokenizer_ = network, cut_to(tokenizer, self.max_len)

    # ---- use ---------------------------------------------------------------------------------------------------------
    @property
    def encoder(self) -> Any:
        """The `BertEncoder`."""
        return self.model.layers[0]

    def predict(self, x: Any) -> np.ndarray:
        """f32 (N, width), a vector for each text.   DataError with the row of an empty text, or of something that is none."""
        texts = text_array(x.x if isinstance(x, Dataset) else x)
        unknown = self.tokenizer_.unknown_id or 0
        rows = [ids or [unknown] for ids in self.tokenizer_.encode_batch(texts)]
        lengths = np.array([len(ids) for ids in rows], np.int64)
        out = np.empty((len(rows), self.encoder.width), np.float32)
        low = 0
        for length in [*(n for n in LENGTHS if n < self.max_len), self.max_len]:
            chosen = np.flatnonzero((lengths > low) & (lengths <= length))
            if len(chosen):
                ids = pad_sequences([rows[i] for i in chosen], length, padding="post")
                out[chosen] = self.model.predict(ids, batch_size=self.batch_size)
            low = length
        return out

    transform = predict

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> dict[str, float]:
        """UsageError: vectors have no right answers."""
        raise UsageError("vectors of texts have no right answers to be measured by", hint="dlcore predict MODEL texts.txt")

    evaluation = score = evaluate

    # ---- files -------------------------------------------------------------------------------------------------------
    def contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        from dlcore.tasks.card import card
        from dlcore.training import saving
        parts, tensors = saving.parts(self.model)
        config = {"model_type": self.task, "estimator": type(self).__name__, "params": self.get_params(), "model": parts["model"]}
        weights = {name: tensor for name, tensor in tensors.items() if name.startswith("weights/")}
        return config, weights, {TOKENIZER: self.tokenizer_.to_json(), "README.md": card(self)}

    @classmethod
    def from_file(cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], extras: Mapping[str, Any], where: str) -> Self:
        from dlcore.layers import BertEncoder
        from dlcore.training import saving
        made = cls._described(config, where)
        tokenizer = TextTokenizer(extras.get(TOKENIZER, {}), f"{where}, {TOKENIZER}")
        network = saving.restore({"model": config.get("model")}, tensors, where=where)
        found = [(symbol.dtype, symbol.shape[1:]) for symbol in network.network.inputs]
        if (found != [("i32", (made.max_len,))]
                or not isinstance(network.layers[0], BertEncoder) or len(network.network.nodes) != 2 + made.normalize
                or len(tokenizer) > network.layers[0].tokens.input_dim):
            raise ModelFileError("network and tokenizer do not fit together", where=where, got=str(found)[:120])
        made._take(network, tokenizer)
        return made


def whole(value: Any, low: int) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(value >= low)


class EmbedTask:
    """`embed` on the command line: models are imported and used, not trained."""

    name = "embed"
    summary = "vectors for texts"
    architectures = {"bert": "an encoder of BERT's shape"}
    presets: Mapping[str, Sections] = {}
    space: Mapping[str, str] = {}

    def defaults(self, arch: str) -> Sections:
        raise UsageError(_NOT_TRAINED, hint=_HINT)

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None) -> Parts:
        data = read_texts(source, text_col, label_col, labelled=False)
        if isinstance(like, TextEmbedder):
            whole = cut_to(like.tokenizer_, None)       # a token has at least one character
            texts = np.asarray(data.x).tolist()
            long = sum(len(whole.encode(t)) > like.max_len for t in texts if len(t) + 2 > like.max_len)
            note = f"{long:,} of {len(texts):,} texts have more than {like.max_len} tokens: their beginning is read"
            data = Dataset(data.x, None, data.source, (*data.notes, *((note,) if long else ())), data.label)
        return Parts(data)

    def create(self, train: Dataset, arch: str = "", seed: int = 0, **options: Any) -> TextEmbedder:
        raise UsageError(_NOT_TRAINED, hint=_HINT)


TASK = EmbedTask()
ESTIMATORS = {"TextEmbedder": TextEmbedder}
