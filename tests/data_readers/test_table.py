"""Tables from files and from memory: what is read, what is noted, what is refused and where."""
from __future__ import annotations

import gzip
import io
import json
import sys

import numpy as np
import pytest

from dlcore.data.table import Table, answers, as_table, read_table
from dlcore.errors import DataError


def table(tmp_path, text: str | bytes, name: str = "t.csv", **options) -> Table:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, **options)


def test_a_plain_csv(tmp_path):
    t = table(tmp_path, "a,b,label\n1,x,yes\n2.5,,no\n?,NA,yes\n")
    assert t.columns == {"a": ["1", "2.5", None], "b": ["x", None, None], "label": ["yes", "no", "yes"]}
    assert list(t.lines) == [2, 3, 4] and len(t) == 3
    assert "3 rows, 3 columns between commas; the first row names the columns" in t.notes[0]


def test_decimal_commas_between_semicolons(tmp_path):
    t = table(tmp_path, "a;b;c;d\n1,5;1,2,3;x;1\n-2;7;y;2\n;8,1e3;z;3\n")
    assert t.columns == {"a": ["1.5", "-2", None], "b": ["1,2,3", "7", "8,1e3"], "c": ["x", "y", "z"], "d": ["1", "2", "3"]}
    assert t.notes[-1] == "decimal commas in a"
    assert table(tmp_path, 'a,b\n"1,5",2\n"2,5",3\n').columns["a"] == ["1,5", "2,5"]


@pytest.mark.parametrize("name", ["SMSSpamCollection", "t.data"])
def test_tabs_between_cells_that_have_more_commas(tmp_path, name):
    """As a file without a suffix that tells; the second text has a quotation mark."""
    t = table(tmp_path, 'ham\tgo, now, or, never\nspam\t"win, a, prize\nham\tyes\n', name)
    assert t.columns == {"c1": ["ham", "spam", "ham"], "c2": ["go, now, or, never", '"win, a, prize', "yes"]}


def test_lines_end_where_editors_end_them(tmp_path):
    """U+2028, U+0085 and a form feed may stand in a text."""
    odd = "a\u2028b\x85c\x0cd"
    t = table(tmp_path, "".join(json.dumps({"text": odd, "n": n}, ensure_ascii=False) + "\r\n" for n in range(3)), "t.jsonl")
    assert t.columns == {"text": [odd] * 3, "n": [0, 1, 2]} and list(t.lines) == [1, 2, 3]
    assert table(tmp_path, f"__label__x {odd}\n", "t.ft").columns["label"] == ["x"]
    assert len(table(tmp_path, f"{odd}\n{odd}\n", "t.txt")) == 2


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_a_byte_order_mark_tells(tmp_path, encoding):
    assert table(tmp_path, "a,b\n1,\u00e4\n2,\u4e2d\n".encode(encoding)).columns == {"a": ["1", "2"], "b": ["\u00e4", "\u4e2d"]}


def test_a_cell_may_be_a_whole_document(tmp_path):
    long = "word " * 40_000
    assert table(tmp_path, f'text,label\n"{long}",x\n"{long}",y\n').columns["text"] == [long.strip()] * 2


def test_a_list_of_json_objects(tmp_path):
    t = table(tmp_path, json.dumps([{"a": 1, "b": "x"}, {"a": 2}], indent=1), "t.json")
    assert t.columns == {"a": [1, 2], "b": ["x", None]} and list(t.lines) == [1, 2]
    for text, says in (("[{]", "not valid JSON"), ("[1, 2]", "no JSON object"), ("[]", "no columns")):
        with pytest.raises(DataError, match=says):
            table(tmp_path, text, "t.json")


def test_quoted_cells_with_commas_quotes_and_lines(tmp_path):
    t = table(tmp_path, 'a,b\n"x, y","say ""hi"""\n"two\nlines",3\n"",4\n')
    assert t.columns["a"] == ["x, y", "two\nlines", None] and t.columns["b"] == ['say "hi"', "3", "4"]
    assert list(t.lines) == [2, 3, 5]


@pytest.mark.parametrize("text", ["a;b\n1;2\n3;4\n", "a\tb\n1\t2\n3\t4\n", "a,b\r\n1,2\r\n3,4\r\n", "a, b\n1, 2\n\n3 ,4",
                                  "\ufeffa,b\n1,2\n3,4\n", '"a","b"\n"1","2"\n"3","4"\n'])
def test_separators_line_ends_spaces_and_byte_order_mark(tmp_path, text):
    assert table(tmp_path, text).columns == {"a": ["1", "3"], "b": ["2", "4"]}


def test_a_quotation_mark_in_a_tsv_is_text(tmp_path):
    t = table(tmp_path, 'a\tb\n"so it goes\t1\n5" disc\t2\n', "t.tsv")
    assert t.columns["a"] == ['"so it goes', '5" disc']


def test_packed_files(tmp_path):
    assert table(tmp_path, gzip.compress(b"a,b\n1,2\n"), "t.csv.gz").names == ("a", "b")
    assert table(tmp_path, gzip.compress(b"a\tb\n1\t2\n"), "t.tsv.gz").names == ("a", "b")


@pytest.mark.parametrize(("text", "has"), [
    ("39, State-gov, <=50K\n50, Private, >50K\n", False),       # a number in the first row
    ("age, work, income\n50, Private, >50K\n", True),           # text above numbers
    ("text,label\nred,a\nblue,b\n", True),                      # a usual name
    ("colour,size\nred,big\nblue,small\n", True),               # unlike what is below
    ("red,big\nblue,small\nred,small\n", False),                # like what is below
    ("red,?\nblue,small\n", False), ("a,a\n1,2\n", False),
])
def test_whether_there_is_a_header(tmp_path, text, has):
    t = table(tmp_path, text)
    assert ("names the columns" in t.notes[0]) is has
    assert (t.names[0] == "c1") is not has


def test_the_header_can_be_told(tmp_path):
    assert table(tmp_path, "1,2\n3,4\n", header=True).names == ("1", "2")
    assert len(table(tmp_path, "a,b\n3,4\n", header=False)) == 2
    assert table(tmp_path, "2019,x\n2020,y\n", known=["x"]).names == ("2019", "x")


def test_jsonl(tmp_path):
    t = table(tmp_path, '{"a": 1, "b": "x"}\n\n{"a": 2.5, "c": true}\n{"b": null, "a": "?"}\n', "t.jsonl")
    assert t.columns == {"a": [1, 2.5, None], "b": ["x", None, None], "c": [None, True, None]}
    assert list(t.lines) == [1, 3, 4]


@pytest.mark.parametrize(("text", "names"), [("a,b\n1,2\n", ("a", "b")), ("a\tb\n1\t2\n", ("a", "b")), ('{"a": 1}\n', ("a",))])
def test_standard_input(monkeypatch, text, names):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert read_table("-").names == names


REFUSED = {
    "empty": ("", "is empty"), "blank": ("\n \n", "is empty"), "only a header": ("a,b\n", "no rows"),
    "short row": ("a,b\n1,2\n3\n4,5\n", "row 3"), "long row": ("a,b\n1,2,3\n", "row 2"),
    "open quote": ('a,b\n1,"2\n3,4\n', "row 2"), "text behind a quote": ('a,b\n1,"2"x\n', "row 2"),
    "same names": ("a,b,a\nx,y,z\nu,v,w\n", None), "no name": ("a,,label\n1,2,3\n", None),
    "not UTF-8": (b"a,b\n1,caf\xe9\n", "row 2"), "UTF-16 cut": ("a,b\n1,2\n".encode("utf-16")[:-1], "UTF-8"),
}


@pytest.mark.parametrize(("text", "where"), REFUSED.values(), ids=REFUSED.keys())
def test_malformed_csv_is_refused_with_its_row(tmp_path, text, where):
    with pytest.raises(DataError, match=r"t\.csv") as caught:
        table(tmp_path, text, header=True if where is None else None)
    assert where is None or where in str(caught.value)


@pytest.mark.parametrize("line", ["{", "[1]", '{"a": [1]}', '{"a": {"b": 1}}', "[" * 100_000, '{"a": 1} x'])
def test_malformed_jsonl_is_refused_with_its_row(tmp_path, line):
    with pytest.raises(DataError, match=r"t\.jsonl, row 2"):
        table(tmp_path, '{"a": 1}\n' + line + "\n", "t.jsonl")


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "missing.csv", tmp_path):
        with pytest.raises(DataError, match=str(tmp_path)):
            read_table(path)


# ---- answers ---------------------------------------------------------------------------------------------------------

def test_the_column_of_answers(tmp_path):
    t = table(tmp_path, "a,b,label\n1,2,x\n3,4,y\n")
    for name in ("", "label"):
        rest, label, cells = answers(t, name)
        assert (rest.names, label, cells) == (("a", "b"), "label", ["x", "y"])
    assert answers(t, "a")[2] == ["1", "3"]


def test_a_column_of_answers_that_is_not_there_lists_those_that_are(tmp_path):
    with pytest.raises(DataError, match=r"no column 'nope'\n[^$]*a, b, label"):
        answers(table(tmp_path, "a,b,label\n1,2,x\n"), "nope")
    with pytest.raises(DataError, match="label, category, class, target, intent"):
        answers(table(tmp_path, "a,b\n1,2\n"))
    with pytest.raises(DataError, match="two columns"):
        answers(table(tmp_path, "label,target\n1,2\n"))
    with pytest.raises(DataError, match="row 3"):
        answers(table(tmp_path, "a,label\n1,x\n2,?\n"))
    with pytest.raises(DataError, match="no column but"):
        answers(table(tmp_path, "label\nx\ny\n"))


# ---- memory ----------------------------------------------------------------------------------------------------------

class Frame:
    """What data frames have in common."""

    columns = ("a", "b")

    def __len__(self) -> int:
        return 2

    def __getitem__(self, name):
        return {"a": [1.0, float("nan")], "b": ["x", None]}[name]


@pytest.mark.parametrize("rows", [
    [[1, "x"], [None, "?"]], [(1, "x"), (float("nan"), None)], np.array([[1, "x"], [None, None]], object),
    [{"a": 1, "b": "x"}, {"a": None}], Frame(), np.array([(1, "x"), (np.nan, "")], [("a", "f8"), ("b", "U9")]),
])
def test_rows_in_memory(rows):
    t = as_table(rows, ["a", "b"])
    assert t.columns == {"a": [1, None], "b": ["x", None]} and len(t) == 2


def test_columns_by_name():
    t = as_table({"a": np.arange(3), "b": ["x", None, "z"], "c": (1.5, float("nan"), 2)})
    assert t.columns == {"a": [0, 1, 2], "b": ["x", None, "z"], "c": [1.5, None, 2]} and len(t) == 3
    assert as_table({"a": 1, "b": "x"}).columns == {"a": [1], "b": ["x"]}
    with pytest.raises(DataError, match="different numbers of rows"):
        as_table({"a": [1, 2], "b": [1]})


def test_arrays_of_numbers():
    t = as_table(np.array([[1, 2], [3, 4]], np.int8))
    assert t.names == ("c1", "c2") and t.columns["c2"].tolist() == [2.0, 4.0]
    assert t.take(np.array([1])).columns["c1"].tolist() == [3.0]
    assert len(as_table([], ["a"])) == 0 and as_table({"a": 1}).columns == {"a": [1]}


@pytest.mark.parametrize("rows", [np.zeros(3), np.zeros((2, 2, 2)), np.zeros((2, 2), complex), [1, 2], ["text"], [[1, 2], [3]],
                                  [[1, [2]], [3, 4]], np.zeros((2, 3))], ids=range(8))
def test_what_is_no_table_is_refused(rows):
    with pytest.raises(DataError):
        as_table(rows, ["a", "b"])


def test_json_round_trip_of_cells(tmp_path):
    rows = [{"a": 1, "b": "é"}, {"a": 2, "b": "ß"}]
    assert table(tmp_path, "\n".join(map(json.dumps, rows)), "t.jsonl").columns == {"a": [1, 2], "b": ["é", "ß"]}
