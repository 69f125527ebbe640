"""The model file: what is written is read; whatever is damaged is refused by an error of dlcore's own; nothing is half written."""
from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dlcore.deploy import model_file, stored_zip
from dlcore.errors import ModelFileError, UsageError, WriteError

TENSORS = {"a.kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "scalar": np.float64(3.5),
           "empty": np.zeros((0, 5), np.int32), "bytes": np.arange(10, dtype=np.uint8),
           "by columns": np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
           "big endian": np.arange(5, dtype=">i8"), "flags": np.array([True, False, True])}
CONFIG = {"model_type": "model", "layers": [{"class": "Dense", "units": 3}], "text": "naïve 模型"}
EXTRAS = {"labels.json": ["a", "b"], "preprocess.json": {"mean": 0.1}, "README.md": "# card\n"}


def save(path: Path, **options) -> Path:
    model_file.write(path, CONFIG, TENSORS, EXTRAS, **options)
    return path


def check(file: model_file.ModelFile) -> None:
    assert {name: file.config[name] for name in CONFIG} == CONFIG
    assert list(file.tensors) == list(TENSORS)
    for name, want in TENSORS.items():
        got = file.tensors[name]
        assert got.shape == np.shape(want) and got.dtype == np.asarray(want).dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, want)
    assert file.extras == EXTRAS


@pytest.mark.parametrize("folder", [False, True])
def test_what_is_written_is_read(tmp_path, folder):
    check(model_file.read(save(tmp_path / "m.dlc", folder=folder)))


def test_tensors_are_mapped_aligned_and_read_only(tmp_path):
    tensors = model_file.read(save(tmp_path / "m.dlc")).tensors
    assert all(t.ctypes.data % 64 == 0 for t in tensors.values())
    with pytest.raises(ValueError, match="read-only"):
        tensors["a.kernel"][0, 0] = 1
    with pytest.raises(ValueError):
        tensors["a.kernel"].flags.writeable = True


def test_a_load_does_not_read_the_tensors_into_memory(tmp_path):
    path = tmp_path / "m.dlc"
    model_file.write(path, CONFIG, {"w": np.zeros(100 << 20, np.uint8)})
    code = ("import sys; from dlcore.deploy import model_file\n"
            "def peak(): return int(next(line for line in open('/proc/self/status') if line.startswith('VmHWM')).split()[1])\n"
            "before = peak(); file = model_file.read(sys.argv[1]); print(peak() - before, file.tensors['w'].size)")
    out = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, cwd=tmp_path,
                         env={**os.environ, "PYTHONPATH": str(Path(model_file.__file__).parents[2])}).stdout.split()
    assert int(out[0]) < 20 << 10 and int(out[1]) == 100 << 20             # kilobytes


def test_equal_contents_give_equal_bytes(tmp_path):
    assert save(tmp_path / "a").read_bytes() == save(tmp_path / "b").read_bytes()


def test_other_tools_read_it(tmp_path):
    path = save(tmp_path / "m.dlc")
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        raw = path.read_bytes()
        assert archive.comment == b"sha256:" + hashlib.sha256(raw[:-64]).hexdigest().encode()
        archive.extractall(tmp_path / "out")
    from safetensors import numpy as safetensors
    theirs = safetensors.load_file(tmp_path / "out" / "model.safetensors")
    for name, want in TENSORS.items():
        np.testing.assert_array_equal(theirs[name], want)
    with pytest.warns(UserWarning, match="SHA256SUMS"):
        check(model_file.read(tmp_path / "out"))


def test_safetensors_of_others_are_read(tmp_path):
    from safetensors import numpy as safetensors
    folder = save(tmp_path / "m", folder=True)
    safetensors.save_file({"x": np.ones((2, 3), np.float16), "y": np.zeros(1, np.int8)}, folder / "model.safetensors",
                          metadata={"format": "np"})
    (folder / "SHA256SUMS").unlink()
    with pytest.warns(UserWarning):
        tensors = model_file.read(folder).tensors
    np.testing.assert_array_equal(tensors["x"], np.ones((2, 3)))
    assert tensors["x"].dtype == np.float16 and tensors["y"].shape == (1,)


def test_files_beyond_four_gigabytes(tmp_path, monkeypatch):
    """The records for large files, met earlier by lowering the limit at which they begin."""
    plain = save(tmp_path / "plain").stat().st_size
    monkeypatch.setattr(stored_zip, "_FULL", 300)
    large = save(tmp_path / "large")
    assert large.stat().st_size > plain
    check(model_file.read(large))


# ---- damage ----------------------------------------------------------------------------------------------------------

def refused(path: Path) -> bool:
    try:
        model_file.read(path)
    except ModelFileError as error:
        assert str(error)
        return True
    return False


def test_any_changed_byte_is_refused(tmp_path):
    raw, bad = save(tmp_path / "m.dlc").read_bytes(), tmp_path / "bad.dlc"
    for i in range(len(raw)):
        damaged = bytearray(raw)
        damaged[i] ^= (1, 32, 128)[i % 3]                   # 32 turns a digit of the digest into another way to write it
        bad.write_bytes(damaged)
        assert refused(bad), i


def test_any_other_length_is_refused(tmp_path):
    raw, bad = save(tmp_path / "m.dlc").read_bytes(), tmp_path / "bad.dlc"
    for damaged in (*(raw[:n] for n in range(0, len(raw), 7)), raw + b"0", raw + raw, b"0" + raw):
        bad.write_bytes(damaged)
        assert refused(bad)


def test_damage_under_a_fitting_digest_never_raises_a_foreign_exception(tmp_path):
    raw, bad, rng = save(tmp_path / "m.dlc").read_bytes()[:-64], tmp_path / "bad.dlc", random.Random(0)
    outcomes = set()
    for _ in range(3000):
        damaged = bytearray(raw)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        bad.write_bytes(damaged + hashlib.sha256(damaged).hexdigest().encode())
        outcomes.add(refused(bad))
    assert outcomes == {True, False}                        # a byte of a tensor may be anything


def folder_with(tmp_path: Path, name: str, data: bytes) -> Path:
    """A model folder with one part replaced and digests that fit."""
    folder = save(tmp_path / "m", folder=True)
    (folder / name).write_bytes(data)
    parts = sorted(p for p in folder.iterdir() if p.name not in ("SHA256SUMS", "README.md"))
    (folder / "SHA256SUMS").write_text("".join(f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.name}\n" for p in parts))
    return folder


CONFIGS = {
    "empty": b"", "not UTF-8": b"\xff{}",
    "cut short": b'{"model_type": "mo', "nested": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000, "closed nesting": b"[" * 500 + b"]" * 500, "list": b"[]", "number": b"1", "null": b"null",
    "no type": b'{"format_version": 1}', "type": b'{"model_type": 3, "format_version": 1}',
    "version": b'{"model_type": "model", "format_version": 2}',
    "version is true": b'{"model_type": "model", "format_version": true}',
    "NaN": b'{"model_type": "model", "format_version": 1, "x": NaN}',
    "key twice": b'{"model_type": "m", "model_type": "n", "format_version": 1}',
    "long number": b'{"model_type": "model", "format_version": 1, "x": ' + b"9" * 10_000 + b"}",
    "half a surrogate": b'{"model_type": "model", "format_version": 1, "x": "\\ud800"}',
    "too large": b'{"model_type": "model", "format_version": 1, "x": "' + b"x" * (5 << 20) + b'"}',
}


@pytest.mark.parametrize("data", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_malformed_config_is_refused(tmp_path, data):
    assert refused(folder_with(tmp_path, "config.json", data))


def safetensors_bytes(header: object, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(**changes: object) -> dict:
    return {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes}


TENSOR_FILES = {
    "empty": b"", "seven bytes": b"\0" * 7, "huge header": safetensors_bytes(b"{}", length=(1 << 64) - 1),
    "header beyond the end": safetensors_bytes(b"{}", length=3), "nested": safetensors_bytes(b"[" * 100_000),
    "a list": safetensors_bytes([]), "unknown dtype": safetensors_bytes(entry(dtype="F9"), bytes(8)),
    "dtype is a list": safetensors_bytes(entry(dtype=["F32"]), bytes(8)),
    "another dtype": safetensors_bytes(entry(dtype="F64"), bytes(8)),
    "huge shape": safetensors_bytes(entry(shape=[10 ** 9, 10 ** 9, 10 ** 9]), bytes(8)),
    "huge shape and nothing": safetensors_bytes(entry(shape=[0, 1 << 61], data_offsets=[0, 0])),
    "negative size": safetensors_bytes(entry(shape=[-2]), bytes(8)),
    "fraction": safetensors_bytes(entry(shape=[2.0]), bytes(8)),
    "truth value": safetensors_bytes(entry(shape=[True, 2]), bytes(8)),
    "shape is text": safetensors_bytes(entry(shape="2"), bytes(8)),
    "many axes": safetensors_bytes(entry(shape=[2] + [1] * 40), bytes(8)),
    "offsets reversed": safetensors_bytes(entry(data_offsets=[8, 0]), bytes(8)),
    "three offsets": safetensors_bytes(entry(data_offsets=[0, 8, 8]), bytes(8)),
    "offset beyond the end": safetensors_bytes(entry(data_offsets=[8, 16]), bytes(8)),
    "hole at the end": safetensors_bytes(entry(), bytes(9)), "no data": safetensors_bytes(entry()),
    "overlap": safetensors_bytes(entry() | {"v": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, bytes(12)),
    "hole": safetensors_bytes(entry() | {"v": {"dtype": "F32", "shape": [1], "data_offsets": [12, 16]}}, bytes(16)),
    "another key": safetensors_bytes(entry(more=1), bytes(8)), "entry is a number": safetensors_bytes({"w": 1}),
    "name": safetensors_bytes({"w\n": entry()["w"]}, bytes(8)), "no name": safetensors_bytes({"": entry()["w"]}, bytes(8)),
}


@pytest.mark.parametrize("data", TENSOR_FILES.values(), ids=TENSOR_FILES.keys())
def test_a_malformed_tensor_file_is_refused(tmp_path, data):
    assert refused(folder_with(tmp_path, "model.safetensors", data))


@pytest.mark.parametrize("sums", [b"", b"\xff\xfe", b"x  config.json\n", b"0" * 64 + b"  ../config.json\n", b"\0" * 70_000])
def test_malformed_digests_are_refused(tmp_path, sums):
    folder = save(tmp_path / "m", folder=True)
    (folder / "SHA256SUMS").write_bytes(sums)
    assert refused(folder)


def test_a_folder_with_a_changed_a_lost_or_an_unlisted_part_is_refused(tmp_path):
    changed = save(tmp_path / "changed", folder=True)
    (changed / "labels.json").write_text('["a", "c"]')
    lost = save(tmp_path / "lost", folder=True)
    (lost / "labels.json").unlink()
    unlisted = save(tmp_path / "unlisted", folder=True)
    (unlisted / "more.json").write_text("{}")
    assert refused(changed) and refused(lost) and refused(unlisted)


def test_the_card_of_a_folder_may_be_edited(tmp_path):
    folder = save(tmp_path / "m", folder=True)
    (folder / "README.md").write_text("another")
    assert model_file.read(folder).extras["README.md"] == "another"


def test_what_is_no_model_is_refused(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "noise").write_bytes(random.Random(1).randbytes(1000))
    with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("empty", "noise", "zip", "folder", "pipe", "missing", "nul\0byte", "long" * 1000):
        assert refused(tmp_path / name), name


# ---- writing ---------------------------------------------------------------------------------------------------------

def test_writing_over_a_model_keeps_its_readers(tmp_path):
    path = save(tmp_path / "m.dlc")
    before = model_file.read(path)
    model_file.write(path, CONFIG, {"other": np.ones(3, np.float32)})
    check(before)
    assert list(model_file.read(path).tensors) == ["other"]
    assert [p.name for p in tmp_path.iterdir()] == ["m.dlc"]


def test_a_folder_is_never_written_over(tmp_path):
    save(tmp_path / "m", folder=True)
    with pytest.raises(UsageError, match="never written over"):
        save(tmp_path / "m", folder=True)


@pytest.mark.parametrize("folder", [False, True])
def test_a_full_disk_leaves_what_was_there(tmp_path, folder, monkeypatch):
    path = tmp_path / "m.dlc"
    if not folder:
        save(path)
    before = path.read_bytes() if path.exists() else None

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="could not be written") as caught:
        save(path, folder=folder)
    assert "No space left" in str(caught.value) and caught.value.exit_code == 74
    assert (path.read_bytes() if path.exists() else None) == before
    assert len(list(tmp_path.iterdir())) == (before is not None)


def test_a_limited_file_size_leaves_nothing(tmp_path):
    """The same with a real limit, met while the tensors are written."""
    code = ("import resource, signal, sys, numpy as np\n"
            "from dlcore.deploy import model_file; from dlcore.errors import WriteError\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "try: model_file.write(sys.argv[1], {'model_type': 'm'}, {'w': np.ones(1 << 20)})\n"
            "except WriteError: sys.exit(74)")
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "m.dlc"], check=False, capture_output=True,
                          env={**os.environ, "PYTHONPATH": str(Path(model_file.__file__).parents[2])})
    assert done.returncode == 74, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "no folder" / "m.dlc", tmp_path / "file" / "m.dlc", tmp_path):
        with pytest.raises(WriteError):
            save(path)


@pytest.mark.parametrize(("config", "tensors", "extras"), [
    ({}, {}, {}), ({"model_type": "m", "x": np.float32(1)}, {}, {}), ({"model_type": "m", "x": float("nan")}, {}, {}),
    ({"model_type": "m"}, {"w": np.array(["text"])}, {}), ({"model_type": "m"}, {"w": np.array([None])}, {}),
    ({"model_type": "m"}, {".padding.0": np.zeros(1)}, {}), ({"model_type": "m"}, {"": np.zeros(1)}, {}),
    ({"model_type": "m"}, {}, {"../x.json": {}}), ({"model_type": "m"}, {}, {"config.json": {}}),
    ({"model_type": "m"}, {}, {"code.py": ""}),
])
def test_what_cannot_be_saved_is_refused_before_anything_is_written(tmp_path, config, tensors, extras):
    with pytest.raises(UsageError):
        model_file.write(tmp_path / "m.dlc", config, tensors, extras)
    assert list(tmp_path.iterdir()) == []
