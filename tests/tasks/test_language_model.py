"""Language models as estimators and on the command line: they learn, write, and are saved with their tokenizer."""
from __future__ import annotations

import json

import numpy as np
import pytest

import dlcore as dl
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.tasks import TASKS, CharLM, LanguageModel
from dlcore.tasks.language_windows import whole

TEXT = "the cat sat on the mat. " * 60
SMALL = {"context": 16, "layers": 1, "heads": 2, "width": 32, "steps": 150, "eval_every": 75, "batch_size": 8, "lr": 5e-3,
         "warmup": 10}


@pytest.fixture(scope="module")
def fitted():
    return CharLM(**SMALL).fit(TEXT)


def test_it_learns_and_writes(fitted):
    assert fitted.history_.history["val_loss"][-1] < 0.5
    assert fitted.evaluate(TEXT)["loss"] == pytest.approx(-fitted.score(TEXT))
    assert "the mat" in fitted.generate("the cat", 40, temperature=0)
    assert fitted.generate("the cat", 30, seed=3) == fitted.generate("the cat", 30, seed=3)
    assert fitted.generate("the cat", 20, beams=3).startswith("the cat sat on the")


def test_pieces_make_the_text_and_stop_texts_end_it(fitted):
    text = fitted.generate("the ", 60, temperature=0)
    assert "the " + "".join(fitted.stream("the ", 60, temperature=0)) == text
    assert fitted.generate("the ", 60, temperature=0, stop=["mat", "zz"]) == text[:text.index("mat")]
    assert len(fitted.generate("the ", 60, temperature=0)) == 64        # longer than the context of 16


def test_prompts_and_stops_of_no_use(fitted):
    with pytest.raises(DataError, match="longer than the context") as caught:
        fitted.generate(TEXT[:17])
    assert caught.value.expected == "at most 16 tokens" and caught.value.got == "17"
    assert fitted.generate(TEXT[:16], 2, temperature=0) == TEXT[:18]
    for stop in ([""], "mat"):
        with pytest.raises(UsageError, match="to stop at"):
            fitted.generate("the", 3, stop=stop)


def test_every_position_counts_once(fitted):
    """The mean over positions, computed window by window from the network's own logits."""
    ids = fitted.encode(TEXT[:77])
    x, y, weights = whole([ids], 16)
    assert x.shape == (5, 16) and (y >= 0).sum() == 76 and weights[0] == np.float32(80 / 76)
    logits = fitted.model.predict(x).astype(np.float64)
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.take_along_axis(logs, np.maximum(y, 0)[..., None], 2)[..., 0][y >= 0].mean()
    found = fitted.evaluate(TEXT[:77])
    assert found["loss"] == pytest.approx(expected, rel=1e-5)
    assert found["perplexity"] == pytest.approx(np.exp(expected), rel=1e-5)
    assert found["bits_per_character"] == pytest.approx(expected * 76 / 77 / np.log(2), rel=1e-5)


def test_a_file_holds_everything(fitted, tmp_path):
    fitted.save(tmp_path / "m.dlc")
    again = dl.load(tmp_path / "m.dlc")
    assert isinstance(again, CharLM) and again.get_params() == fitted.get_params()
    assert again.generate("the cat", 30, seed=1) == fitted.generate("the cat", 30, seed=1)


def test_a_tokenizer_that_does_not_fit(fitted, tmp_path):
    fitted.save(tmp_path / "m", folder=True)
    (tmp_path / "m" / "SHA256SUMS").unlink()
    path = tmp_path / "m" / "tokenizer.json"
    config = json.loads(path.read_text())
    config["model"]["vocab"]["é"] = len(config["model"]["vocab"])
    path.write_text(json.dumps(config))
    with pytest.warns(UserWarning, match="SHA256SUMS"), pytest.raises(ModelFileError, match="do not fit together"):
        dl.load(tmp_path / "m")


@pytest.mark.parametrize("arch", ["lstm", "gru", "rnn"])
def test_recurrent_networks(arch):
    model = LanguageModel(arch=arch, tokenizer="char", context=8, layers=1, width=16, steps=20, batch_size=4, warmup=2).fit(TEXT)
    assert len(model.generate("the", 12)) == 15


def test_equal_seeds_give_equal_weights():
    a, b = (CharLM(**{**SMALL, "steps": 5}).fit(TEXT) for _ in range(2))
    for x, y in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("options, text, error, message", [
    ({"width": 30, "heads": 4}, TEXT, UsageError, "width"), ({"arch": "cnn"}, TEXT, UsageError, "arch"),
    ({"tokenizer": "sentence"}, TEXT, UsageError, "tokenizer"), ({"lr": 0}, TEXT, UsageError, "lr"),
    ({"context": 2000}, TEXT, DataError, "too short"), ({}, "", DataError, "empty"),
    ({"val_split": 1.0}, TEXT, UsageError, "val_split"),
])
def test_what_is_refused(options, text, error, message):
    with pytest.raises(error, match=message):
        CharLM(**options).fit(text)


def test_a_prompt_that_is_refused(fitted):
    with pytest.raises(DataError, match="did not have") as caught:
        fitted.generate("the Ω")
    assert caught.value.where == "character 4" and caught.value.got == "'Ω'"
    with pytest.raises(DataError, match="prompt is empty"):
        fitted.generate("")
    with pytest.raises(UsageError, match="not fitted"):
        CharLM().generate("a")


def test_reading_text(tmp_path):
    task = TASKS["char-lm"]
    (tmp_path / "b.txt").write_bytes(b"zwei\r\n")
    (tmp_path / "a.txt").write_bytes("\ufeffeins\n".encode())
    parts = task.read(str(tmp_path))
    assert parts.train.x[0] == "eins\nzwei\n" and "2 lines" in parts.notes[0]
    (tmp_path / "a.txt").write_bytes(b"one\ntw\xff")
    with pytest.raises(DataError, match="not UTF-8") as caught:
        task.read(str(tmp_path / "a.txt"))
    assert caught.value.where.endswith("a.txt, line 2") and caught.value.got == "byte 0xff"
    (tmp_path / "c.txt").write_bytes(b" \n")
    with pytest.raises(DataError, match="empty"):
        task.read(str(tmp_path / "c.txt"))
    with pytest.raises(UsageError, match="no columns"):
        task.read(str(tmp_path / "b.txt"), label_col="x")
