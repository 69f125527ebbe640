"""`dlcore.load`: whatever is damaged, even under fitting digests, is refused by an error of dlcore's own or harmless."""
from __future__ import annotations

import copy
import hashlib
import json
import random
import zipfile
from pathlib import Path

import numpy as np
import pytest

import dlcore
from dlcore import layers
from dlcore.deploy import model_file
from dlcore.errors import DlcoreError, ModelFileError
from dlcore.tasks import ImageClassifier, TabularClassifier, TabularRegressor

pytestmark = pytest.mark.filterwarnings("ignore:.*SHA256SUMS")
RNG = np.random.default_rng(0)
ROWS = [{"size": float(i % 9), "kind": "ab"[i % 2], "gap": None if i % 5 == 0 else i} for i in range(60)]


def small(kind: str):
    """A small trained model of each kind of file."""
    if kind == "image":
        return ImageClassifier(hidden=(5,), epochs=1).fit(RNG.integers(0, 256, (60, 4, 3), np.uint8), np.arange(60) % 3)
    if kind == "rows":
        return TabularClassifier(hidden=(5,), epochs=1).fit(ROWS, [row["kind"] for row in ROWS])
    if kind == "numbers":
        return TabularRegressor(hidden=(5,), epochs=1).fit(ROWS, [row["size"] for row in ROWS])
    model = dlcore.Sequential([layers.Dense(5, activation="relu", input_shape=(4,)), layers.Dense(3, activation="softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(RNG.random((20, 4), np.float32), np.arange(20, dtype=np.int32) % 3, verbose=0)
    return model


KINDS = ("image", "rows", "numbers", "layers")


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "model.dlc"
    small(request.param).save(path)
    return path


def outcome(path: Path) -> str:
    """Whether the file is taken; anything but an error of dlcore's own fails the test."""
    try:
        dlcore.load(path)
    except DlcoreError as error:
        assert error.message
        return "refused"
    return "taken"


def unpacked(saved: Path, folder: Path) -> Path:
    with zipfile.ZipFile(saved) as archive:
        archive.extractall(folder)
    return folder


def sign(folder: Path) -> None:
    parts = sorted(p for p in folder.iterdir() if p.name not in ("SHA256SUMS", "README.md"))
    (folder / "SHA256SUMS").write_text("".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in parts))


def test_a_file_a_folder_and_a_run_are_loaded(saved, tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "model.dlc").write_bytes(saved.read_bytes())
    weights = [dlcore.load(path).get_weights() for path in (saved, str(saved), run, unpacked(saved, tmp_path / "m"))]
    assert len(weights[0]) == 4
    for other in weights[1:]:
        assert all(a.tobytes() == b.tobytes() for a, b in zip(weights[0], other, strict=True))


def test_damaged_files_are_refused(saved, tmp_path):
    raw, rng, bad = saved.read_bytes(), random.Random(0), tmp_path / "bad.dlc"
    for _ in range(200):
        data, kind = bytearray(raw), rng.random()
        if kind < 0.6:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind < 0.8:
            data = data[:rng.randrange(len(data))]
        else:
            at = rng.randrange(len(data))
            data[at:at + 64] = rng.randbytes(64)
        bad.write_bytes(data)
        assert bytes(data) == raw or outcome(bad) == "refused"


def test_damage_under_fitting_digests_is_refused_or_harmless(saved, tmp_path):
    folder, rng = unpacked(saved, tmp_path / "m"), random.Random(0)
    names = [p.name for p in folder.iterdir() if p.name not in ("README.md", "SHA256SUMS")]
    whole = {name: (folder / name).read_bytes() for name in names}
    outcomes = []
    for _ in range(250):
        for name, data in whole.items():
            (folder / name).write_bytes(data)
        name = rng.choice(names)
        text, kind = bytearray(whole[name]), rng.randrange(4)
        if kind == 0:
            text[rng.randrange(len(text))] = rng.choice(b'0123456789"{}[]:,x')
        elif kind == 1:
            digit, other = rng.choice(b"0123456789").to_bytes(1), rng.choice([b"-1", b"9" * 20, b"null", b"1e9"])
            text = text.replace(digit, other, 1)
        elif kind == 2:
            text = text[:rng.randrange(len(text))]
        else:
            at = rng.randrange(len(text))
            text[at:at + 8] = rng.randbytes(8)
        (folder / name).write_bytes(text)
        sign(folder)
        outcomes.append(outcome(folder))
    assert outcomes.count("refused") > 100


WRONG = (None, -1, 0, 1e9, 10 ** 9, int("9" * 20), True, "text", [], {}, [[]], {"initializer": "x"}, -0.5)


def places(value, path=()):
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


def test_another_value_anywhere_in_the_config_is_refused_or_harmless(saved, tmp_path):
    config, tensors, extras = model_file.read(saved)
    rng, refused = random.Random(0), 0
    for path in places(config):
        if not path:
            continue
        for wrong in rng.sample(WRONG, 4):
            changed = copy.deepcopy(config)
            inner = changed
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = wrong
            if not isinstance(changed.get("model_type"), str):
                continue
            model_file.write(tmp_path / "m.dlc", changed, tensors, extras)
            refused += outcome(tmp_path / "m.dlc") == "refused"
    assert refused > 20


def test_lost_and_exchanged_parts_are_refused(tmp_path):
    path = tmp_path / "m.dlc"
    small("rows").save(path)
    config, tensors, extras = model_file.read(path)
    name = next(iter(tensors))
    for c, t, e in ((config, {}, extras), (config, {**tensors, "weights/more": np.zeros(3, np.float32)}, extras),
                    (config, {**tensors, name: tensors[name].astype(np.float64)}, extras),
                    (config, {**tensors, name: np.zeros((2, 2), np.float32)}, extras),
                    (config, tensors, {}), (config, tensors, {**extras, "labels.json": ["a", "b", "c"]}),
                    (config, tensors, {"labels.json": extras["labels.json"]}),
                    (config, tensors, {**extras, "preprocess.json": {"kind": "image", "shape": [4, 4], "scale": 1.0}}),
                    ({**config, "model_type": "other"}, tensors, extras), ({**config, "estimator": "Other"}, tensors, extras),
                    ({**config, "estimator": "TabularRegressor"}, tensors, extras),
                    ({**config, "params": {"x": 1}}, tensors, extras), ({**config, "params": []}, tensors, extras),
                    ({**config, "params": {"epochs": "many"}}, tensors, extras)):
        model_file.write(path, c, t, e)
        with pytest.raises(ModelFileError):
            dlcore.load(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match="nothing"):
        dlcore.load(tmp_path / "nothing.dlc")
    (tmp_path / "notes.json").write_text(json.dumps({}))
    with pytest.raises(ModelFileError, match="notes"):
        dlcore.load(tmp_path / "notes.json")
