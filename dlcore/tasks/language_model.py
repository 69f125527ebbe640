"""Text that goes on: `LanguageModel` and `CharLM`, and the tasks `language-model` and `char-lm` of the command line."""
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from dlcore.data.dataset import Dataset, Parts
from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.tasks import language_settings as settings
from dlcore.tasks.estimator import Estimator
from dlcore.tasks.language_windows import Lines, Windows, ids_of, lines_of, whole
from dlcore.tasks.task import Sections
from dlcore.training.callbacks import Callback

if TYPE_CHECKING:
    from dlcore.training.history import History

TOKENIZER = "tokenizer.json"
BEGINNINGS = ("<s>", "<|begin_of_text|>", "<|endoftext|>", "[BOS]")     # tokens that texts begin with, by the names in use


class LanguageModel(Estimator):
    """A model of what comes next in a text, fitted to a text, that writes on from a prompt.

    arch        gpt (decoder blocks), llama (the same with rotary positions, root-mean-square norms and gated dense networks), lstm,
                gru or rnn
    tokenizer   char, byte, word or bpe (`vocabulary` says how many words or tokens at most; bpe needs the extra "text");
                by default char for `CharLM`, else byte
    context     ids that are seen at a time;  layers, heads, width: of the network
    tied, bias  one table for input and output; biases of gpt
    kv_heads    of llama: heads of keys and values, shared by several of the queries; 0: as many as `heads`
    steps       updates, each on `batch_size` windows at random places; 0: as many as `epochs` passes over the text need
    eval_every  steps between two measurements; the weights that did best are kept
    schedule    of the learning rate, after `warmup` steps (below 1: a share) of rise; linear and cosine end at `min_lr`
    clip        greatest norm of all gradients together, 0: none
    val_split   share of the text, its end, kept for validation
    begin       where the windows begin: "anywhere" in the text, or with a "line": each line is a sample of its own, measured and
                written from its beginning, the line feed before it, to its end, without those before it

    `fit(text)`, `generate(prompt)`, `stream(prompt)`, `evaluate(text)`, `save(path)`."""

    task, _kind, _units = "language-model", "generator", "byte"
    foldable = False

    def __init__(self, arch: str = "gpt", tokenizer: str = "", vocabulary: int = 8000, context: int = 128, layers: int = 4,
                 heads: int = 4, width: int = 128, dropout: float = 0.0, tied: bool = True, bias: bool = True,
                 position: str = "learned", kv_heads: int = 0,
                 steps: int = 0, epochs: int = 1, eval_every: int = 250, batch_size: int = 32, optimizer: str = "adamw",
                 lr: float = 1e-3, schedule: str = "cosine", warmup: float = 100.0, min_lr: float = 1e-4, weight_decay: float = 0.1,
                 beta_2: float = 0.99, clip: float = 1.0, patience: int = 0, val_split: float = 0.1,
                 begin: str = "anywhere", random_state: int | None = 0):
        self.arch, self.tokenizer, self.vocabulary, self.context = arch, tokenizer, vocabulary, context
        self.layers, self.heads, self.width, self.dropout = layers, heads, width, dropout
        self.tied, self.bias, self.position, self.kv_heads = tied, bias, position, kv_heads
        self.steps, self.epochs, self.eval_every, self.batch_size = steps, epochs, eval_every, batch_size
        self.optimizer, self.lr, self.schedule, self.warmup, self.min_lr = optimizer, lr, schedule, warmup, min_lr
        self.weight_decay, self.beta_2, self.clip, self.patience = weight_decay, beta_2, clip, patience
        self.val_split, self.begin, self.random_state = val_split, begin, random_state

    def sections(self) -> dict[str, dict[str, Any]]:
        return settings.sections({**self.get_params(), "tokenizer": self.units})

    @property
    def units(self) -> str:
        """What a text is cut into: char, byte, word or bpe."""
        return self.tokenizer or self._units

    def _check_params(self) -> None:
        settings.check(self)

    # ---- training ----------------------------------------------------------------------------------------------------
    def fit(self, x: Any, y: Any = None, *, callbacks: Sequence[Callback] = (),      # type: ignore[override]  # no rows to weigh
            log: Callable[[str], None] | None = None) -> Self:
        """Trains on a text (or a `Dataset` of one).  Raises DataError and UsageError before anything is trained, and
        DivergedError."""
        from dlcore.training.early_stopping import EarlyStopping
        say = log or (lambda line: None)
        self._check_params()
        text = text_of(x)
        self.seed_ = settings.seed_of(self.random_state)
        self.tokenizer_ = settings.make_tokenizer(self, text)
        train, val = (ids_of(self.tokenizer_, part) for part in divided(text, self.val_split, self.begin == "line"))
        windows = self._windows(train, val)
        sizes = [f"{len(p):,} lines" if self.begin == "line" else f"{len(p[0]):,} ids" for p in (train, val)]
        say(f"{len(text):,} characters, {len(self.tokenizer_)} {self.units} tokens; {sizes[0]} to train on, the last {sizes[1]} "
            "for validation")
        total = self.steps or max(1, round(self.epochs * windows.positions / (self.batch_size * self.context)))
        rounds = -(-total // self.eval_every)
        windows.steps = -(-total // rounds)
        self._network = settings.network(self, len(self.tokenizer_))
        settings.compile(self._network, self, total)
        say(f"{self.arch}: {self._network.count_params():,} weights; {total:,} steps of {self.batch_size} windows of "
            f"{self.context}")
        best = EarlyStopping(patience=self.patience or None) if any(map(len, val)) else None
        self.history_: History = self._network.fit(
            windows, epochs=rounds, verbose=0, validation_data=[whole(val, self.context)] if best else None,
            callbacks=[windows, *callbacks, *([best] if best else [])], seed=self.seed_)
        self.n_iter_ = len(self.history_.epoch)
        if best:
            say(best.describe())
        return self

    def _windows(self, train: list[np.ndarray], val: list[np.ndarray]) -> Windows:
        """What is trained on.   DataError where it is too short."""
        if self.begin == "line":
            if not train or (val and max(map(len, val)) < 2):
                raise DataError("the text has too few lines", expected="lines to train on and for validation",
                                got=f"{len(train)} to train on, {len(val)} for validation")
            return Lines(train, self.batch_size, self.context, 1, self.seed_)
        if len(train[0]) <= self.context + 1 or len(val[0]) == 1:
            raise DataError("the text is too short", expected=f"more than {self.context + 1} tokens to train on",
                            got=f"{len(train[0])} to train on, {len(val[0])} for validation", hint="a smaller context")
        return Windows(train[0], self.batch_size, self.context, 1, self.seed_)

    def _compile(self, network: Any) -> None:
        settings.compile(network, self, 1)

    def made_up(self, batch: int) -> tuple[Any, Any]:
        """A batch for measuring a step: inputs and targets."""
        ids = np.zeros((batch, self.context), np.int32)
        return ids, ids

    def evaluate(self, x: Any, y: Any = None, sample_weight: Any = None) -> dict[str, float]:
        """loss and perplexity per id, and bits per character, over every position of a text in windows of `context`, or of its
        lines one by one, their ends included (`begin`)."""
        text = text_of(x)
        ids = self.encode(text)
        texts = [ids] if self.begin == "anywhere" else ids_of(self.tokenizer_, lines_of(text))
        count = sum(max(0, len(t) - 1) for t in texts)
        if not count:
            raise DataError("the text is too short to measure", expected="at least two tokens", got=f"{len(ids)}")
        inputs, targets, weights = whole(texts, self.context)
        loss = self.model.evaluate(inputs, targets, sample_weight=weights, batch_size=max(1, 4096 // self.context))
        characters = len(text) if self.begin == "anywhere" else sum(len(line) - 1 for line in lines_of(text))
        return {"loss": loss, "perplexity": float(np.exp(loss)), "bits_per_character": float(loss * count / np.log(2) / characters)}

    def score(self, x: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The mean log-likelihood of an id."""
        return -self.evaluate(x)["loss"]

    # ---- writing -----------------------------------------------------------------------------------------------------
    def encode(self, text: str) -> np.ndarray:
        """i32[N], the ids of a text.   DataError for characters or words that were not in the text trained on."""
        _ = self.model
        ids = np.array(self.tokenizer_.encode(text, special=False), np.int32)
        if self.tokenizer_.unknown_id is not None and (at := np.flatnonzero(ids == self.tokenizer_.unknown_id)).size:
            got = repr(text[at[0]]) if self.units == "char" else f"{len(at)} unknown {self.units}s"
            raise DataError("the text has something that the text trained on did not have", got=got,
                            where=f"{'character' if self.units == 'char' else 'token'} {at[0]}")
        return ids

    def stream(self, prompt: str = "\n", max_new: int = 200, *, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0,
               min_p: float = 0.0, repetition_penalty: float = 1.0, stop: Sequence[str] = (), beams: int = 0,
               seed: int = 0) -> Iterator[str]:
        """What follows the prompt, piece by piece: at most `max_new` ids, up to the first of the `stop` texts (left out).

        temperature 0 takes the likeliest id; beams > 0 searches for the likeliest continuation instead of drawing one.
        The same seed gives the same text.   DataError (a prompt that is empty, unknown or longer than the context), UsageError
        (numbers of no use)"""
        from dlcore.models.generate import Sampling, beam_search, sample
        ids = self._opened(self.encode(self._last_line(prompt)).tolist())
        ends, fresh = self.tokenizer_.special, self._line_feed
        sampling = Sampling(temperature, top_k, top_p, min_p, repetition_penalty, seed, self._banned())
        if not ids:
            raise DataError("the prompt is empty", hint="a prompt has at least one token")
        if len(ids) > self.context:
            raise DataError("the prompt is longer than the context", expected=f"at most {self.context:,} tokens",
                            got=f"{len(ids):,}", hint="give its end alone, or train with a larger context")
        if not all(isinstance(s, str) and s for s in stop) or isinstance(stop, str):
            raise UsageError("a text to stop at has at least one character", got=repr(stop), expected="a list of texts")
        if beams:
            found = beam_search(self.model, ids, max_new, self.context, beams, sampling, lambda made: made[-1] in {*ends, fresh}
                                or any(s in self.tokenizer_.decode(made) for s in stop))
            yield from self._pieces(iter(found), stop, ids)
        else:
            yield from self._pieces(sample(self.model, ids, max_new, self.context, sampling, fresh), stop, ids)

    @property
    def _line_feed(self) -> int | None:
        """The id that ends a line and begins the next, which knows nothing of it, if the lines are samples of their own."""
        return int(self.tokenizer_.encode("\n", special=False)[0]) if self.begin == "line" else None

    def _last_line(self, prompt: str) -> str:
        """What of a prompt is read: where lines are samples of their own the last one, from the line feed before it."""
        return "\n" + prompt.rpartition("\n")[2] if prompt and self.begin == "line" else prompt

    @property
    def opening(self) -> str:
        """A prompt where none is given: nothing, if the tokenizer has a token that begins a text, else a line feed."""
        return "" if self._opened([]) else "\n"

    def _opened(self, ids: list[int]) -> list[int]:
        """The ids of a prompt behind the special tokens that the tokenizer puts before a text; of an empty prompt behind the
        token that begins texts, if there is one."""
        whole = self.tokenizer_.finish([-1], None)
        before = whole[:whole.index(-1)]
        if not before and not ids:
            before = [self.tokenizer_.vocabulary[t] for t in BEGINNINGS if t in self.tokenizer_.vocabulary][:1]
        return before + ids

    def _banned(self) -> tuple[int, ...]:
        """Ids that are never written: padding, what is unknown, and those of the network that are no token."""
        known = self.tokenizer_
        named = {i for i in (known.pad_id, known.unknown_id) if i is not None and i in known.special}
        outputs = self.model.network.outputs[0].shape[-1]
        return tuple(sorted((named - {known.vocabulary[t] for t in BEGINNINGS if t in known.vocabulary})
                            | (set(range(outputs)) - known.tokens.keys())))

    def _pieces(self, ids: Iterator[int], stop: Sequence[str], prompt: list[int]) -> Iterator[str]:
        """Text of ids as soon as it can no longer change or turn into a stop text; a special token ends it."""
        made: list[int] = []
        shown, held = "", max((len(s) for s in stop), default=1) - 1
        before = self.tokenizer_.decode(prompt)
        for i in ids:
            if i in self.tokenizer_.special:
                break
            made.append(i)
            text = self._behind(before, prompt, made)
            found = min((at for s in stop if (at := text.find(s)) >= 0), default=-1)
            if found >= 0:
                yield text[len(shown):found]
                return
            ready = text[:max(len(shown), len(text.rstrip("\ufffd")) - held)]
            if len(ready) > len(shown):
                yield ready[len(shown):]
                shown = ready
        yield self._behind(before, prompt, made)[len(shown):]

    def _behind(self, before: str, prompt: list[int], made: list[int]) -> str:
        """The text of ids behind a prompt, whose text is `before`: a blank between them may belong to neither alone."""
        text = self.tokenizer_.decode(prompt + made)
        return text[len(before):] if text.startswith(before) else self.tokenizer_.decode(made)

    def generate(self, prompt: str = "\n", max_new: int = 200, **options: Any) -> str:
        """The prompt and what follows it; options: see `stream`."""
        return prompt + "".join(self.stream(prompt, max_new, **options))

    # ---- files -------------------------------------------------------------------------------------------------------
    def contents(self) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, Any]]:
        from dlcore.tasks.card import card
        from dlcore.training import saving
        parts, tensors = saving.parts(self.model)
        config = {"model_type": self.task, "estimator": type(self).__name__, "params": self.get_params(), "model": parts["model"]}
        weights = {name: tensor for name, tensor in tensors.items() if name.startswith(("weights/", "statistics/"))}
        return config, weights, {TOKENIZER: self.tokenizer_.to_json(), "README.md": card(self)}

    @classmethod
    def from_file(cls, config: Mapping[str, Any], tensors: Mapping[str, np.ndarray], extras: Mapping[str, Any], where: str) -> Self:
        from dlcore.training import saving
        made = cls._described(config, where)
        made.tokenizer_ = TextTokenizer(extras.get(TOKENIZER, {}), f"{where}, {TOKENIZER}")
        network = saving.restore({"model": config.get("model")}, tensors, where=where)
        found = [(symbol.dtype, symbol.shape[1:]) for symbol in (*network.network.inputs, *network.network.outputs)]
        outputs = max(found[-1][1][-1:], default=0)         # a table may have more rows than there are tokens
        expected = [("i32", (made.context,)), ("f32", (made.context, max(outputs, len(made.tokenizer_))))]
        if found != expected:
            raise ModelFileError("network and tokenizer do not fit together", where=where, expected=str(expected),
                                 got=str(found)[:120])
        settings.compile(network, made, 1)
        made._network = network
        return made


class CharLM(LanguageModel):
    """`LanguageModel` of characters."""

    task, _units = "char-lm", "char"


def divided(text: str, share: float, by_line: bool) -> tuple[Sequence[str], Sequence[str]]:
    """The texts to train on, and the share of them, at the end, to validate on: two parts of the text, or of its lines."""
    samples: Any = lines_of(text) if by_line else text
    cut = len(samples) - round(len(samples) * share)
    return (samples[:cut], samples[cut:]) if by_line else ([text[:cut]], [text[cut:]])


def text_of(x: Any) -> str:
    """A text, from itself, a `Dataset` of one, or a list of texts, which are joined by line feeds."""
    x = x.x if isinstance(x, Dataset) else x
    text = x if isinstance(x, str) else "\n".join(str(t) for t in x)
    if not text:
        raise DataError("the text is empty")
    return text


class LanguageModelTask:
    """`language-model` and `char-lm` on the command line."""

    architectures = {"gpt": "decoder blocks with causal attention",
                     "llama": "decoder blocks with rotary positions, RMS norms and gated dense networks",
                     "lstm": "long short-term memory",
                     "gru": "gated recurrent units", "rnn": "a plain recurrent network"}
    presets: Mapping[str, Sections] = settings.PRESETS
    space = {"train.lr": "3e-4..3e-3:log", "model.layers": "2, 4, 6", "model.width": "64, 128, 256", "model.dropout": "0.0..0.3"}

    def __init__(self, estimator: type[LanguageModel], summary: str):
        self.estimator, self.name, self.summary = estimator, estimator.task, summary

    def defaults(self, arch: str) -> Sections:
        return self.estimator(arch=arch).sections()

    def read(self, source: str, *, label_col: str = "", text_col: str = "", labelled: bool = True,
             like: Estimator | None = None) -> Parts:
        from dlcore.data.text_files import read_text
        if label_col or text_col:
            raise UsageError("a plain text has no columns", got=label_col or text_col, hint="leave out --label-col and --text-col")
        text = read_text(source)
        lines = text.count("\n") + (not text.endswith("\n"))
        return Parts(Dataset(np.array([text], object), None, source, (f"{len(text):,} characters in {lines:,} lines",)))

    def create(self, train: Dataset, arch: str = "", seed: int = 0, **options: Any) -> LanguageModel:
        own = {"batch_size" if name == "batch" else name: value for name, value in options.items()}
        own.setdefault("tokenizer", self.estimator._units)
        return self.estimator(arch=arch or "gpt", random_state=seed, **own)


TASK = LanguageModelTask(LanguageModel, "a model that writes text: tokens, perplexity, samples")
CHAR_TASK = LanguageModelTask(CharLM, "the same on characters")
ESTIMATORS = {"LanguageModel": LanguageModel, "CharLM": CharLM}
