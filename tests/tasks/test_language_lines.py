"""Language models of texts whose lines are samples of their own: `begin="line"`."""
from __future__ import annotations

import numpy as np
import pytest

import dlcore as dl
from dlcore.callbacks import BackupAndRestore, Callback
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.tasks import CharLM, LanguageModel
from dlcore.tasks.language_model import divided
from dlcore.tasks.language_windows import Lines, lines_of, whole

WORDS = ("ada", "barbara", "grace", "emmy", "sophie")
TEXT = "\n".join(WORDS * 12) + "\n"
SMALL = {"context": 8, "layers": 1, "heads": 2, "width": 32, "steps": 300, "eval_every": 100, "batch_size": 16, "lr": 5e-3,
         "warmup": 10, "begin": "line"}


@pytest.fixture(scope="module")
def fitted():
    return CharLM(**SMALL).fit(TEXT)


def cut(ids, context):
    """Inputs and targets of a line's windows, one id at a time."""
    x, y = [], []
    for n in range(len(ids) - 1):
        if n % context == 0:
            x.append([0] * context)
            y.append([-1] * context)
        x[-1][n % context], y[-1][n % context] = ids[n], ids[n + 1]
    return x, y


def test_pieces_hold_every_position_once():
    rng = np.random.default_rng(0)
    texts = [rng.integers(1, 99, n).astype(np.int32) for n in (5, 1, 9, 2, 10, 26, 0, 8)]
    expected = [cut(t.tolist(), 4) for t in texts]
    x, y, weights = whole(texts, 4)
    np.testing.assert_array_equal(x, [row for rows, _ in expected for row in rows])
    np.testing.assert_array_equal(y, [row for _, rows in expected for row in rows])
    assert x.dtype == y.dtype == np.int32 and weights[0] == np.float32(y.size / sum(max(0, len(t) - 1) for t in texts))


def test_windows_begin_where_lines_do():
    """Drawn for (seed, epoch); what is behind a line's end is another line, in an order of the epoch."""
    lines = [np.array(t, np.int32) for t in ([0, 1, 2, 0], [0, 3, 4, 5, 6, 7, 8, 9, 0], [0, 9, 0])]
    pieces = {(0, 1, 2), (0, 3, 4, 5), (6, 7, 8, 9), (0, 9)}
    batches = Lines(lines, 5, 4, 6, seed=1)
    first = list(batches)
    assert len(first) == len(batches) == 6 and batches.positions == 13
    seen = {(*x, y[-1]) for a, b in first for x, y in zip(a.tolist(), b.tolist(), strict=True)}
    assert {next(p for p in pieces if row[:len(p)] == p) for row in seen} == pieces
    assert len(seen) == 4 and all(row[3:] == (0, 3) for row in seen if row[:3] == (0, 1, 2)) != (
        all(row[2:4] == (0, 3) for row in seen if row[:2] == (0, 9)))           # each line is behind one other
    assert all(a.dtype == b.dtype == np.int32 and (a[:, 1:] == b[:, :-1]).all() for a, b in first)
    batches.on_epoch_begin(1)
    assert any((a[0] != b[0]).any() for a, b in zip(first, batches, strict=True))
    batches.on_epoch_begin(0)
    assert all((a[0] == b[0]).all() for a, b in zip(first, batches, strict=True))


def test_lines_and_their_division():
    assert lines_of("a\n\n  \nb c\r") == ["\na\n", "\nb c\r\n"]
    train, val = divided("a\nb\nc\nd\n\ne", 0.4, True)
    assert (train, val) == (["\na\n", "\nb\n", "\nc\n"], ["\nd\n", "\ne\n"])
    assert divided("abcde", 0.4, False) == (["abc"], ["de"])


def test_it_measures_lines_one_by_one(fitted):
    """The mean over the ids behind a line feed, the end of each line included, line by line from the network's own logits."""
    lines, logs = ["ada", "gracebarbara", "eda"], []          # one is longer than the context
    for line in lines:
        x, y = (np.array(a, np.int32) for a in cut(fitted.encode(f"\n{line}\n").tolist(), 8))
        logits = fitted.model.predict(x).astype(np.float64)
        values = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        logs += np.take_along_axis(values, np.maximum(y, 0)[..., None], 2)[..., 0][y >= 0].tolist()
    assert len(logs) == 4 + 13 + 4
    for text in ("\n".join(lines), "\n\n" + "\n".join(lines) + "\n"):
        found = fitted.evaluate(text)
        assert found["loss"] == pytest.approx(-np.mean(logs), rel=1e-5)
        assert found["bits_per_character"] == pytest.approx(-np.mean(logs) / np.log(2), rel=1e-5)


def test_it_learns_what_a_line_begins_with(fitted):
    assert fitted.history_.history["val_loss"][-1] < 0.5
    lines = fitted.generate("\n", 300, seed=2).split("\n")[1:-1]
    assert len(lines) > 20 and sum(line in WORDS for line in lines) > 0.8 * len(lines)


def test_lines_know_nothing_of_each_other(fitted):
    """Behind a line feed a text goes on as behind the first one."""
    made = fitted.generate("\n", 40, temperature=0)
    first = made[:made.index("\n", 1)]
    assert made.startswith(first * 3) and len(first) > 1
    assert fitted.generate("gr", 4, temperature=0) == "grace\n"
    written = "".join(fitted.stream("gr", 30, seed=5))
    for prompt in ("\ngr", "gracebarbara\ngr"):         # longer than the context, but for the last line
        assert written == "".join(fitted.stream(prompt, 30, seed=5))
    assert fitted.generate("so", 20, beams=2).rstrip("\n") == "sophie"
    with pytest.raises(DataError, match="prompt is empty"):
        fitted.generate("")


def test_a_file_says_where_windows_begin(fitted, tmp_path):
    fitted.save(tmp_path / "m.dlc")
    again = dl.load(tmp_path / "m.dlc")
    assert again.begin == "line" and again.evaluate("ada\nemmy") == fitted.evaluate("ada\nemmy")
    config, tensors, extras = fitted.contents()
    config["params"]["begin"] = "there"
    with pytest.raises(ModelFileError, match="malformed"):
        CharLM.from_file(config, tensors, extras, "m.dlc")
    del config["params"]["begin"]                       # of a file from before there was a choice
    assert CharLM.from_file(config, tensors, extras, "m.dlc").begin == "anywhere"


class Interrupted(Callback):
    """Ends the program in the middle of the second round, when its last checkpoint is written."""

    def __init__(self, checkpoints):
        self.checkpoints, self.seen = checkpoints, 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1
        if self.seen == 14:
            self.checkpoints.writer.wait()
            raise KeyboardInterrupt


def test_it_resumes_to_the_same_bits(tmp_path):
    options = {**SMALL, "steps": 20, "eval_every": 10}
    wanted = CharLM(**options).fit(TEXT)
    first, second = (BackupAndRestore(tmp_path / "ckpt", save_freq=4) for _ in range(2))
    with pytest.raises(KeyboardInterrupt):
        CharLM(**options).fit(TEXT, callbacks=[first, Interrupted(first)])
    found = CharLM(**options).fit(TEXT, callbacks=[second])
    assert second.resumed_step in (4, 8, 12)
    for a, b in zip(wanted.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bytes_as_tokens():
    model = LanguageModel(tokenizer="byte", **{**SMALL, "steps": 4, "eval_every": 4}).fit(TEXT)
    loss = model.evaluate("ada\nemmy")["loss"]
    assert loss == pytest.approx(np.log(len(model.tokenizer_)), rel=0.2)
    assert model.generate("ad", 4).startswith("ad")


@pytest.mark.parametrize("options, text, error, message", [
    ({"begin": "end"}, TEXT, UsageError, "begin"), ({"tokenizer": "word"}, TEXT, UsageError, "begin"),
    ({}, "\n \n", DataError, "too few lines"), ({"val_split": 0.6}, "ada", DataError, "too few lines"),
])
def test_what_is_refused(options, text, error, message):
    with pytest.raises(error, match=message):
        CharLM(**{**SMALL, **options}).fit(text)


def test_a_text_of_one_line_without_its_end():
    model = CharLM(**{**SMALL, "steps": 2, "eval_every": 2, "val_split": 0.0}).fit("ada")
    assert len(model.generate("ad", 3)) == 5
    with pytest.raises(DataError, match="too short to measure"):
        model.evaluate("\n")
