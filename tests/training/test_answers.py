"""The precision in which a model answers: chosen, changed, copied, refused; training does not know of it."""
from __future__ import annotations

import copy
import gc
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import dlcore as dl
import dlcore.deploy.c
from dlcore.errors import UsageError
from dlcore.graph import Graph, plan
from dlcore.graph.lowering import device_of
from dlcore.graph.spec import PRODUCTS, TRAINING
from dlcore.layers import CausalLM, Dense, Input
from dlcore.models.generate import Sampling, sample
from dlcore.models.steps import Steps
from dlcore.models.translate import Decoder, translator
from dlcore.runtime import kernel_table
from dlcore.tasks import GAN, CharLM, TabularClassifier, TextClassifier
from dlcore.training import answers
from dlcore.training.model import Model, Sequential

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 64)).astype(np.float32)
Y = RNG.integers(0, 3, 40)
NEAR = 0.05                             # of probabilities


def perceptron(seed=0):
    model = Sequential([Dense(128, activation="relu", input_shape=(64,)), Dense(3, activation="softmax")], seed=seed)
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def has(precision):
    """Whether this device multiplies so."""
    return not answers.missing(precision)


def planned(model, kind="predict"):
    """What products the model's programs were planned with."""
    return {program.planning["precision"] for s, program in model.programs.cache.items() if s.kind == kind}


def kernels(program):
    return {step.kernel for step in program.steps}


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_a_change_after_a_prediction_takes_effect(precision):
    model = perceptron()
    before, one = model.predict(X), model.predict_on_batch(X[:4])
    assert model.answers_in == "float32" and planned(model) == {"float32"}
    model.answers_in = precision
    assert (model.answers_in, model.precision) == (precision, "float32")
    found, few = model.predict(X), model.predict_on_batch(X[:4])
    assert planned(model) == {precision if has(precision) else "float32"}
    np.testing.assert_allclose(found, before, atol=NEAR)
    np.testing.assert_allclose(few, one, atol=NEAR)
    assert np.array_equal(found, before) != has(precision)
    loss, _ = model.evaluate(X, Y)
    assert planned(model, "evaluate") == planned(model)
    model.answers_in = ""
    np.testing.assert_array_equal(model.predict(X), before)
    np.testing.assert_array_equal(model.predict_on_batch(X[:4]), one)
    assert loss == pytest.approx(model.evaluate(X, Y)[0], abs=NEAR)


def test_kernels_are_those_of_the_precision():
    model = perceptron()
    model.answers_in = "bf16"
    model.predict_on_batch(X[:4])
    (found,) = model.programs.cache.values()
    assert any(name.startswith("half_") for name in kernels(found)) == has("bf16") == kernel_table().has("half_dense")


def test_training_stays_in_its_precision():
    plain, other = perceptron(), perceptron()
    other.answers_in = "int8"
    for model in (plain, other):
        model.fit(X, Y, epochs=2, batch_size=8, verbose=0, validation_data=(X, Y))
        model.train_on_batch(X, Y)
    for a, b in zip(plain.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert planned(other, "train") == {"float32"}
    assert planned(other, "evaluate") == {"int8" if has("int8") else "float32"}
    np.testing.assert_allclose(plain.predict(X), other.predict(X), atol=NEAR)


def test_weights_are_prepared_again_after_training():
    model = perceptron()
    model.answers_in = "bf16"
    before = model.predict(X)
    model.fit(X, Y, epochs=3, batch_size=8, verbose=0)
    found = model.predict(X)
    fresh = perceptron()
    fresh.set_weights(model.get_weights())
    fresh.answers_in = "bf16"
    np.testing.assert_array_equal(found, fresh.predict(X))
    assert np.abs(found - before).max() > 1e-3


def test_what_is_refused():
    model = perceptron()
    for precision in ("int4", "float16", None):
        with pytest.raises(UsageError, match="int8"):
            model.answers_in = precision
        with pytest.raises(UsageError, match="unknown precision"):
            dl.load("no such file", precision=precision or "")
    assert model.answers_in == "float32"
    assert set(TRAINING) == set(PRODUCTS) - {"int8"}
    gan = dl.models.dcgan((8, 8), latent=4, filters=(4,))
    for made in (model, gan):
        with pytest.raises(UsageError, match="int8 is for answers") as caught:
            made.compile("adam", precision="int8")
        assert all(name in caught.value.expected for name in TRAINING)
    with pytest.raises(UsageError, match="bf16"):
        TabularClassifier(training={"precision": "int8"}).fit(X, Y)
    with pytest.raises(UsageError, match="not fitted"):
        TabularClassifier().answers_in = "int8"


def test_int8_has_no_gradients():
    graph = Graph(precision="int8")
    weight, x = graph.weight("w", 4, 3), graph.input("x", 2, 4)
    y = dl.ops.matmul(x, weight)
    assert plan(graph, {"y": y}).planning["precision"] in ("float32", "int8")
    for options in ({"gradients": {y: [weight]}}, {"updates": dict}):
        with pytest.raises(UsageError, match="int8 is for answers"):
            plan(graph, {"y": y}, **options)


def test_models_among_the_layers_follow():
    inner = perceptron()
    x = Input((64,))
    model = Model(x, inner(x))
    model.answers_in = "bf16"
    assert inner.answers_in == "bf16"
    np.testing.assert_array_equal(model.predict(X), inner.predict(X))
    assert planned(inner) == planned(model)


def test_copies_keep_it_and_files_do_not(tmp_path):
    model = perceptron()
    model.compile("adam", "sparse_categorical_crossentropy", precision="bf16")
    assert model.answers_in == "bf16"
    model.answers_in = "float32"
    again = copy.deepcopy(model)
    assert (again.precision, again.answers_in) == ("bf16", "float32")
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    model.save(tmp_path / "m.dlc")
    assert dl.load(tmp_path / "m.dlc").answers_in == "bf16"         # as it was compiled
    loaded = dl.load(tmp_path / "m.dlc", precision="float32")
    np.testing.assert_array_equal(loaded.predict(X), model.predict(X))


def test_a_device_without_such_products_is_named(monkeypatch):
    monkeypatch.setenv("DLCORE_CPU_LEVEL", "v2" if kernel_table().level != "aarch64" else "aarch64")
    level = kernel_table().level
    assert answers.missing("float32") == []
    for precision in ("bf16", "int8"):
        assert answers.missing(precision) == [f"this processor (level {level}) has no {precision} products: they are float32"]
    model = perceptron()
    before = model.predict(X)
    model.answers_in = "int8"
    np.testing.assert_array_equal(model.predict(X), before)


# ---- estimators ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_an_estimator_is_loaded_in_a_precision_and_changed(tmp_path, precision):
    made = TabularClassifier(hidden=(128,), epochs=2, random_state=0, training={"precision": "bf16"}).fit(X, Y)
    before = made.predict_proba(X)
    assert made.answers_in == "float32"
    made.save(tmp_path / "m.dlc")
    loaded = dl.load(tmp_path / "m.dlc", precision=precision)
    assert loaded.answers_in == precision
    found = loaded.predict_proba(X)
    np.testing.assert_allclose(found, before, atol=NEAR)
    assert np.array_equal(found, before) != has(precision)
    np.testing.assert_array_equal(copy.deepcopy(loaded).predict_proba(X), found)
    loaded.answers_in = "float32"
    np.testing.assert_array_equal(loaded.predict_proba(X), before)
    assert planned(loaded.model) == {"float32"}


def test_c_is_compared_with_float32(tmp_path):
    """Whatever the model answers in, or was trained in."""
    model = perceptron()
    model.answers_in = "bf16"
    assert (dl.deploy.c.export(model, tmp_path / "m.c").difference or 0) < 1e-5 and model.answers_in == "bf16"
    model = perceptron()
    model.compile("adam", "mean_squared_error", precision="bf16")
    assert (dl.deploy.c.export(model, tmp_path / "n.c").difference or 0) < 1e-5 and model.answers_in == "bf16"


def test_a_model_whose_products_are_few_answers_too():
    texts, labels = np.array(["a card", "the money", "my card", "some money"] * 10), np.array(["c", "m"] * 20)
    made = TextClassifier(epochs=2, random_state=0).fit(texts, labels)
    before = made.predict_proba(texts)
    made.answers_in = "int8"
    np.testing.assert_allclose(made.predict_proba(texts), before, atol=NEAR)


def test_the_halves_of_a_gan_follow(tmp_path):
    made = GAN(filters=(8, 16), latent=8, epochs=1, judge="", random_state=0)
    made.fit((RNG.random((24, 8, 8)) * 255).astype(np.uint8), callbacks=[])
    before = made.generate(4)
    made.save(tmp_path / "m.dlc")
    loaded = dl.load(tmp_path / "m.dlc", precision="bf16")
    np.testing.assert_allclose(loaded.generate(4), before, atol=NEAR)
    half = loaded._half("generator")
    assert half.answers_in == "bf16" and planned(half) == {"bf16" if has("bf16") else "float32"}
    loaded.answers_in = "float32"
    np.testing.assert_array_equal(loaded.generate(4), before)


# ---- step by step ----------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def writer():
    return CharLM(context=32, layers=1, heads=2, width=64, steps=20, eval_every=20, random_state=0).fit("the cat sat. " * 60)


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_generation_is_in_the_precision(writer, precision, tmp_path):
    writer.save(tmp_path / "m.dlc")
    loaded = dl.load(tmp_path / "m.dlc", precision=precision)
    ids = loaded.encode("the cat sat. the").tolist()
    logits = []
    for model in (writer.model, loaded.model):
        steps = Steps(model, 1, 32)
        steps.read(ids[:-1])
        logits.append(steps.feed(ids[-1:]).copy())
        wanted = precision if model is loaded.model and has(precision) else "float32"
        assert steps.program.planning["precision"] == steps.start[1].program.planning["precision"] == wanted
    np.testing.assert_allclose(logits[1], logits[0], atol=0.3)
    assert np.array_equal(*logits) != has(precision)
    whole = loaded.model.predict(np.array([ids + [0] * (32 - len(ids))], np.int32))[0, len(ids) - 1]
    np.testing.assert_allclose(logits[1][0], whole, atol=0.3)
    made = list(sample(loaded.model, ids, 8, 32, Sampling(temperature=0)))
    assert made == list(sample(loaded.model, ids, 8, 32, Sampling(temperature=0))) and len(made) == 8


def test_translation_is_in_the_precision():
    model = translator("transformer", 11, 7, 9, 6, layers=1, width=32, dropout=0.0, heads=2, inner=48, seed=3)
    model.precision, model.answers_in = "bf16", "float32"           # as after training in bf16
    decoder = Decoder(model, 1, 8, 1, 6)
    assert {p.program.planning["precision"] for p in (decoder.encoder, decoder.decoder)} == {"float32"}
    model.answers_in = "bf16"
    decoder = Decoder(model, 1, 8, 1, 6)
    expected = {"bf16" if has("bf16") else "float32"}
    assert {p.program.planning["precision"] for p in (decoder.encoder, decoder.decoder)} == expected


def test_the_device_is_asked_by_its_lowerings():
    found = {a.product for a in device_of(kernel_table()).alternatives(answers.ASKED)}
    assert {"f32", "bf16"} <= found


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_rounded_weights_are_in_memory_once(precision):
    """The program that reads a prompt and that of a step share what they prepare, if they prepare the same."""
    ids = Input((12,), "int32")
    model = Model(ids, CausalLM(40, 12, 2, 2, 64, 0.0)(ids), seed=1)
    model.answers_in = precision
    steps, singly = Steps(model, 1, 12), Steps(model, 1, 12)
    prompt = RNG.integers(0, 40, 8)
    steps.read(prompt)
    for i in prompt:
        singly.feed([i])
    np.testing.assert_allclose(steps.feed([3]), singly.feed([3]), atol=0.1)
    assert bool(steps.stepping) == ("prepare" in steps.program.segments)
    assert steps.stepping[:1] == steps.reading[:1]
    if steps.stepping:
        assert np.shares_memory(steps.start[1].buffers["prepared/0"], steps.instance.buffers["prepared/0"])


def test_texts_one_after_another_prepare_once():
    ids = Input((12,), "int32")
    model = Model(ids, CausalLM(40, 12, 2, 2, 64, 0.0)(ids), seed=1)
    model.answers_in = "bf16"
    first = Steps(model, 1, 12)
    made = [weakref.ref(each) for each in first.stepping]
    del first
    gc.collect()
    assert [ref() for ref in made] == list(Steps(model, 1, 12).stepping) and len(made) == has("bf16")


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_programs_for_other_batches_share_what_they_prepare(precision):
    """Also of several threads; it is made again once after the weights have changed."""
    model = perceptron()
    model.answers_in = precision
    made = {n: model.predict_on_batch(X[:n]) for n in (1, 4, 16)}
    with ThreadPoolExecutor(2) as pool:
        others = list(pool.map(lambda n: model.predict_on_batch(X[:n]), (1, 4, 16)))
    model.evaluate(X[:8], Y[:8])
    for found, wanted in zip(others, made.values(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    runners = [*model._local.made.values(), *model.programs.runners.values()]
    held = {id(each) for runner in runners for each in runner.prepared}
    assert len(held) == has(precision) == len(model.programs.prepared.live())
    if held:
        first = runners[0].instance.buffers["prepared/0"]
        assert all(np.shares_memory(first, runner.instance.buffers["prepared/0"]) for runner in runners)
    model.fit(X, Y, epochs=1, batch_size=8, verbose=0)
    fresh = perceptron()
    fresh.set_weights(model.get_weights())
    fresh.answers_in = precision
    for n in made:
        np.testing.assert_array_equal(model.predict_on_batch(X[:n]), fresh.predict_on_batch(X[:n]))


def test_translators_of_other_sizes_share_what_they_prepare():
    model = translator("transformer", 11, 7, 16, 6, layers=1, width=32, dropout=0.0, heads=2, inner=48, seed=3)
    model.answers_in = "bf16"
    source = RNG.integers(1, 11, (2, 16)).astype(np.int32)
    made = []
    for steps, rows in ((8, 1), (16, 1), (16, 2)):
        decoder = Decoder(model, rows, steps, 1, 6)
        decoder.start(source[:rows, :steps])
        made.append((decoder, decoder.feed(np.full(rows, 5)).copy()))
    ways = [decoder.decoder.prepared for decoder, _ in made]
    if has("bf16"):                         # in float32 few rows of sources prepare nothing
        assert ways[0] and all(way[:1] == ways[0][:1] for way in ways)
    np.testing.assert_allclose(made[1][1][0], made[2][1][0], atol=0.02)
