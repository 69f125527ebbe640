"""Caches: built row by row, mapped, checked, and trained on without being loaded."""
from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from data_readers.test_check import pictures

from dlcore.data.cache import CacheWriter, build_cache, open_cache
from dlcore.data.images import read_images
from dlcore.errors import DataError, WriteError
from dlcore.tasks import ImageClassifier


def table(path, rows=50, label=True):
    lines = [f"{i},{i / 4},-{i}" + (f",{'ab'[i % 2]}" if label else "") for i in range(rows)]
    path.write_text("a,b,c" + (",label" if label else "") + "\n" + "\n".join(lines) + "\n")
    return path


def test_a_table_of_numbers(tmp_path):
    cache = build_cache(table(tmp_path / "t.csv"), tmp_path / "t.cache")
    assert isinstance(cache.x, np.memmap) and cache.x.dtype == np.float32 and not cache.x.flags.writeable
    np.testing.assert_array_equal(cache.x[5], [5, 1.25, -5])
    assert cache.labels == ["a", "b"] and cache.y.tolist()[:4] == [0, 1, 0, 1]
    assert cache.dataset().y.tolist()[:2] == ["a", "b"]
    assert build_cache(tmp_path / "t.csv", tmp_path / "t.cache").x.shape == (50, 3)         # it is there, and of this source
    (tmp_path / "u.jsonl").write_text("".join(json.dumps({"x": i, "label": i * 0.5}) + "\n" for i in range(9)))
    other = build_cache(tmp_path / "u.jsonl", tmp_path / "u.cache")
    assert other.x.shape == (9, 1) and len(other.labels) == 9
    with pytest.raises(WriteError, match="built from something else"):
        build_cache(tmp_path / "u.jsonl", tmp_path / "t.cache")


def test_a_source_that_changed_is_built_anew(tmp_path):
    old = build_cache(table(tmp_path / "t.csv"), tmp_path / "t.cache")
    first = np.array(old.x[0])
    table(tmp_path / "t.csv", 20)
    assert build_cache(tmp_path / "t.csv", tmp_path / "t.cache").x.shape == (20, 3)
    np.testing.assert_array_equal(old.x[0], first)                  # who has mapped the old one keeps it
    (tmp_path / "t.csv").write_text("a,b,c,label\n1,2,x,y\n")
    with pytest.raises(DataError, match="column 'c'"):
        build_cache(tmp_path / "t.csv", tmp_path / "t.cache")
    assert open_cache(tmp_path / "t.cache").x.shape == (20, 3)      # what cannot be built leaves the old one
    assert sorted(os.listdir(tmp_path)) == ["t.cache", "t.csv"]


@pytest.mark.parametrize(("text", "message"), [
    ("a,b\n1,2\n3,x\n", r"row 3, column 'b'"), ("a,b\n1,2\n3\n", "too short"), ("", "empty"), ("a,b\n", "no rows"),
    ("a,b\n1,\n", "column 'b'"),
])
def test_tables_that_are_refused_leave_nothing(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        build_cache(tmp_path / "t.csv", tmp_path / "t.cache")
    assert os.listdir(tmp_path) == ["t.csv"]


def test_pictures_and_arrays(tmp_path, mnist):
    root = pictures(tmp_path / "p", 4)
    cache = build_cache(root, tmp_path / "p.cache", size=(4, 3))
    whole = read_images(root, (4, 3)).train
    np.testing.assert_array_equal(cache.x, whole.x)
    np.testing.assert_array_equal(cache.dataset().y, whole.y)
    digits = build_cache(mnist, tmp_path / "m.cache")
    np.testing.assert_array_equal(read_images(tmp_path / "m.cache").train.x, read_images(mnist).train.x)
    assert digits.x.dtype == np.uint8 and digits.labels == []


def test_a_damaged_cache_is_refused(tmp_path):
    build_cache(table(tmp_path / "t.csv"), tmp_path / "t.cache")
    x, head = tmp_path / "t.cache" / "x.bin", tmp_path / "t.cache" / "cache.json"
    whole, good = x.read_bytes(), head.read_text()
    x.write_bytes(whole[:-4])
    with pytest.raises(DataError, match=r"x\.bin"):
        open_cache(tmp_path / "t.cache")
    x.write_bytes(b"\1" + whole[1:])
    open_cache(tmp_path / "t.cache")
    with pytest.raises(DataError, match="digest differs"):
        open_cache(tmp_path / "t.cache", verify=True)
    x.write_bytes(whole)
    open_cache(tmp_path / "t.cache", verify=True)
    changed = [good.replace(a, b) for a, b in (('"version": 1', '"version": 9'), ('"<f4"', '"O"'), ("50", "-50"))]
    for broken in ("{", "[]", *changed):
        head.write_text(broken)
        with pytest.raises(DataError, match="damaged"):
            open_cache(tmp_path / "t.cache")
    with pytest.raises(DataError, match="no such cache"):
        open_cache(tmp_path / "none.cache")


def test_a_writer_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), CacheWriter(tmp_path / "c.cache", "f4", (2,)) as writer:
        writer.add(np.zeros((3, 2)), [0, 1, 2])
        raise KeyError
    with pytest.raises(DataError, match="another shape"), CacheWriter(tmp_path / "c.cache", "f4", (2,)) as writer:
        writer.add(np.zeros((3, 3)))
    assert os.listdir(tmp_path) == []


def test_a_task_trains_from_a_cache_as_from_memory(tmp_path, mnist):
    data = read_images(mnist).train
    build_cache(mnist, tmp_path / "m.cache")
    mapped = read_images(tmp_path / "m.cache").train
    for augment in ("", "crop=2", "mixup=0.2"):
        memory = ImageClassifier(hidden=(16,), epochs=1, augment=augment).fit(data)
        file = ImageClassifier(hidden=(16,), epochs=1, augment=augment).fit(mapped)
        for a, b in zip(memory.get_weights(), file.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
        assert memory.history_.history["val_loss"][0] == pytest.approx(file.history_.history["val_loss"][0], rel=1e-5)


LARGE = """
import sys, numpy as np, dlcore as dl
from dlcore.data.cache import open_cache
from dlcore.layers import Dense
cache = open_cache(sys.argv[1])
assert cache.x.nbytes == 1 << 30
model = dl.Sequential([Dense(4, activation="relu", input_shape=(4096,)), Dense(2, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
def anon():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) / 1024
class Watch(dl.Callback):
    most = 0.0
    def on_train_batch_end(self, batch, logs=None):
        self.most = max(self.most, anon())
        self.model.stop_training = batch == 60
watch = Watch()
before = model.get_weights()[0]
model.fit(cache.x, cache.y, epochs=1, batch_size=512, verbose=0, callbacks=[watch])
after = model.get_weights()[0]
assert np.isfinite(after).all() and (after != before).any()
print(max(watch.most, anon()))
"""


def test_a_gigabyte_is_trained_on_in_little_memory(tmp_path):
    rows = 1 << 18
    with CacheWriter(tmp_path / "large.cache", "u1", (4096,)) as writer:
        x = writer.extend(rows, np.arange(rows) % 2)        # a file of holes: pages of zeros, but for some rows
        x[::4096] = 7
        del x
    done = subprocess.run([sys.executable, "-c", LARGE, str(tmp_path / "large.cache")], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 200
