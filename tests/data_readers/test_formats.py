"""fastText, libsvm, text, npz and Arrow as tables; packed files; what is refused and where."""
from __future__ import annotations

import gzip
import io
import lzma
import sys
from types import ModuleType

import numpy as np
import pytest
import zstandard
from data_readers.handmade_arrow import HandmadeStream

from dlcore.data.table import as_table, read_table
from dlcore.errors import DataError


def table(tmp_path, text, name="t.txt"):
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path)


def test_fasttext(tmp_path):
    t = table(tmp_path, "__label__good a fine  film\n\n__label__bad __label__long too long\n__label__good\n")
    assert t.columns == {"label": ["good", "bad long", "good"], "text": ["a fine film", "too long", None]}
    assert list(t.lines) == [1, 3, 4] and "1 with several labels" in t.notes[0]
    with pytest.raises(DataError, match=r"t\.ft, row 2"):
        table(tmp_path, "__label__a x\nno label\n", "t.ft")


def test_libsvm(tmp_path):
    t = table(tmp_path, "1 1:0.5 3:2 # a note\n-1 2:-1e-3\n\n1\n", "t.libsvm")
    assert t.names == ("label", "1", "2", "3") and t.columns["label"] == ["1", "-1", "1"]
    np.testing.assert_array_equal([t.columns[n] for n in "123"], [[0.5, 0, 0], [0, -1e-3, 0], [2, 0, 0]])
    assert list(t.lines) == [1, 2, 4]
    zero = table(tmp_path, "a 0:1 5:2\nb 0:3 1:1\n", "unnamed")
    assert zero.names == ("label", "0", "1", "2", "3", "4", "5")
    assert table(tmp_path, "2 qid:7 1:1\n1 qid:8 1:2\n", "t.svm").columns["qid"] == ["7", "8"]


@pytest.mark.parametrize("text", ["1 1:x\n", "1 1:1 1:2\n", "1 2:1 1:2\n", "1 -1:2\n", "1 1:nan\n", "1 1\n", "# nothing\n"])
def test_libsvm_that_is_refused(tmp_path, text):
    with pytest.raises(DataError, match=r"t\.libsvm"):
        table(tmp_path, text, "t.libsvm")


def test_a_libsvm_file_too_wide_to_be_dense(tmp_path):
    with pytest.raises(DataError, match="too large"):
        table(tmp_path, "1 900000000:1\n", "t.libsvm")


def test_lines_of_text(tmp_path):
    t = table(tmp_path, "To be, or not\n\n  to be  \n")
    assert t.columns == {"text": ["To be, or not", "to be"]} and list(t.lines) == [1, 3]


def test_npz_tables(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.arange(6.0).reshape(3, 2), y=np.array(["a", "b", "a"]))
    t = read_table(tmp_path / "a.npz")
    assert t.names == ("c1", "c2", "label") and t.columns["label"] == ["a", "b", "a"]
    np.savez(tmp_path / "b.npz", size=np.array([1.5, np.nan]), name=np.array(["x", "y"]))
    assert read_table(tmp_path / "b.npz").names == ("size", "name")
    np.savez(tmp_path / "c.npz", x=np.zeros((3, 2)), y=np.zeros(2))
    np.savez(tmp_path / "d.npz", a=np.zeros((3, 2)), b=np.zeros(3))
    (tmp_path / "e.npz").write_bytes(b"PK")
    for name in "cdef":
        with pytest.raises(DataError, match=rf"{name}\.npz"):
            read_table(tmp_path / f"{name}.npz")


PACKS = {".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


@pytest.mark.parametrize("end", PACKS)
def test_packed_files(tmp_path, end):
    for name, text, first in (("t.csv", "a,b\n1,2\n", "a"), ("t.ft", "__label__x y\n", "label"), ("t.txt", "words\n", "text"),
                              ("t.jsonl", '{"k": 1}\n', "k"), ("t.svm", "1 1:2\n", "label")):
        assert table(tmp_path, PACKS[end](text.encode()), name + end).names[0] == first
    whole = PACKS[end](np.random.default_rng(0).bytes(4000).hex().encode())
    with pytest.raises(DataError, match="cut short or damaged"):
        table(tmp_path, whole[:-2000], "t.txt" + end)


def test_zst_without_a_decoder(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    with pytest.raises(DataError, match=r"pip install 'dlcore\[arrow\]'"):
        table(tmp_path, zstandard.compress(b"a,b\n1,2\n"), "t.csv.zst")


def test_standard_input_tells_its_kind(monkeypatch):
    for text, names in (("__label__a b\n", ("label", "text")), ("1 1:2\n", ("label", "1"))):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        assert read_table("-").names == names


# ---- Arrow ----------------------------------------------------------------------------------------------------------
TEXT = np.frombuffer("reda blueé".encode(), "u1")
COLUMNS = {
    "whole": ("i", [None, np.array([7, -1, 3], "i4")], 0),
    "real": ("g", [np.array([0b101], "u1"), np.array([0.5, 9, -2.0])], 1),
    "text": ("u", [None, np.array([0, 3, 4, 11], "i4"), TEXT], 0),
    "wide": ("U", [np.array([0b011], "u1"), np.array([0, 3, 4, 11], "i8"), TEXT], 1),
    "truth": ("b", [None, np.array([0b110], "u1")], 0),
    "day": ("tdD", [None, np.array([0, 1, 20000], "i4")], 0),
    "time": ("tss:UTC", [None, np.array([0, 1, 86400], "i8")], 0),
    "kind": ("c", [np.array([0b111], "u1"), np.array([1, 0, 1], "i1")], 0,
             ("u", [None, np.array([0, 1, 2], "i4"), np.frombuffer(b"xy", "u1")], 2)),
    "large": ("l", [None, np.array([1 << 60, 2, 3], "i8")], 0),
    "nothing": ("n", [], 3),
}
WANTED = {"whole": [7, -1, 3], "real": [0.5, None, -2.0], "text": ["red", "a", "blueé"], "wide": ["red", "a", None],
          "truth": [False, True, True], "day": ["1970-01-01", "1970-01-02", "2024-10-04"],
          "time": ["1970-01-01T00:00:00", "1970-01-01T00:00:01", "1970-01-02T00:00:00"], "kind": ["y", "x", "y"],
          "large": [1 << 60, 2, 3], "nothing": [None, None, None]}


def cells(column):
    return [None if v != v else v for v in column.tolist()] if isinstance(column, np.ndarray) else column


def test_a_stream_made_by_hand():
    stream = HandmadeStream(COLUMNS, 3, batches=2)
    t = as_table(stream)
    assert {name: cells(column) for name, column in t.columns.items()} == {n: v * 2 for n, v in WANTED.items()}
    assert len(t) == 6 and stream.released == {"schema": 1, "array": 2, "stream": 1}


def test_a_stream_that_begins_within_its_buffers():
    columns = {name: COLUMNS[name] for name in ("whole", "real", "text", "truth", "kind")}
    t = as_table(HandmadeStream(columns, 2, offset=1))
    assert {n: cells(c) for n, c in t.columns.items()} == {n: WANTED[n][1:] for n in columns}


def test_streams_that_fail():
    stream = HandmadeStream(COLUMNS, 3, batches=2, error="the disk is gone")
    with pytest.raises(DataError, match="the disk is gone"):
        as_table(stream)
    assert stream.released == {"schema": 1, "array": 1, "stream": 1}
    with pytest.raises(DataError, match="column 'list'"):
        as_table(HandmadeStream({"list": ("+l", [None, None], 0)}, 3))


def test_views_of_strings():
    long = b"a string of more than twelve bytes"
    views = b"".join([len(b"short").to_bytes(4, "little") + b"short".ljust(12, b"\0"),
                      len(long).to_bytes(4, "little") + long[:4] + (0).to_bytes(4, "little") + (3).to_bytes(4, "little")])
    t = as_table(HandmadeStream({"v": ("vu", [None, np.frombuffer(views, "u1"), np.frombuffer(b"xxx" + long, "u1")], 0)}, 2))
    assert t.columns["v"] == ["short", long.decode()]


def test_parquet_goes_through_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    package, module = ModuleType("pyarrow"), ModuleType("pyarrow.parquet")
    module.read_table = lambda path: HandmadeStream({"whole": COLUMNS["whole"]}, 3)
    package.parquet = module
    monkeypatch.setitem(sys.modules, "pyarrow", package)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", module)
    assert cells(read_table(tmp_path / "t.parquet").columns["whole"]) == [7, -1, 3]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'dlcore\[arrow\]'"):
        read_table(tmp_path / "t.parquet")


class OnlyDlpack:
    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


def test_dlpack():
    np.testing.assert_array_equal(as_table(OnlyDlpack(np.arange(6.0).reshape(3, 2))).columns["c2"], [1, 3, 5])
