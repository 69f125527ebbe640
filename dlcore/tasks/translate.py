"""Sentences into another language: `Translator`, and the task `translate` of the command line."""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dlcore.data import pairs as pairs_of
from dlcore.data.dataset import Dataset, Parts
from dlcore.data.text.ngrams import ideographic
from dlcore.data.text.sequences import pad_sequences
from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.data.texts import text_array
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.metrics import bleu_score, chrf_score
from dlcore.tasks import recipe
from dlcore.tasks import translate_settings as settings
from dlcore.tasks.estimator import FEWEST_TO_DIVIDE, Estimator, _plain, pair
from dlcore.tasks.language_settings import seed_of
from dlcore.tasks.task import Sections
from dlcore.tasks.translate_batches import PairBatches, Pairs

if TYPE_CHECKING:
    from dlcore.models.translate import Decoder, Search
    from dlcore.training.callbacks import Callback
    from dlcore.training.history import History

SOURCE, TARGET = "source_tokenizer.json", "target_tokenizer.json"
TOGETHER, GRAIN, MEASURED = 32, 8, 64       # sentences translated at once; of their lengths; pairs of a batch that is measured


@dataclass(frozen=True)
class Attention:
    """How a translation came about.   source, target: tokens;  weights: f32[layers, heads, T, S], rows that sum to 1."""

    source: list[str]
    target: list[str]
    weights: np.ndarray

    def svg(self, layer: int | None = None) -> str:
        """A picture: a row for each token of the translation; the mean over heads of one layer, or of all (None)."""
        from dlcore.report.svg import heat
        shown = self.weights if layer is None else self.weights[layer][None]
        return heat(self.target, self.source, shown.mean((0, 1)), "translation", "source")

    def save(self, path: str | Path, layer: int | None = None) -> None:
        """Writes the picture, an SVG file.   WriteError"""
        from dlcore.deploy.atomic import write_text
        write_text(Path(path), self.svg(layer))


class Translator(Estimator):
    """Translates sentences, after learning from pairs of them.

    arch        "transformer" (Vaswani et al., 2017) or "lstm" (with attention, Bahdanau et al., 2015)
    source_tokenizer, target_tokenizer   "char", "word", "bpe" (needs the extra "text"), "byte", or the path of a tokenizer.json;
                "auto": char for Chinese and Japanese, else bpe;   vocabulary: tokens of each, at most
    max_len     tokens of a sentence, at most; 0: what all but one in a thousand need, at most 128.  Longer pairs are not
                learned; of a longer sentence that is to be translated the beginning is read
    layers, heads, width, inner   of the network: see `TranslationTransformer` and `TranslationLSTM`
    beam        translations that are followed at a time;   length_penalty: 0 prefers short ones
    label_smoothing   share of the target that is given to all ids alike in training (Szegedy et al., 2016)
    val_split   share of the pairs kept for validation, test_split: of those that the command line keeps for the test; no
                sentence is in two parts (see `dlcore.data.pairs.divide`)
    training    the recipe: warmup 0.1 (a share of all steps) and clip 1 unless it says otherwise

    `fit(sources, targets)`, `predict(sources)`, `score(sources, targets)` (BLEU), `evaluate`, `attention(source)`, `save(path)`."""

    task, _kind, _sections = "translate", "translator", settings.SECTIONS
    reads_text, foldable = True, False
    layers: Any = settings.ByArchitecture()
    width: Any = settings.ByArchitecture()
    dropout: Any = settings.ByArchitecture()
    epochs: Any = settings.ByArchitecture()
    lr: Any = settings.ByArchitecture()
    training: Any = settings.ByArchitecture()
    columns, digest = "", ""            # "english,chinese": those of the file trained on;  of the pairs of its training part

    def __init__(self, arch: str = "transformer", source_tokenizer: str = "auto", target_tokenizer: str = "auto",
                 vocabulary: int = 4000, max_len: int = 0, layers: int | None = None, heads: int = 4,
                 width: int | None = None, inner: int = 512,
                 dropout: float | None = None, beam: int = 4, length_penalty: float = 1.0, epochs: int | None = None,
                 batch_size: int = 64, optimizer: str = "adam", lr: float | None = None, schedule: str = "cosine",
                 weight_decay: float = 0.0, label_smoothing: float = 0.1, patience: int = 0, val_split: float = 0.05,
                 test_split: float = 0.05, random_state: int | None = 0, training: Mapping[str, Any] | None = None):
        self.arch, self.vocabulary = arch, vocabulary
        self.source_tokenizer, self.target_tokenizer = source_tokenizer, target_tokenizer
        self.max_len, self.layers, self.heads, self.width, self.inner = max_len, layers, heads, width, inner
        self.dropout, self.beam, self.length_penalty = dropout, beam, length_penalty
        self.epochs, self.batch_size = epochs, batch_size
        self.optimizer, self.lr, self.schedule, self.weight_decay = optimizer, lr, schedule, weight_decay
        self.label_smoothing, self.patience, self.val_split, self.test_split = label_smoothing, patience, val_split, test_split
        self.random_state, self.training = random_state, training

    def _check_params(self) -> None:
        settings.check(self)

    # ---- training ----------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Any = None, sample_weight: Any = None, *, validation_data: Any = None,
            callbacks: Sequence[Callback] = (), log: Callable[[str], None] | None = None) -> Self:
        """Trains on sentences and their translations, or on a `Dataset`.  Arguments and errors: see `Estimator.fit`."""
        say = log or (lambda line: None)
        self._check_params()
        if sample_weight is not None:
            raise UsageError("pairs of sentences are not weighed", hint="leave out sample_weight")
        self.columns = x.label if isinstance(x, Dataset) else ""
        x, y = sentences(x, y, "the training data")
        if len(x) < 2:
            raise DataError("there are too few pairs to train on", expected="at least 2", got=str(len(x)))
        self.digest = pairs_of.digest(Dataset(x, y))
        self.seed_ = seed_of(self.random_state)
        train, val, line = self._parts_of(x, y, validation_data)
        self.validation_rows_ = val
        say(line)
        for line in self._fit_tokens(x[train], y[train]):
            say(line)
        learned = self._pairs(x[train], y[train], say)
        held = (x[val], y[val]) if len(val) else None
        if validation_data is not None:
            given = validation_data if isinstance(validation_data, tuple) else (validation_data, None)
            held = sentences(given[0], given[1], "the validation data")
        kept = self._pairs(*held, None) if held is not None else None
        return self._learn(learned, kept.in_order(MEASURED) if kept is not None and len(kept) else None, callbacks, say)

    def _parts_of(self, x: np.ndarray, y: np.ndarray, validation_data: Any) -> tuple[np.ndarray, np.ndarray, str]:
        """Rows to train on and to validate on, and a line about them."""
        everything, nothing = np.arange(len(x)), np.arange(0)
        if validation_data is not None:
            return everything, nothing, f"{len(x):,} pairs to train on, validation data as given"
        if self.val_split == 0 or len(x) < FEWEST_TO_DIVIDE:
            why = "none kept for validation" if self.val_split == 0 else "too few to keep some for validation"
            return everything, nothing, f"all {len(x):,} pairs are trained on: {why}"
        train, val = pairs_of.divide(x, y, self.val_split, self.seed_ + 1)
        return train, val, f"{len(train):,} pairs to train on, {len(val):,} for validation (no sentence in both, seed {self.seed_})"

    def _fit_tokens(self, x: np.ndarray, y: np.ndarray) -> list[str]:
        self.source_, self.target_ = (settings.made_tokenizer(kind, texts.tolist(), self.vocabulary) for kind, texts in (
            (self.source_tokenizer, x), (self.target_tokenizer, y)))
        self.cut_ = "zh" if ideographic(y.tolist()) else "13a"
        found = []
        lengths = []
        for name, tokenizer, texts in (("source", self.source_, x), ("target", self.target_, y)):
            sizes = np.sort([len(ids) for ids in tokenizer.encode_batch(texts, special=False)])
            wanted = int(sizes[int(np.ceil(len(sizes) * 0.999)) - 1])
            lengths.append(self.max_len or max(1, min(settings.LONGEST, wanted)))
            found.append(f"{name}: {len(tokenizer):,} tokens ({tokenizer.kind}); sentences have "
                         f"{sizes[len(sizes) // 2]} in the middle, {sizes[-1]} at most; up to {lengths[-1]} are read")
        self.lengths_ = lengths[0], lengths[1] + 1              # the target's with its end
        return found

    def _pairs(self, x: np.ndarray, y: np.ndarray, say: Callable[[str], None] | None) -> Pairs:
        """Encoded pairs without those that are too long."""
        sources, targets = self._sources(x), self.target_.encode_batch(y, special=False)
        fits = [n for n in range(len(x)) if len(sources[n]) <= self.lengths_[0] and len(targets[n]) < self.lengths_[1]]
        if not fits:
            raise DataError("every pair is too long", expected=f"at most {self.lengths_[0]} and {self.lengths_[1] - 1} tokens",
                            hint="a greater max_len")
        found = Pairs([sources[n] for n in fits], [targets[n] for n in fits], self.lengths_, self._begin_id, self._end_id,
                      self.batch_size)
        if say is not None:
            longer = f"; {len(x) - len(fits):,} longer pairs are left out" if len(fits) < len(x) else ""
            say(f"{len(found.groups)} groups of similar length, {found.waste:.0%} of their steps are padding{longer}")
        return found

    def _learn(self, learned: Pairs, kept: Any, callbacks: Sequence[Callback], say: Callable[[str], None]) -> Self:
        from dlcore.training.early_stopping import EarlyStopping
        network = self._network_of()
        for line in recipe.prepare(network, self):
            say(line)
        self._compile(network)
        for line in recipe.set_precision(network, self):
            say(line)
        self._network = network
        batches = PairBatches(learned, self.batch_size, self.seed_)
        say(f"network {self.arch}, {network.count_params():,} weights; dropout {self.dropout:g}, "
            f"label smoothing {self.label_smoothing:g}")
        say(f"{self.optimizer}, learning rate {self.lr:g} ({self.schedule}), {len(batches):,} batches of up to "
            f"{self.batch_size} pairs, at most {self.epochs} epochs" + recipe.described(self))
        network.optimizer.learning_rate = recipe.schedule(self, self.epochs * len(batches), len(batches)) or self.lr
        best = EarlyStopping(recipe.of(self)["monitor"], patience=self.patience or None) if kept else None
        own: list[Callback] = [recipe.plateau(self)] if self.schedule == "plateau" else []
        self.history_: History = network.fit(batches, epochs=self.epochs, validation_data=kept, seed=self.seed_, verbose=0,
                                             callbacks=[batches, *own, *callbacks, *([best] if best else [])])
        self.n_iter_ = len(self.history_.epoch)
        if best:
            say(best.describe())
        return self

    def _network_of(self) -> Any:
        from dlcore.models.translate import translator
        return translator(self.arch, len(self.source_), len(self.target_) + 2, *self.lengths_, layers=self.layers, width=self.width,
                          dropout=self.dropout, heads=self.heads, inner=self.inner, seed=self.seed_)

    def _compile(self, network: Any) -> None:
        from dlcore.training.losses import TokenCrossentropy
        network.compile(recipe.optimizer(self), TokenCrossentropy(True, self.label_smoothing))

    def made_up(self, batch: int) -> tuple[Any, Any]:
        """A batch of the longest sentences, for measuring a step: inputs and targets."""
        S, T = self.lengths_
        return [np.ones((batch, S), np.int32), np.ones((batch, T), np.int32)], np.ones((batch, T), np.int32)

    def trace(self, x: Any) -> Any:
        raise UsageError("a translator is not written as C: it is a search over several programs")

    # ---- translating -------------------------------------------------------------------------------------------------
    @property
    def _begin_id(self) -> int:
        return len(self.target_)

    @property
    def _end_id(self) -> int:
        return len(self.target_) + 1

    def _sources(self, x: np.ndarray) -> list[list[int]]:
        unknown = self.source_.unknown_id or 1
        return [ids or [unknown] for ids in self.source_.encode_batch(x, special=False)]

    def _search(self) -> Search:
        from dlcore.models.translate import Search
        banned = {self.target_.pad_id, self._begin_id, *self.target_.special}
        banned |= {self.target_.unknown_id} if self.target_.unknown_id is not None else set()
        return Search(self._begin_id, self._end_id, tuple(sorted(banned)), self.length_penalty)

    def input_notes(self, x: Any) -> list[str]:
        """What is done with sentences that the model cannot read whole, or not all tokens of."""
        ids, found = self._sources(text_array(x)), []
        if longer := sum(len(i) > self.lengths_[0] for i in ids):
            found.append(f"{longer:,} sentences have more than {self.lengths_[0]} tokens: their beginning is read")
        if self.source_.unknown_id is not None and (rows := sum(self.source_.unknown_id in i for i in ids)):
            found.append(f"{rows:,} sentences have tokens that were not learned")
        return found

    def predict(self, x: Any, beam: int | None = None) -> np.ndarray:
        """The translation of each sentence, an array of str (N,).   beam: translations that are followed at a time; 1 takes
        the likeliest token at each step."""
        from dlcore.models.translate import Decoder, beam_search, greedy
        network, beams = self.model, self.beam if beam is None else beam
        if beams < 1:
            raise UsageError("at least one translation is followed", got=f"beam = {beams}")
        x = text_array(x.x if isinstance(x, Dataset) else x)
        sources, search = [ids[:self.lengths_[0]] for ids in self._sources(x)], self._search()
        out, decoders = np.empty(len(x), object), {}
        order = sorted(range(len(x)), key=lambda n: (len(sources[n]), n))
        for at in range(0, len(order), TOGETHER):
            rows = order[at:at + TOGETHER]
            S = min(self.lengths_[0], -(-len(sources[rows[-1]]) // GRAIN) * GRAIN)
            N = next(n for n in (1, 4, TOGETHER) if n >= len(rows))
            if (N, S) not in decoders:
                decoders[N, S] = Decoder(network, N, S, beams, self.lengths_[1])
            decoder: Decoder = decoders[N, S]
            given = pad_sequences([sources[n] for n in (*rows, *[rows[-1]] * (N - len(rows)))], S, padding="post")
            found = greedy(decoder, given, search) if beams == 1 else beam_search(decoder, given, search)
            for n, ids in zip(rows, found, strict=False):
                out[n] = self.target_.decode(ids).strip()
        return out

    def attention(self, text: str, translation: str | None = None, beam: int | None = None) -> Attention:
        """Which tokens of a sentence each token of its translation (by default the model's own) looked at."""
        from dlcore.models.translate import attention
        network, texts = self.model, text_array([text])
        source = self._sources(texts)[0][:self.lengths_[0]]
        made = self.predict(texts, beam)[0] if translation is None else translation
        target = self.target_.encode(made, special=False)[:self.lengths_[1] - 1]
        weights = attention(network, source, [self._begin_id, *target])
        return Attention(shown(self.source_, source), [*shown(self.target_, target), "END"], weights)

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """bleu and chrf of the translations (sacrebleu's, 0 to 100; of Chinese its characters), and loss and perplexity of
        a token of the references."""
        x, y = sentences(x, y, "the data")
        made = self.predict(x)
        found = {"bleu": bleu_score(y.tolist(), made.tolist(), self.cut_), "chrf": chrf_score(y.tolist(), made.tolist())}
        fitting = self._pairs(x, y, None)
        loss = float(self.model.evaluate(fitting.in_order(MEASURED)))
        return {**found, "loss": loss, "perplexity": float(np.exp(loss))}

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """BLEU."""
        x, y = sentences(x, y, "the data")
        return bleu_score(y.tolist(), self.predict(x).tolist(), self.cut_)

    # ---- files -------------------------------------------------------------------------------------------------------
    def contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        from dlcore.tasks.card import card
        from dlcore.training import saving
        parts, tensors = saving.parts(self.model)
        config = {"model_type": self.task, "estimator": type(self).__name__, "params": _plain(self.get_params()),
                  "model": parts["model"]}
        weights = {name: tensor for name, tensor in tensors.items() if name.startswith("weights/")}
        stored = {"columns": self.columns, "digest": self.digest, "lengths": list(self.lengths_), "cut": self.cut_}
        return config, weights, {"preprocess.json": stored, SOURCE: self.source_.to_json(), TARGET: self.target_.to_json(),
                                 "README.md": card(self)}

    @classmethod
    def from_file(cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], extras: Mapping[str, Any], where: str) -> Self:
        from dlcore.models.translate import layer_of
        from dlcore.training import saving
        made = cls._described(config, where)
        made._restore(config, extras, where)
        network = saving.restore({"model": config.get("model")}, tensors, where=where)
        found = [(symbol.dtype, symbol.shape[1:]) for symbol in (*network.network.inputs, *network.network.outputs)]
        S, T = made.lengths_
        expected = [("i32", (S,)), ("i32", (T,)), ("f32", (T, len(made.target_) + 2))]
        limits = [len(made.source_), len(made.target_) + 2]
        if found != expected or layer_of(network) is None or network.network.id_limits() != limits:
            raise ModelFileError("network and tokenizers do not fit together", where=where, expected=str(expected),
                                 got=str(found)[:120])
        network.network.fewer_steps = True
        made._compile(network)
        made._network = network
        return made

    def _restore(self, config: Mapping[str, Any], extras: Mapping[str, Any], where: str) -> int:
        stored = extras.get("preprocess.json")
        if not isinstance(stored, Mapping) or stored.keys() != {"columns", "digest", "lengths", "cut"}:
            raise ModelFileError("the preprocessing of a translator is malformed", where=f"{where}, preprocess.json")
        lengths = stored["lengths"]
        texts = all(isinstance(stored[name], str) for name in ("columns", "digest", "cut"))
        sizes = isinstance(lengths, list) and len(lengths) == 2 and all(type(n) is int and 0 < n <= 1 << 15 for n in lengths)
        if not texts or not sizes:
            raise ModelFileError("the preprocessing of a translator is malformed", where=f"{where}, preprocess.json")
        self.columns, self.digest, self.cut_ = stored["columns"], stored["digest"], stored["cut"]
        self.lengths_ = lengths[0], lengths[1]
        self.source_, self.target_ = (TextTokenizer(extras.get(name, {}), f"{where}, {name}") for name in (SOURCE, TARGET))
        return lengths[0]


def sentences(x: Any, y: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Sentences and translations as arrays of str.   DataError"""
    x, y = pair(x, text_array(y) if y is not None else None, name)
    x, y = text_array(x), text_array(y)
    if len(x) != len(y):
        raise DataError("sentences and translations do not fit together", expected=f"{len(x):,} translations", got=f"{len(y):,}")
    return x, y


def shown(tokenizer: TextTokenizer, ids: Sequence[int]) -> list[str]:
    """Each id as text."""
    return [tokenizer.decode([i], skip_special=False).strip() or "\u2423" for i in ids]


class TranslateTask:
    """`translate` on the command line."""

    name = "translate"
    summary = "sentences into another language"
    architectures = settings.ARCHITECTURES
    presets: Mapping[str, Sections] = {}
    space = {"train.lr": "5e-4..4e-3:log", "model.dropout": "0.0..0.4", "train.label-smoothing": "0.0, 0.1, 0.2",
             "model.width": "128, 192, 256"}

    def defaults(self, arch: str) -> Sections:
        found = Translator(arch or "transformer").sections()
        return {**found, "data": {**found["data"], "source": "", "target": ""}}

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True, like: Estimator | None = None,
             source_col: str = "", target_col: str = "", test_split: float = 0.0) -> Parts:
        """Of the file that `like` was trained on, the test part is the one that was kept then; another file has none."""
        assert like is None or isinstance(like, Translator)
        first, second = source_col or text_col, target_col or label_col
        if like is not None and not (first or second):
            first, _, second = like.columns.partition(",")
        if not labelled:
            return Parts(pairs_of.read_sentences(source, first))
        whole = pairs_of.read_pairs(source, first, second)
        share = like.test_split if like is not None else test_split
        if not share or like is not None and not like.digest:
            return Parts(whole)
        assert whole.y is not None and isinstance(whole.x, np.ndarray)
        train, test = pairs_of.divide(whole.x, whole.y, share)
        if like is not None and pairs_of.digest(whole.take(train)) != like.digest:
            return Parts(whole)
        kept = f"{len(test):,} pairs are kept for the test; no sentence of theirs is trained on"
        return Parts(Dataset(whole.x[train], whole.y[train], source, (*whole.notes, kept), whole.label),
                     Dataset(whole.x[test], whole.y[test], source, (), whole.label))

    def create(self, train: Dataset, arch: str = "", seed: int = 0, source: str = "", target: str = "",
               **options: Any) -> Translator:
        return Translator(arch=arch or "transformer", random_state=seed, **settings.renamed(options))


TASK = TranslateTask()
ESTIMATORS = {"Translator": Translator}
