"""Models from elsewhere against what transformers gives (expected.npz, made by tests/data/pretrained/make_fixtures.py)."""
import json
import shutil

import numpy as np
import pytest
from conftest import DATA

import dlcore
from dlcore import layers as L
from dlcore.data.text.tokenizer import TextTokenizer
from dlcore.deploy import huggingface, safetensors
from dlcore.errors import DataError, ModelFileError, UsageError
from dlcore.models.steps import Steps
from dlcore.tasks.pretrained import from_pretrained, network, to_pretrained
from dlcore.training.model import Model

FOLDERS = DATA / "pretrained"
STORIES = FOLDERS / "stories260k"
EXPECTED = np.load(FOLDERS / "expected.npz")


def copied(tmp_path, name):
    return shutil.copytree(FOLDERS / name, tmp_path / name)


def rewritten(folder, change):
    """The folder with other weights: change(tensors) -> tensors."""
    tensors = change({n: t.copy() for n, t in huggingface.read(folder).tensors.items()})
    (folder / "model.safetensors").write_bytes(b"".join(safetensors.pieces(tensors, aligned=False)))
    return folder


def configured(folder, **values):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return folder


# ---- equal to the original -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_logits_are_those_of_transformers_whole_and_step_by_step(name):
    ids, expected = EXPECTED[f"{name}/ids"].astype(np.int32), EXPECTED[f"{name}/logits"]
    model = network(FOLDERS / f"{name}_tiny")
    padded = np.zeros((2, model.network.inputs[0].shape[1]), np.int32)
    padded[:, :ids.shape[1]] = ids
    close = {"rtol": 1e-4, "atol": 1e-4 * np.abs(expected).max()}
    np.testing.assert_allclose(model.predict(padded)[:, :ids.shape[1]], expected, **close)
    steps = Steps(model, 2, ids.shape[1])
    np.testing.assert_allclose(np.stack([steps.feed(column).copy() for column in ids.T], 1), expected, **close)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_the_likeliest_continuation_is_that_of_transformers(name):
    from dlcore.models.generate import Sampling, sample
    written = EXPECTED[f"{name}/greedy"]
    model = network(FOLDERS / f"{name}_tiny")
    assert list(sample(model, written[:5].tolist(), 12, 20, Sampling(0.0))) == written[5:].tolist()


def test_vectors_of_texts_are_those_of_transformers(tmp_path):
    model = from_pretrained(FOLDERS / "bert_tiny")
    assert (model.pool, model.normalize, model.max_len) == ("mean", True, 12)
    texts = EXPECTED["bert/texts"].tolist()
    found = model.predict(texts)
    np.testing.assert_allclose(found, EXPECTED["bert/vectors"], atol=1e-5)
    np.testing.assert_array_equal(model.predict(texts[::-1]), found[::-1])
    model.save(tmp_path / "model.dlc")
    np.testing.assert_array_equal(dlcore.load(tmp_path / "model.dlc").predict(texts), found)
    with pytest.raises(DataError, match="empty"):
        model.predict(["a", " "])


def test_segments_of_a_pair():
    encoder = from_pretrained(FOLDERS / "bert_tiny").encoder
    ids, segments = (EXPECTED[f"bert/{name}"].astype(np.int32) for name in ("ids", "segments"))
    inputs = [L.Input(ids.shape[1:], "int32"), L.Input(ids.shape[1:], "int32")]
    np.testing.assert_allclose(Model(inputs, encoder(*inputs)).predict([ids, segments]), EXPECTED["bert/pair"], atol=2e-5)


def test_a_checkpoint_of_llama2c_writes_its_documented_text(tmp_path):
    model = from_pretrained(STORIES / "stories260K.bin")
    assert (model.arch, model.context, model.kv_heads, model.opening) == ("llama", 512, 4, "")
    documented = (STORIES / "stories260K.md").read_text().split("-t 0.0\n")[1].split("\n```")[0]
    assert model.generate("", 256, temperature=0) == documented
    prompt = documented[:60]                                # a blank behind the prompt belongs to what follows
    assert model.generate(prompt, 40, temperature=0) == documented[:len(model.generate(prompt, 40, temperature=0))]
    ids = model.encode("Once upon a time, caf\u00e9 \u4f60")
    assert model.tokenizer_.decode(ids) == "Once upon a time, caf\u00e9 \u4f60" and ids.max() < 512
    model.save(tmp_path / "stories.dlc")
    again = dlcore.load(tmp_path / "stories.dlc")
    assert again.generate("", 20, temperature=0) == model.generate("", 20, temperature=0)


# ---- there and back --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_back_to_a_folder(tmp_path, name):
    model = from_pretrained(FOLDERS / f"{name}_tiny")
    to_pretrained(model, tmp_path / "out")
    ours, theirs = huggingface.read(tmp_path / "out").tensors, huggingface.read(FOLDERS / f"{name}_tiny").tensors
    used = {n for n in theirs if not n.startswith("pooler")}
    assert set(ours) == used
    for tensor in used:
        np.testing.assert_array_equal(ours[tensor], theirs[tensor])
    again = from_pretrained(tmp_path / "out")
    if name == "bert":
        np.testing.assert_array_equal(again.predict(["my card"]), model.predict(["my card"]))
    else:
        assert again.generate("card", 8, temperature=0) == model.generate("card", 8, temperature=0)
    with pytest.raises(UsageError, match="written over"):
        to_pretrained(model, tmp_path / "out")


def test_a_llama_goes_there_and_back_and_other_networks_do_not(tmp_path):
    model = from_pretrained(STORIES / "stories260K.bin")
    to_pretrained(model, tmp_path / "out")
    assert from_pretrained(tmp_path / "out").generate("", 30, temperature=0) == model.generate("", 30, temperature=0)
    with pytest.raises(UsageError, match="counterpart"):
        to_pretrained(Model(x := L.Input((4,)), L.Dense(2)(x)), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_weights_in_half_the_bits_and_under_older_names(tmp_path):
    folder = copied(tmp_path, "bert_tiny")
    rewritten(folder, lambda tensors: {"bert." + n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"): t.astype(np.float16) for n, t in tensors.items()})
    found = from_pretrained(folder).predict(EXPECTED["bert/texts"].tolist())
    np.testing.assert_allclose(found, EXPECTED["bert/vectors"], atol=5e-3)


def test_bfloat16_is_read(tmp_path):
    header = json.dumps({"w": {"dtype": "BF16", "shape": [3], "data_offsets": [0, 6]}}).encode()
    values = np.array([1.0, -2.5, 3e38], np.float32)
    data = (values.view(np.uint32) >> 16).astype("<u2").tobytes()
    found = safetensors.parse(memoryview(len(header).to_bytes(8, "little") + header + data), "x")["w"]
    np.testing.assert_allclose(found, values, rtol=1e-2)
    assert found.dtype == np.float32


def test_the_older_vocabularies_and_a_tokenizer_json_are_one(tmp_path):
    folder = copied(tmp_path, "gpt2_tiny")
    model = from_pretrained(folder)
    model.tokenizer_.save(folder / "tokenizer.json")
    assert from_pretrained(folder).encode("Where is my card?").tolist() == model.encode("Where is my card?").tolist()
    assert len(model.tokenizer_) < model.model.network.outputs[0].shape[-1]         # rows of no token are never written
    assert all(i in model.tokenizer_.tokens for i in model.encode(model.generate("card", 30, temperature=5.0, seed=3)))
    assert model.generate("", 3) and model.opening == ""


# ---- what is refused -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("change", "said"), [
    (lambda t: {n: a for n, a in t.items() if n != "h.1.ln_2.bias"}, "missing: h.1.ln_2.bias"),
    (lambda t: {**t, "h.7.ln_1.weight": t["h.0.ln_1.weight"]}, "extra: h.7.ln_1.weight"),
    (lambda t: {**t, "wpe.weight": t["wpe.weight"][:7]}, r"misshapen: wpe.weight \(7, 16\), not \(20, 16\)"),
    (lambda t: {**t, "wte.weight": t["wte.weight"].astype(np.int32)}, "no floating point: wte.weight int32"),
    (lambda t: {**t, "lm_head.weight": t["wte.weight"] + 1}, "extra: lm_head.weight"),
])
def test_tensors_that_do_not_fit_are_named(tmp_path, change, said):
    folder = copied(tmp_path, "gpt2_tiny")
    rewritten(folder, lambda t: change({n.removeprefix("transformer."): a for n, a in t.items()}))
    with pytest.raises(ModelFileError, match=said):
        from_pretrained(folder)


def test_a_tied_table_may_be_written_twice(tmp_path):
    folder = rewritten(copied(tmp_path, "gpt2_tiny"), lambda t: {**t, "lm_head.weight": t["transformer.wte.weight"]})
    assert from_pretrained(folder).unused_ == ["lm_head.weight"]


@pytest.mark.parametrize(("name", "values", "said"), [
    ("bert", {"hidden_act": "gelu_30"}, "hidden_act"), ("bert", {"position_embedding_type": "relative_key"}, "position_embedding"),
    ("bert", {"hidden_size": "24"}, "hidden_size"), ("bert", {"num_attention_heads": 5}, "multiple"),
    ("gpt2", {"activation_function": ["relu"]}, "activation_function"),
    ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn"),
    ("llama", {"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}, "rope_parameters"),
    ("llama", {"attention_bias": True}, "attention_bias"), ("llama", {"head_dim": 8}, "head_dim"),
    ("bert", {"model_type": "t5"}, "model_type 't5'"),
])
def test_settings_that_are_not_supported_are_named(tmp_path, name, values, said):
    with pytest.raises(ModelFileError, match=said) as caught:
        network(configured(copied(tmp_path, f"{name}_tiny"), **values))
    assert "config.json" in caught.value.where


def test_pickled_weights_are_refused_unread(tmp_path):
    folder = copied(tmp_path, "bert_tiny")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\nq\x00.")
    with pytest.raises(ModelFileError, match="pickled") as caught:
        from_pretrained(folder)
    assert "pytorch_model.bin" in caught.value.got and "safe_serialization" in caught.value.hint
    with pytest.raises(ModelFileError, match="pickled"):
        from_pretrained(folder / "pytorch_model.bin")


def test_parts_that_are_missing_are_named(tmp_path):
    with pytest.raises(ModelFileError, match="no such folder"):
        huggingface.read(tmp_path / "none")
    folder = copied(tmp_path, "llama_tiny")
    with pytest.raises(ModelFileError, match="no tokenizer"):
        from_pretrained(folder)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ModelFileError, match="shards") as caught:
        network(folder)
    assert caught.value.got == "model-00002-of-00003.safetensors"
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../secret"}}')
    with pytest.raises(ModelFileError, match="index"):
        network(folder)
    (folder / "model.safetensors.index.json").unlink()
    with pytest.raises(ModelFileError, match="no weights"):
        network(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelFileError, match="missing"):
        network(folder)


def test_a_sentence_encoder_with_parts_that_are_not_known(tmp_path):
    folder = copied(tmp_path, "bert_tiny")
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_weightedmean_tokens": true}')
    with pytest.raises(ModelFileError, match="pooled"):
        from_pretrained(folder)
    (folder / "modules.json").write_text('[{"idx": 0, "path": "2_Dense", "type": "sentence_transformers.models.Dense"}]')
    with pytest.raises(ModelFileError, match="not supported") as caught:
        from_pretrained(folder)
    assert caught.value.got == "Dense"
    (folder / "modules.json").unlink()
    assert from_pretrained(folder).normalize is False


def test_a_tokenizer_of_another_model(tmp_path):
    folder = copied(tmp_path, "llama_tiny")
    TextTokenizer.words(["one two three"] * 3 + [f"w{i}" for i in range(300)]).save(folder / "tokenizer.json")
    with pytest.raises(ModelFileError, match="does not fit"):
        from_pretrained(folder)


@pytest.mark.parametrize("damage", [
    lambda data: data[:-4], lambda data: data + b"\0\0\0\0", lambda data: data[:20], lambda data: b"24ka" + data[4:],
    lambda data: b"\xff" * 28 + data[28:], lambda data: b"PK\x03\x04" + data[4:], lambda data: b""])
def test_a_damaged_checkpoint_of_llama2c(tmp_path, damage):
    (tmp_path / "m.bin").write_bytes(damage((STORIES / "stories260K.bin").read_bytes()))
    with pytest.raises(ModelFileError):
        network(tmp_path / "m.bin")


def test_a_damaged_tokenizer_of_llama2c(tmp_path):
    shutil.copy(STORIES / "stories260K.bin", tmp_path / "m.bin")
    with pytest.raises(ModelFileError, match="no tokenizer"):
        from_pretrained(tmp_path / "m.bin")
    good = (STORIES / "tok512.bin").read_bytes()
    for bad in (good[:-3], good + b"\0" * 9, b"", good[:8] + b"\xff\xff\xff\x7f" + good[12:]):
        (tmp_path / "tokenizer.bin").write_bytes(bad)
        with pytest.raises(ModelFileError, match="tokenizer"):
            from_pretrained(tmp_path / "m.bin")


# ---- trained on ------------------------------------------------------------------------------------------------------
def test_a_classifier_begins_with_an_encoder(tmp_path):
    source = FOLDERS / "bert_tiny"
    texts = np.array(["where is my card", "i lost my card", "send money to a bank", "transfer the money"] * 10, object)
    labels = np.array(["card", "card", "money", "money"] * 10)
    options = {"arch": "bert", "epochs": 12, "val_split": 0.0, "lr": 0.05, "batch_size": 8, "schedule": "constant"}
    model = dlcore.TextClassifier(**options, training={"init": str(source), "freeze": ["encoder/block_0"]}).fit(texts, labels)
    assert model.score(texts, labels) == 1.0
    encoder, before = model.model.layers[0], from_pretrained(source).encoder
    np.testing.assert_array_equal(encoder.blocks[0].contract.kernel.numpy(), before.blocks[0].contract.kernel.numpy())
    moved = np.abs(encoder.blocks[1].contract.kernel.numpy() - before.blocks[1].contract.kernel.numpy()).max()
    assert 0 < moved < 0.5
    assert model.learning_rates() == pytest.approx({"encoder/block_0/*": 0.05 * 0.9, "encoder/block_1/*": 0.05,
                                                    "encoder/*": 0.05 * 0.81})
    model.save(tmp_path / "model.dlc")
    np.testing.assert_array_equal(dlcore.load(tmp_path / "model.dlc").predict_proba(texts), model.predict_proba(texts))
    with pytest.raises(UsageError, match="begins with an encoder"):
        dlcore.TextClassifier(arch="bert").fit(texts, labels)
    model.save(tmp_path / "classifier.dlc")
    with pytest.raises(UsageError, match="no encoder"):
        dlcore.TextClassifier(arch="bert", training={"init": str(tmp_path / "classifier.dlc")}).fit(texts, labels)


def test_a_llama_is_trained_from_nothing():
    model = dlcore.tasks.LanguageModel(arch="llama", context=16, layers=1, heads=4, kv_heads=2, width=16, steps=30, eval_every=30,
                                       batch_size=8, lr=1e-2, warmup=0)
    model.fit("the cat sat on the mat. " * 40)
    assert model.evaluate("the cat sat on the mat. " * 10)["loss"] < 2.5
    assert model.model.layers[0].blocks[0].gated and len(model.generate("the", 5)) > 3
