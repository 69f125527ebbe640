"""`Translator`: it learns, comes back from a file as it was, gives equal answers on any number of threads, says what is wrong."""
import json
import pickle
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

import dlcore
from dlcore.data.pairs import read_pairs
from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.deploy import model_file
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.metrics import bleu_score
from dlcore.tasks import TASKS, Translator
from dlcore.tasks.translate_batches import PairBatches, Pairs
from dlcore.training.backup import BackupAndRestore
from dlcore.training.callbacks import Callback

FILE = Path(__file__).parent.parent / "data/translation/tatoeba_en_zh_400.tsv"
SMALL = {"width": 32, "inner": 48, "layers": 1, "batch_size": 8, "source_tokenizer": "word", "dropout": 0.0, "label_smoothing": 0.0}


@pytest.fixture(scope="module")
def pairs():
    data = read_pairs(FILE)
    return data.x[:24], data.y[:24]


@pytest.fixture(scope="module", params=["transformer", "lstm"])
def model(request, pairs):
    lines = []
    epochs = {"transformer": 30, "lstm": 90}[request.param]
    made = Translator(request.param, **SMALL, epochs=epochs, lr=1e-2).fit(*pairs, log=lines.append)
    made.lines = lines
    return made


def test_learns_a_few_pairs_by_heart(model, pairs):
    scores = model.evaluate(*pairs)
    assert scores["bleu"] > 90 and scores["chrf"] > 90 and scores["perplexity"] == pytest.approx(np.exp(scores["loss"])) and \
        scores["loss"] < 0.2, scores
    made = model.predict(pairs[0])
    assert model.cut_ == "zh" and scores["bleu"] == bleu_score(pairs[1].tolist(), made.tolist(), "zh") == model.score(*pairs)
    assert any("padding" in line for line in model.lines) and any("tokens" in line for line in model.lines)


def test_comes_back_from_a_file(model, pairs, tmp_path):
    model.save(tmp_path / "m.dlc")
    again = dlcore.load(tmp_path / "m.dlc")
    assert again.predict(pairs[0]).tolist() == model.predict(pairs[0]).tolist()
    copy = pickle.loads(pickle.dumps(model))
    assert copy.evaluate(*pairs) == model.evaluate(*pairs)
    assert again.get_params() == model.get_params() and again.evaluate(*pairs) == model.evaluate(*pairs)


def test_threads_and_company_change_no_answer(model, pairs):
    from dlcore.runtime import set_threads
    found = []
    try:
        for count in (1, 2):
            set_threads(count)
            found.append(model.predict(pairs[0], beam=3).tolist())
    finally:
        set_threads(2)
    assert found[0] == found[1]
    assert [model.predict([text], beam=3)[0] for text in pairs[0][:3]] == found[0][:3]


def test_the_picture_of_attention(model, pairs, tmp_path):
    found = model.attention(pairs[0][0], pairs[1][0])
    assert found.weights.shape[2:] == (len(found.target), len(found.source)) and found.target[-1] == "END"
    assert "".join(found.target[:-1]) == pairs[1][0] and found.source == ["How", "cute", "!"]
    found.save(tmp_path / "a.svg")
    root = ET.parse(tmp_path / "a.svg").getroot()
    marks = [e.tag.rpartition("}")[2] for e in root.iter()]
    assert marks.count("rect") == len(found.target) * len(found.source) and "How" in {e.text for e in root.iter()}


def test_equal_seeds_give_equal_models(pairs):
    made = [Translator(**SMALL, epochs=2, random_state=seed).fit(*pairs).get_weights() for seed in (1, 1, 2)]
    assert all(np.array_equal(a, b) for a, b in zip(*made[:2], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(made[0], made[2], strict=True))


def test_an_interrupted_training_goes_on_to_the_same_bits(pairs, tmp_path):
    class Stop(Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.session.loop.state.step == 7:
                self.session.interrupt()

    def fitted(*callbacks):
        return Translator(**{**SMALL, "dropout": 0.2}, epochs=4).fit(*pairs, callbacks=callbacks)
    whole = fitted()
    fitted(Stop(), BackupAndRestore(tmp_path, save_freq=5, delete_checkpoint=False))
    kept = BackupAndRestore(tmp_path, save_freq=5)
    again = fitted(kept)
    assert kept.resumed_step == 7
    assert all(np.array_equal(a, b) for a, b in zip(whole.get_weights(), again.get_weights(), strict=True))


def test_batches_hold_every_pair_once():
    rng = np.random.default_rng(0)
    sources, targets = ([list(rng.integers(1, 9, rng.integers(1, top))) for _ in range(500)] for top in (20, 12))
    pairs = Pairs(sources, targets, (19, 12), 9, 10, 8)
    assert sorted(n for g in pairs.groups for n in g.rows) == list(range(500)) and len(pairs.groups) > 4 and pairs.waste < 0.3
    batches, seen = PairBatches(pairs, 8, 0), []
    for epoch in (0, 1):
        batches.on_epoch_begin(epoch)
        given = list(batches)
        assert len(given) == len(batches) and sum(len(w) for _, _, w in given) == 500
        seen.append([x[0].tobytes() for x, _, _ in given])
    assert seen[0] != seen[1] and seen[1] == [x[0].tobytes() for x, _, _ in batches]
    (source, target), follows, weight = given[0]
    rows = [[9, *t] for t in targets]
    assert all([i for i in row if i] in rows for row in target.tolist()) and (target[:, 0] == 9).all()
    assert ((follows == 10).sum(1) == 1).all() and (np.array_equal(follows[:, :-1] * (target[:, 1:] > 0), target[:, 1:]))
    assert weight[0] == pytest.approx(follows.size / (follows >= 0).sum())
    whole = pairs.in_order(64)
    total = sum(float((w[:, None] * (f >= 0) / f.shape[1]).sum()) for _, f, w in whole)
    assert total == pytest.approx(500)          # so the mean over rows is that over ids


def test_validation_measures_the_likelihood(pairs):
    x, y = read_pairs(FILE).x[:80], read_pairs(FILE).y[:80]
    model = Translator(**{**SMALL, "label_smoothing": 0.3}, epochs=1, val_split=0.25).fit(x, y)
    rows = model.validation_rows_
    assert 20 <= len(rows) <= 24
    assert model.history_.history["val_loss"][0] == pytest.approx(model.evaluate(x[rows], y[rows])["loss"], rel=1e-5)


def test_long_and_unknown_input_is_told(pairs):
    model = Translator(**SMALL, epochs=1, max_len=5).fit(*pairs, log=(lines := []).append)
    assert any("longer pairs are left out" in line for line in lines)
    notes = model.input_notes(["I miss you.", "a b c d e f g h", "zzz"])
    assert "more than 5 tokens: their beginning is read" in notes[0] and "not learned" in notes[1]
    assert len(model.predict(["a b c d e f g h i j k l m n o p"])) == 1


def test_the_test_part_is_found_again(tmp_path):
    task = TASKS["translate"]
    parts = task.read(str(FILE), target_col="en", test_split=0.1)
    assert parts.train.label == "chinese,english" and len(parts.test) == 40
    model = Translator(**{**SMALL, "target_tokenizer": "word"}, epochs=1, test_split=0.1).fit(parts.train)
    model.save(tmp_path / "m.dlc")
    again = dlcore.load(tmp_path / "m.dlc")
    assert task.read(str(FILE), like=again).held_out().x.tolist() == parts.test.x.tolist()
    other = tmp_path / "other.tsv"
    other.write_text("".join(FILE.read_text(encoding="utf-8").splitlines(True)[:50]), encoding="utf-8")
    assert len(task.read(str(other), like=again).held_out()) == 50


@pytest.mark.parametrize("options", [
    {"arch": "rnn"}, {"width": 30}, {"beam": 0}, {"label_smoothing": 1.0}, {"length_penalty": -1.0}, {"max_len": -1}, {"epochs": 0},
    {"source_tokenizer": ""}, {"schedule": "never"}, {"training": {"accumulate": 2}}, {"training": {"speed": 2}}])
def test_parameters_of_no_use(options, pairs):
    with pytest.raises(UsageError):
        Translator(**{"epochs": 1, **options}).fit(*pairs)


@pytest.mark.parametrize(("x", "y"), [(["a b"], ["c"]), (["a", "b"], ["c"]), (["a", " "], ["c", "d"]), (["a", 3], ["c", "d"]),
                                      ("ab", ["c", "d"]), (["a", "b"], None)])
def test_data_of_no_use(x, y):
    with pytest.raises(DataError):
        Translator(**SMALL, epochs=1).fit(x, y)


def test_a_tokenizer_that_does_not_fit(pairs, tmp_path):
    place = tmp_path / "t.json"
    tokenizer = TextTokenizer.words(pairs[0].tolist())
    tokenizer.save(place)
    model = Translator(**{**SMALL, "source_tokenizer": str(place)}, epochs=1).fit(*pairs)
    assert len(model.source_) == len(tokenizer)
    other = json.loads(place.read_text())
    other["added_tokens"] = []
    other["model"]["vocab"] = {t: i + 1 for i, t in enumerate(other["model"]["vocab"]) if t != "[PAD]"} | {"[PAD]": 1}
    place.write_text(json.dumps(other))
    with pytest.raises(ModelFileError, match="id 0 must be padding"):
        Translator(**{**SMALL, "source_tokenizer": str(place)}, epochs=1).fit(*pairs)
    config, tensors, extras = model.contents()
    extras["source_tokenizer.json"] = TextTokenizer.words(["quite another"]).to_json()
    model_file.write(tmp_path / "m.dlc", config, tensors, extras)
    with pytest.raises(ModelFileError, match="do not fit together"):
        dlcore.load(tmp_path / "m.dlc")
    extras["preprocess.json"] = {**extras["preprocess.json"], "lengths": [0, 5]}
    model_file.write(tmp_path / "n.dlc", config, tensors, extras)
    with pytest.raises(ModelFileError, match="malformed"):
        dlcore.load(tmp_path / "n.dlc")
