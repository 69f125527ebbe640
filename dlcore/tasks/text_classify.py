"""Labels for texts: `TextClassifier`, `MultiLabelTextClassifier`, and the task `text-classify`."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.text.ngrams import NGrams, ideographic, mapping
from dlcore.data.text.published import cut_to
from dlcore.data.text.sequences import Windows, pad_sequences, waste, windows
from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.data.texts import read_texts, text_array
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.tasks import recipe, text_pretrained
from dlcore.tasks.batches import ByLength, grouped, lengths_of
from dlcore.tasks.estimator import Estimator, renamed
from dlcore.tasks.multi_label import MultiLabel
from dlcore.tasks.settings import ByArchitecture
from dlcore.tasks.supervised import Classifier
from dlcore.tasks.task import Sections

ARCHITECTURES = {
    "ngrams": "a bag of n-grams of words and characters, weighted as in tf-idf, and a linear layer (fastText's way)",
    "bilstm": "embedding, bidirectional LSTM, mean over the words, dense layer",
    "transformer": "embedding, positions, Transformer blocks, mean over the words, dense layer",
    "bert": "the encoder of a model that is named by --init (MiniLM, BERT), trained on, and a dense layer",
}
HEADS = 4                               # of the transformer's attention
TOKENIZERS = ("word", "char", "byte", "bpe", "wordpiece")
LONG = ("truncate", "windows")
# the defaults of each architecture
DEFAULTS: dict[str, dict[str, Any]] = {
    "ngrams": {"embed": 64, "hidden": (), "dropout": 0.2, "epochs": 10, "lr": 5e-3, "weight_decay": 1e-2},
    "transformer": {"embed": 128, "hidden": (256, 256), "dropout": 0.3, "epochs": 20, "lr": 1e-3, "weight_decay": 1e-2},
    "bilstm": {"embed": 128, "hidden": (128,), "dropout": 0.5, "epochs": 16, "lr": 2e-3, "weight_decay": 1e-2},
    "bert": {"embed": 128, "hidden": (), "dropout": 0.1, "epochs": 5, "lr": 2e-3, "weight_decay": 1e-2},
}
_GRAIN, _USUAL_LENGTH, _MOST_STEPS = 8, 256, 1 << 16
_PIECE = 256                            # texts that are read at once


class _Text(Estimator):
    """What both share: a row is a text; `x` is a list or an array of texts, or a `Dataset`.

    arch         "ngrams", "bilstm", "transformer", or "bert": `training={"init": MODEL}` names the encoder to begin with, a model
                 of the task embed or a folder of Hugging Face's kind
    tokenizer    "word", "char", "byte", "bpe", "wordpiece", or the path of a tokenizer.json; "ngrams" cuts texts itself, "bert" as
                 its encoder is used to
    vocabulary   tokens (or n-grams), at most;   least: how many times one must occur in training
    max_len      tokens (or n-grams) of a text, at most; 0: what all but one in a thousand training texts need, at most 256 tokens
    long         texts with more: "truncate" keeps the beginning, "windows" cuts pieces that overlap by half and averages their
                 predictions
    embed        size of the vectors;   hidden: units of the LSTM layers, widths of the blocks' dense networks, or of dense
                 layers behind the bag;  "bert" has its own
    encoder_rate, layer_decay    of "bert": the learning rate of the encoder's highest block beside that of the new layer, and
                 that of each block beside the one above
    """

    task = "text-classify"
    reads_text = True
    _own = {"model": ("embed", "tokenizer", "vocabulary", "least", "max_len", "long"), "train": ("encoder_rate", "layer_decay")}
    embed: Any = ByArchitecture(DEFAULTS)
    hidden: Any = ByArchitecture(DEFAULTS)
    dropout: Any = ByArchitecture(DEFAULTS)
    epochs: Any = ByArchitecture(DEFAULTS)
    lr: Any = ByArchitecture(DEFAULTS)
    weight_decay: Any = ByArchitecture(DEFAULTS)
    columns: str = ""                   # "text,label": those of the file trained on
    header: bool | str = "auto"         # whether the first rows of files name the columns, as `TextClassifyTask.read` was told
    _tables = True

    def __init__(self, arch: str = "ngrams", tokenizer: str = "word", vocabulary: int = 50_000, least: int = 1, max_len: int = 0,
                 long: str = "truncate", embed: int | None = None, hidden: Sequence[int] | None = None,
                 dropout: float | None = None, epochs: int | None = None, batch_size: int = 32, lr: float | None = None,
                 optimizer: str = "adamw", schedule: str = "cosine", weight_decay: float | None = None, patience: int = 0,
                 val_split: float = 0.1, random_state: int | None = 0, training: Mapping[str, Any] | None = None,
                 encoder_rate: float = 0.05, layer_decay: float = 0.9):
        self.encoder_rate, self.layer_decay = encoder_rate, layer_decay
        self.arch, self.tokenizer, self.vocabulary, self.least = arch, tokenizer, vocabulary, least
        self.max_len, self.long, self.embed, self.hidden, self.dropout = max_len, long, embed, hidden, dropout
        self.epochs, self.batch_size, self.lr, self.optimizer = epochs, batch_size, lr, optimizer
        self.schedule, self.weight_decay, self.patience = schedule, weight_decay, patience
        self.val_split, self.random_state, self.training = val_split, random_state, training

    def _check_params(self) -> None:
        def require(condition: bool, name: str, expected: str) -> None:
            if not condition:
                raise UsageError(f"{name} = {getattr(self, name)!r} is of no use", expected=expected)
        require(self.arch in ARCHITECTURES, "arch", ", ".join(ARCHITECTURES))
        require(isinstance(self.tokenizer, str) and bool(self.tokenizer), "tokenizer",
                ", ".join(TOKENIZERS) + " or a tokenizer.json")
        require(self.long in LONG, "long", " or ".join(LONG))
        for name, low, high in (("embed", 1, 1 << 16), ("vocabulary", 3, 1 << 24), ("least", 1, 1 << 30),
                                ("max_len", 0, _MOST_STEPS)):
            value = getattr(self, name)
            require(isinstance(value, (int, np.integer)) and not isinstance(value, bool) and bool(low <= value <= high), name,
                    f"a whole number from {low} to {high}")
        for name in ("encoder_rate", "layer_decay"):
            value = getattr(self, name)
            require(isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1, name, "0 to 1")
        require(self.arch in ("ngrams", "bert") or len(self.hidden) > 0, "hidden", "at least one layer")
        if self.arch == "bert" and not recipe.of(self)["init"]:
            raise UsageError("the architecture bert begins with an encoder that is there already", where="init",
                             expected="a model of the task embed, or a folder of Hugging Face's kind",
                             hint="dlcore import FOLDER -o encoder.dlc; dlcore train text-classify --arch bert --init encoder.dlc")
        require(self.arch != "transformer" or self.embed % HEADS == 0, "embed", f"a multiple of {HEADS}, the heads")
        super()._check_params()

    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, **options: Any) -> Any:
        if isinstance(x, Dataset):
            self.columns = x.label
        return super().fit(x, y, sample_weight, **options)

    # ---- texts to ids ------------------------------------------------------------------------------------------------
    def _raw(self, x: Any) -> np.ndarray:
        return text_array(x.x if isinstance(x, Dataset) else x)

    _checked = _raw

    def _fit_inputs(self, x: np.ndarray, rows: np.ndarray) -> list[str]:
        texts = [x[i] for i in rows]
        if self.arch == "ngrams":
            runs = 3 if ideographic(texts) else 2
            self._ngrams = NGrams.fit(texts, runs, (2, 5), self.vocabulary, self.least, self.max_len or _USUAL_LENGTH * 8)
            self._length = self._ngrams.longest
            return [f"{len(self._ngrams) - 1:,} n-grams: up to {runs} words, 2 to 5 characters; at most {self._length} in a text"]
        if self.arch == "bert":
            self._source = text_pretrained.encoder_in(recipe.of(self)["init"])
            self._tokenizer = cut_to(self._source.tokenizer_, None)
            named, most = recipe.of(self)["init"], min(self._source.encoder.context, self.max_len or _USUAL_LENGTH)
        else:
            self._tokenizer = made_tokenizer(self.tokenizer, texts, self.vocabulary, self.least)
            named, most = self.tokenizer, self.max_len or _USUAL_LENGTH
        lengths = np.sort([len(ids) for ids in self._tokenizer.encode_batch(texts)])
        wanted = int(lengths[min(len(lengths) - 1, int(np.ceil(len(lengths) * 0.999)) - 1)])
        self._length = most if self.max_len else max(1, min(most, -(-wanted // _GRAIN) * _GRAIN))
        if self.arch == "bert" and not self._in_windows:
            self._tokenizer = cut_to(self._tokenizer, self._length)     # the last token stays that which ends a text
        beyond = int((lengths > self._length).sum())
        strategy = "their beginning is read" if self.long == "truncate" else "read in windows, predictions averaged"
        padding = waste(lengths, grouped(lengths, self.batch_size, self._length))
        return [f"tokenizer {named}: {len(self._tokenizer):,} tokens; texts have {lengths[len(lengths) // 2]} in the"
                f" middle, {lengths[-1]} at most",
                f"texts are filled up to at most {self._length} tokens, batches by length: {padding:.0%} of it padding"
                + (f"; {beyond:,} texts are longer: {strategy}" if beyond else "")]

    def _ids(self, x: np.ndarray) -> list[list[int]]:
        unknown = self._tokenizer.unknown_id or 0
        return [ids or [unknown] for ids in self._tokenizer.encode_batch(x)]        # nothing but unknown signs: one of these

    def _inputs(self, x: Any) -> np.ndarray:
        x = self._raw(x)
        if self.arch == "ngrams":
            return self._ngrams(x)
        return pad_sequences(self._ids(x), self._length, padding="post", truncating="post")

    def _windows(self, x: np.ndarray) -> Windows:
        return windows(self._ids(x), self._length)

    @property
    def _in_windows(self) -> bool:
        return self.long == "windows" and self.arch != "ngrams"

    def _training(self, x: Any, rows: np.ndarray, targets: np.ndarray, weight: np.ndarray | None) -> Any:
        return self._windows(x[rows]) if self._in_windows else self._inputs(x[rows])

    def _train(self, inputs: Any, targets: np.ndarray, weight: np.ndarray | None, *rest: Any) -> None:
        if isinstance(inputs, Windows):         # each window learns the labels of its text
            targets, weight = targets[inputs.document], None if weight is None else weight[inputs.document]
            inputs = inputs.ids
        validation, *others = rest
        if self.arch != "ngrams":
            inputs = ByLength(inputs, targets, weight, self.batch_size, self.seed_)
            validation = None if validation is None else ByLength(validation[0], validation[1], None, _PIECE)
        super()._train(inputs, targets, weight, validation, *others)

    def _predict(self, x: Any) -> np.ndarray:
        if self.arch == "ngrams":
            return super()._predict(x)
        network = self.model.network
        assert network is not None
        network.fewer_steps = True          # texts are filled up to the longest of those beside them
        if self._in_windows:
            cut = self._windows(self._checked(x))
            return cut.pool(self._by_length(cut.ids))
        return self._by_length(self._inputs(self._checked(x)))

    def _by_length(self, ids: np.ndarray) -> np.ndarray:
        """The network's outputs for rows of ids, f32 (N, outputs)."""
        out = np.empty((len(ids), self._outputs()), np.float32)
        for bucket in grouped(lengths_of(ids), _PIECE, ids.shape[1]):
            out[bucket.rows] = self.model.predict(ids[bucket.rows, :bucket.length])
        return out

    def _begin(self, network: Any, path: str) -> list[str]:
        if self.arch == "bert":                 # made with the encoder's values
            return [v.path for v in network.layers[0].variables]
        return super()._begin(network, path)

    def learning_rates(self) -> dict[str, float]:
        """Factors of the learning rate by patterns of weights."""
        source = getattr(self, "_source", None)
        if self.arch != "bert" or source is None:
            return {}
        return text_pretrained.rates(source, self.encoder_rate, self.layer_decay)

    # ---- the network -------------------------------------------------------------------------------------------------
    def _make(self, shape: tuple[int, ...]) -> tuple[Any, str]:
        made = self._network_of(self.arch)
        made.network.fewer_steps = self.arch != "ngrams"
        if self.arch == "bert":
            encoder = self._source.encoder
            return made, f"bert {len(encoder.blocks)} blocks of {encoder.width}, {self._outputs()} labels"
        return made, f"{self.arch} " + "-".join(map(str, (self.embed, *self.hidden, self._outputs())))

    def _network_of(self, arch: str) -> Any:
        from dlcore import models
        options = {"embed": self.embed, "hidden": self.hidden, "dropout": self.dropout, "seed": self.seed_,
                   "output_activation": "softmax" if self._kind == "classifier" else "sigmoid"}
        sizes = self._length, len(self._tokenizer) if arch != "ngrams" else len(self._ngrams), self._outputs()
        if arch == "bert":
            return text_pretrained.network(self._source, self._length, self._outputs(), dropout=self.dropout, seed=self.seed_,
                                           output_activation=options["output_activation"])
        if arch == "bilstm":
            return models.bilstm(*sizes, **options)
        if arch == "transformer":
            return models.encoder_classifier(*sizes, heads=HEADS, **options)
        network = models.bag_of_ngrams(*sizes, **options)
        network.layers[0].set_importance(self._ngrams.importance)
        return network

    # ---- files -------------------------------------------------------------------------------------------------------
    def _parts(self) -> dict[str, Any]:
        stored: dict[str, Any] = {"columns": self.columns, "length": self._length, "header": self.header, **self._decision()}
        if self.arch == "ngrams":
            return {"preprocess.json": {**stored, "ngrams": self._ngrams.to_json()}}
        return {"preprocess.json": stored, "tokenizer.json": self._tokenizer.to_json()}

    def _restore(self, config: Mapping[str, Any], extras: Mapping[str, Any], where: str) -> int:
        place = f"{where}, preprocess.json"
        stored = mapping(extras.get("preprocess.json"), place)
        columns, length, header = stored.get("columns"), stored.get("length"), stored.get("header", "auto")
        if (not isinstance(columns, str) or type(length) is not int or not 1 <= length <= _MOST_STEPS
                or not (isinstance(header, bool) or header == "auto")):
            raise ModelFileError("the preprocessing of a text model is malformed", where=place)
        self.columns, self._length, self.header = columns, length, header
        self._restore_decision(stored, place)
        if self.arch == "ngrams":
            self._ngrams = NGrams.from_json(stored.get("ngrams"), place)
            if self._ngrams.longest != length:
                raise ModelFileError("the preprocessing of a text model is malformed", where=place)
        else:
            where = f"{where}, tokenizer.json"
            self._tokenizer = TextTokenizer(mapping(extras.get("tokenizer.json"), where), where)
        return length

    _input_dtype = "i32"

    def _fits(self, network: Any) -> bool:
        """Whether ids of this tokenizer are ids of the network's table."""
        limits = network.network.id_limits()
        if self.arch == "bert":                 # its table may have more rows than there are tokens
            return limits[0] is not None and limits[0] >= len(self._tokenizer)
        return limits == [len(self._ngrams if self.arch == "ngrams" else self._tokenizer)]

    def _decision(self) -> dict[str, Any]:
        return {}

    def _restore_decision(self, stored: Mapping[str, Any], where: str) -> None:
        pass

    def random_samples(self, count: int) -> np.ndarray:
        size = len(self._ngrams if self.arch == "ngrams" else self._tokenizer)
        return np.random.default_rng(0).integers(1, size, (count, self._length)).astype(np.int32)


class TextClassifier(_Text, Classifier):
    """One label for a text: intents, topics, sentiment.

        model = dlcore.TextClassifier(arch="bilstm").fit(texts, labels)
        model.predict(["where is my card?"])
    """


class MultiLabelTextClassifier(MultiLabel, _Text):
    """Any number of labels for a text; `y` holds lists of labels.

    thresholds, thresholds_   from which probabilities labels are given: see `MultiLabel`
    """

    _own = {**_Text._own, "model": (*_Text._own["model"], "thresholds")}

    def __init__(self, arch: str = "ngrams", tokenizer: str = "word", vocabulary: int = 50_000, least: int = 1, max_len: int = 0,
                 long: str = "truncate", embed: int | None = None, hidden: Sequence[int] | None = None,
                 dropout: float | None = None, epochs: int | None = None, batch_size: int = 32, lr: float | None = None,
                 optimizer: str = "adamw", schedule: str = "cosine", weight_decay: float | None = None, patience: int = 0,
                 val_split: float = 0.1, random_state: int | None = 0, training: Mapping[str, Any] | None = None,
                 encoder_rate: float = 0.05, layer_decay: float = 0.9, thresholds: str | float = "auto"):
        super().__init__(arch, tokenizer, vocabulary, least, max_len, long, embed, hidden, dropout, epochs, batch_size, lr,
                         optimizer, schedule, weight_decay, patience, val_split, random_state, training, encoder_rate, layer_decay)
        self.thresholds = thresholds


def made_tokenizer(kind: str, texts: Sequence[str], size: int, least: int) -> TextTokenizer:
    """The tokenizer that the parameter names, learned from these texts or read from a file."""
    if kind == "word":
        return TextTokenizer.words(texts, size, least=least)
    if kind == "char":
        return TextTokenizer.characters(texts, size, least=least)
    if kind == "byte":
        return TextTokenizer.bytes()
    if kind in TOKENIZERS:
        return TextTokenizer.train(kind, texts, size, lowercase=True, least=max(2, least))
    found = TextTokenizer.from_file(kind)
    if found.pad_id != 0:
        raise ModelFileError("this tokenizer does not fit: id 0 must be padding", where=kind, got=f"padding is {found.pad_id}")
    return found


class TextClassifyTask:
    """`text-classify` on the command line."""

    name = "text-classify"
    summary = "one or several labels for texts: intents, topics, sentiment"
    architectures = ARCHITECTURES
    presets: Mapping[str, Sections] = {}
    space = {"train.lr": "5e-4..1e-2:log", "train.batch": "16, 32, 64", "model.embed": "32, 64, 128", "model.dropout": "0.0..0.6"}

    def defaults(self, arch: str) -> Sections:
        sections = TextClassifier(arch).sections()
        return {**sections, "data": {**sections["data"], "header": "auto"},
                "model": {**sections["model"], "labels": "auto", "thresholds": "auto"},
                "train": {**sections["train"], "monitor": "auto"}}

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None, header: bool | str = "auto") -> Parts:
        """header: whether the first row of csv and tsv names the columns; "auto": as `like` was told, else what it looks like."""
        assert like is None or isinstance(like, _Text)
        lines = header == "auto"
        told = like.header if like and lines else header
        first = told if isinstance(told, bool) else None
        if like is not None:
            text, _, label = like.columns.partition(",")
            known = isinstance(like, MultiLabelTextClassifier)
            try:
                return Parts(read_texts(source, text_col or text, label_col or label, labelled, known, first, lines))
            except DataError as error:
                if text_col or label_col or not error.message.startswith("there is no column"):
                    raise
        return Parts(read_texts(source, text_col, label_col, labelled, None if like is None else known, first, lines))

    def create(self, train: Dataset, arch: str = "", seed: int = 0, labels: str = "auto",
               thresholds: str | float = "auto", header: bool | str = "auto", monitor: str = "auto",
               **options: Any) -> _Text:
        if labels not in ("auto", "one", "several"):
            raise UsageError(f"labels = {labels!r} is of no use", expected="auto, one, several")
        several = train.y is not None and train.y.dtype == object
        if labels == "one" and several:
            raise UsageError("labels = 'one', but rows have several", hint="labels = auto")
        chosen = {"arch": arch or next(iter(ARCHITECTURES)), "random_state": seed, **renamed(options)}
        if monitor != "auto":                   # val_loss, too, which is not what is meant where a row has several labels
            chosen["training"] = {**chosen.get("training", {}), "monitor": monitor}
        if not several and thresholds != "auto":
            raise UsageError("thresholds are for rows with several labels", where="thresholds", got="one label each",
                             hint="leave it out")
        made = MultiLabelTextClassifier(**chosen, thresholds=threshold_of(thresholds)) if several else TextClassifier(**chosen)
        made.header = header
        return made


def threshold_of(text: str | float) -> str | float:
    """The setting as a number where it is one; else as it is."""
    try:
        return float(text)
    except ValueError:
        return text


TASK = TextClassifyTask()
ESTIMATORS = {"TextClassifier": TextClassifier, "MultiLabelTextClassifier": MultiLabelTextClassifier}
