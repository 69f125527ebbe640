"""What users get wrong: a message of one screen with a code, what, where, expected, got, remedy; never a traceback.

Every line of the table is run in this process, in a folder of its own files; a command that fails leaves them as they were.
"""

from __future__ import annotations

import csv
import gzip
import os
import re
import shutil
import zipfile

import numpy as np
import pytest

ROWS = [(f"{a:.3f}", f"{b:.3f}", f"g{i % 5}", f"2020-01-{1 + i % 28:02}", "yes" if a + b > 0 else "no")
        for i, (a, b) in enumerate(np.random.default_rng(0).standard_normal((60, 2)))]
NAMES = ("a", "b", "g", "day", "label")
TABLES = {
    "empty.csv": "",
    "header.csv": "a,b,label\n",
    "one.csv": "a,label\n1,x\n2,x\n",
    "nolabel.csv": "a,b,c\n1,2,3\n4,5,6\n",
    "twolabels.csv": "a,label,class\n1,x,y\n2,y,x\n",
    "short.csv": "a,b,label\n1,2,x\n3,y\n",
    "long.csv": "a,b,label\n1,2,x\n3,4,y,z\n",
    "twice.csv": "a,a,label\n1,2,x\n3,4,y\n",
    "noname.csv": "a,,label\n1,2,x\n3,4,y\n",
    "missing.csv": "a,label\n1,x\n2,\n3,y\n",
    "quote.csv": 'a,label\n"1,x\n2,y\n',
    "bad.jsonl": '{"a": 1, "label": "x"}\n{"a": 2, "label": }\n',
    "list.jsonl": '{"a": 1, "label": "x"}\n[1, 2]\n',
    "nested.jsonl": '{"a": [1], "label": "x"}\n{"a": [2], "label": "y"}\n',
    "nohead.csv": "1,2,x\n3,4,y\n",
    "only.csv": "label\nx\ny\n",
    "inf.csv": "a,label\n1,x\n1e999,y\n2,x\n",
    "constant.csv": "a,label\n1,x\n1,y\n1,x\n",
    "gap.csv": "a,when,label\n" + "1,2020-01-01,x\n2,,y\n" * 20,
    "unknown.csv": "a,b,g,day,label\n1,2,g0,2020-01-01,perhaps\n",
    "bare.csv": "a,b,g,day\n1,2,g0,2020-01-01\n",
    "fewer.csv": "a,g,day\n1,g0,2020-01-01\n",
    "words.csv": "a,b,g,day\n1,two,g0,2020-01-01\n",
    "broken.toml": 'task = "tabular"\n[data\ntrain = 1\n',
    "notask.toml": '[data]\ntrain = "t.csv"\n',
    "othertask.toml": 'task = "tabluar"\n[data]\ntrain = "t.csv"\n',
    "many.toml": 'task = "tabular"\n[data]\ntrain = "t.csv"\nval-split = 2.0\n'
    '[train]\nlr = -1.0\nepohcs = 3\n[modle]\nhidden = [8]\n',
    "nodata.toml": 'task = "tabular"\n[train]\nepochs = 1\n',
    "nosection.toml": 'task = "tabular"\nepochs = 3\n[data]\ntrain = "t.csv"\n',
    "typed.toml": 'task = "tabular"\n[data]\ntrain = 5\nlabel-col = true\n',
}
TRAIN = "train tabular --data t.csv --epochs 1 "


# words after `dlcore` | exit code | what the message must say, all of it
MISTAKES = """
trian tabular | 2 | no verb named 'trian'; did you mean 'train'
--versoin | 2 | No such option; --version
train | 2 | more words are needed; dlcore train [OPTIONS] TASK; --help
train tabluar --data t.csv | 2 | no task named 'tabluar'; did you mean 'tabular'
train tabular | 2 | no training data; --data PATH
train tabular t.csv | 2 | unexpected extra argument; t.csv
TRAIN --epohcs 3 | 2 | No such option; --epochs
TRAIN \u2014lr 1 | 2 | typographic dash; begin with --; did you mean '--lr'
TRAIN \u2013lr 1 | 2 | typographic dash
train tabular --data t.csv --epochs many | 2 | --epochs; 'many' is not a whole number
train tabular --data t.csv --epochs 0 | 2 | --epochs; '0' is not a whole number from 1
train tabular --data t.csv --epochs 1.5 | 2 | --epochs; '1.5' is not a whole number
TRAIN --batch -1 | 2 | --batch; not a whole number from
TRAIN --lr nan | 2 | --lr; nan is not a finite number above 0
TRAIN --lr 0 | 2 | --lr; above 0
TRAIN --lr fast | 2 | --lr; 'fast' is not a number
TRAIN --lr 1,5 | 2 | --lr; '1,5' is not a number
TRAIN --val-split 1.5 | 2 | --val-split; below 1
TRAIN --optimizer adma | 2 | --optimizer; 'adma'; adam
TRAIN --seed -1 | 2 | --seed; not a whole number from
TRAIN --seed abc | 2 | --seed; not a whole number
TRAIN --arch mpl | 2 | no architecture named 'mpl'; mlp; did you mean
TRAIN --preset fast | 2 | no preset named 'fast'; this task has no presets
TRAIN --threads 0 | 2 | --threads; not a whole number from
TRAIN --device gpu | 2 | --device; 'gpu'; cuda
TRAIN --device cuda | 7 | no CUDA device can be used; --device cpu
TRAIN --folds 1 | 2 | --folds; not a whole number from
TRAIN --folds 3 --fold-kind kfold | 2 | --fold-kind; 'kfold'; stratified
TRAIN --folds 3 --jobs 0 | 2 | --jobs; not a whole number from
TRAIN --max-time soon | 2 | --max-time; 'soon' is no length of time; 10m
TRAIN --dry-run --overfit 1 | 2 | exclude each other
TRAIN --dry-run --require accuracy>=1 | 2 | a dry run measures no quality; leave out
TRAIN --overfit 0 | 2 | --overfit; not a whole number from
TRAIN --require accuracy | 2 | METRIC>=NUMBER; got
TRAIN --require accuracy>=high | 2 | needs a number; accuracy>=high
TRAIN --out full | 2 | the run folder exists and is not empty; nothing was written over; choose another --out
TRAIN --out t.csv | 2 | taken by a file; choose another --out
TRAIN --data | 2 | --data; requires an argument
TRAIN --text-col a | 2 | a table has no column of text; leave out --text-col
train image-classify --data pictures --label-col a | 2 | images have no columns; leave out
TRAIN --set epochs=3 | 3 | epochs=3; section.key=value is expected
TRAIN --set trian.lr=1 | 3 | trian.lr; unknown section; did you mean train.lr?
TRAIN --set train.lrr=1 | 3 | train.lrr; unknown key; did you mean train.lr?
TRAIN --set train.lr=fast | 3 | train.lr = "fast"; must be a number
TRAIN --set train.lr=-1 | 3 | train.lr = -1; must be above 0
TRAIN --set train.lr=inf | 3 | train.lr; must be a finite number
TRAIN --set train.epochs=1.5 | 3 | train.epochs = 1.5; must be a whole number
TRAIN --set train.epochs=true | 3 | train.epochs = true; must be a whole number
TRAIN --set model.hidden=64 | 3 | model.hidden = 64; must be a list, such as [64, 32]
TRAIN --set model.hidden=[64,0] | 3 | model.hidden = [64, 0]; item 2 must be at least 1
TRAIN --set model.hidden=["a"] | 3 | model.hidden; item 1 must be a whole number
TRAIN --set model.dropout=1 | 3 | model.dropout = 1; must be below 1
TRAIN --set train.schedule=cosin | 3 | train.schedule = "cosin"; must be one of; did you mean cosine?
TRAIN --set train.hidden=[8] | 3 | train.hidden; unknown key; did you mean model.hidden?
TRAIN --set model.answers=maybe | 3 | answers; 'maybe'; auto, labels, numbers
TRAIN --set data.folds=1 | 3 | data.folds = 1; must be 0, or at least 2
TRAIN --group g | 3 | --group; data.group; needs data.folds
TRAIN --time-order day | 3 | --time-order; needs data.folds
TRAIN --folds 3 --fold-kind group | 3 | --fold-kind; needs data.group
TRAIN --folds 3 --group g --time-order day | 3 | does not go with data.group
TRAIN --folds 3 --fold-kind time --group g | 3 | does not go with folds of kind time
train nosuch.toml | 3 | no such configuration file; nosuch.toml; did you mean
train mny.toml | 3 | no such configuration file; did you mean 'many.toml'
train broken.toml | 3 | cannot be read; broken.toml; line 2
train latin1.toml | 3 | cannot be read; latin1.toml
train notask.toml | 2 | names no task; notask.toml; task = "tabular"
train othertask.toml | 2 | no task named 'tabluar'; did you mean 'tabular'
train nodata.toml | 2 | no training data; --data PATH
train nosection.toml | 3 | nosection.toml:2; epochs; stands in no section
train typed.toml | 3 | 2 problems; typed.toml:3; must be text; typed.toml:4
train many.toml | 3 | 4 problems; many.toml:4; must be below 1; many.toml:6; must be above 0; many.toml:7; train.epochs; many.toml:9
config check many.toml | 3 | 4 problems; many.toml:4
config show nosuch | 2 | no task named 'nosuch'; tabular
config init tabular -o t.csv | 2 | the output file exists; nothing was written over; t.csv
config chekc many.toml | 2 | No such command 'chekc'
completion tcsh | 2 | 'tcsh'; bash
train tabular --data nosuch.csv | 4 | nosuch.csv; no such file
train tabular --data onne.csv | 4 | no such file; did you mean 'one.csv'
train tabular --data no/such.csv | 4 | no such file; there is no folder 'no'
train tabular --data full | 4 | full; this is a folder, and a file
train tabular --data empty.csv | 4 | the file is empty; empty.csv
train tabular --data header.csv | 4 | a header and no rows; header.csv
train tabular --data one.csv | 4 | only one class; one.csv; label x
TRAIN --label-col nope | 4 | there is no column 'nope'; t.csv; a, b, g, day, label
TRAIN --label-col lable | 4 | there is no column 'lable'; did you mean 'label'
train tabular --data nohead.csv --label-col answer | 4 | there is no column 'answer'; the first row was not taken for names; c1
TRAIN --init nosuch | 4 | no such model file, file of weights or run folder; nosuch
TRAIN --freeze dens | 3 | no layer to freeze matches; dense; 'dens'
train tabular --data nolabel.csv | 4 | no column is called as answers usually are; a, b, c; --label-col
train tabular --data twolabels.csv | 4 | two columns could be the answers; label, class; --label-col
train tabular --data short.csv | 4 | a row is too short; short.csv, row 3; 3 cells; 2
train tabular --data long.csv | 4 | a row is too long; long.csv, row 3; 3 cells; 4
train tabular --data latin1.csv | 4 | not UTF-8; latin1.csv, row 2; iconv
train tabular --data twice.csv --label-col label | 4 | two columns have the same name; twice.csv, row 1; a
train tabular --data noname.csv --label-col label | 4 | a column has no name; noname.csv, row 1
train tabular --data missing.csv | 4 | an answer is missing; missing.csv, row 3, column 'label'
train tabular --data quote.csv | 4 | a row is malformed; quote.csv; quoted
train tabular --data bad.jsonl | 4 | not valid JSON; bad.jsonl, row 2
train tabular --data list.jsonl | 4 | no JSON object; list.jsonl, row 2
train tabular --data nested.jsonl | 4 | neither text nor a number; nested.jsonl, row 1, column 'a'; list
train tabular --data only.csv | 4 | no column but the answers; only.csv
train tabular --data inf.csv | 4 | infinite or too large; inf.csv, row 3, column 'a'
train tabular --data constant.csv | 4 | no column has anything to learn from; constant.csv; all values are equal
train tabular --data cut.csv.gz | 4 | cut.csv.gz; gz
train tabular --data t.dlc | 4 | t.dlc
TRAIN --test bare.csv | 4 | no column; bare.csv
TRAIN --test unknown.csv | 4 | a label is none of those; unknown.csv, row 2, column 'label'; perhaps; no, yes
TRAIN --test nosuch.csv | 4 | no such file; nosuch.csv
TRAIN --folds 3 --group nope | 4 | there is no column 'nope'; --group; a, b, g, day
TRAIN --folds 3 --group label | 4 | names the column of the answers; --group
TRAIN --folds 9 --group g | 4 | 9 folds need at least as many groups; 5 groups; fewer folds
TRAIN --folds 50 | 4 | 50 folds; fewer folds
train tabular --data gap.csv --folds 3 --time-order when | 4 | a time is missing; gap.csv, column 'when', row 2; leave the row out
train image-classify --data pictures --folds 2 --group g | 4 | no table; --group
train image-classify --data t.csv | 4 | t.csv
train image-classify --data hollow | 4 | hollow
train image-classify --data single | 4 | single
train image-classify --data pixels | 4 | pixels
train image-classify --data cut | 4 | train-images-idx3-ubyte
train image-classify --data uneven | 4 | 3; 2
train image-classify --data notfinite.npz | 4 | not a finite number; notfinite.npz, x, image 2
train image-classify --data onehot.npz | 4 | do not fit together; onehot.npz, y; y.argmax(axis=1)
train image-classify --data flat.npz | 4 | these are not images; flat.npz; x.reshape(-1, height, width)
train image-classify --data objects.npz | 4 | holds Python objects; objects.npz; y.astype(str)
train image-classify --data noarrays.npz | 4 | noarrays.npz
train tabular --data t.csv --lr 1e30 --epochs 3 | 5 | diverged; step; smaller learning rate
predict nosuch t.csv | 4 | no such model file; nosuch
predict junk.dlc t.csv | 4 | junk.dlc
predict cut.dlc t.csv | 4 | cut.dlc
predict flipped.dlc t.csv | 4 | flipped.dlc; digest
predict t.csv t.csv | 4 | t.csv
predict begun t.csv | 4 | no model yet; begun
predict run nosuch.csv | 4 | no such file; nosuch.csv
predict run fewer.csv | 4 | no column 'b'; fewer.csv; a, b
predict run words.csv | 4 | no number; words.csv, row 2, column 'b'; two
predict run empty.csv | 4 | the file is empty; empty.csv
predict run t.csv --proba --top-k 2 | 2 | exclude each other
predict run t.csv --top-k 0 | 2 | --top-k; not a whole number from
predict numbers t.csv --proba | 2 | no probabilities; --proba
predict run t.csv -o t.csv | 2 | the output file exists; nothing was written over; t.csv
predict run t.csv -o no/such/place.csv | 74 | could not be written; no/such/place.csv
evaluate run | 2 | Missing argument 'DATA'
evaluate run bare.csv | 4 | no column 'label'; bare.csv
evaluate run unknown.csv | 4 | a label is none of those; unknown.csv, row 2, column 'label'; perhaps; no, yes
evaluate run t.csv --require accuracy>=2 | 6 | a required quality was missed; accuracy; >= 2
evaluate run t.csv --require acuracy>=0.5 | 2 | unknown metric 'acuracy'; accuracy
evaluate run t.csv --by nope | 2 | nope
evaluate run t.csv --threshold maybe | 2 | --threshold; 'maybe'
evaluate run t.csv --worst 0 | 2 | --worst
resume nosuch | 2 | no such run folder; nosuch; config.toml and run.lock
resume t.csv | 2 | no run folder; t.csv; config.toml and run.lock
resume begun | 2 | names no task; begun/config.toml; task = "tabular"
resume changed | 3 | the configuration was changed since the run began; changed/config.toml; put it back
resume stale --epochs +1 | 4 | d.csv; sha256
resume run --epochs 0 | 2 | fewer epochs; at least 1; 0
resume run --epochs many | 2 | --epochs; many; +5
runs lsit | 2 | No such command 'lsit'
runs list t.csv | 4 | t.csv
runs list . --sort acuracy | 2 | acuracy
runs compare run nosuch | 4 | no run folder; nosuch
runs compare | 2 | Missing argument
runs plot run -o t.csv | 2 | the output file exists; nothing was written over; t.csv
runs plot run --metric acuracy -o c.html | 2 | acuracy
runs plot run | 2 | Missing option '-o'
runs verify nosuch | 4 | no run folder; nosuch
runs verify stale | 4 | d.csv; sha256
runs tensorboard run -o full | 2 | not empty; full
runs clean . --keep -1 | 2 | --keep; '-1' is not a whole number from 0
TRAIN --accumulate 0 | 2 | --accumulate; '0' is not a whole number from 1
TRAIN --log-every 0 | 2 | --log-every; '0' is not a whole number from 1
TRAIN --monitor val_acuracy | 3 | no metric of an epoch is called 'val_acuracy'; did you mean 'val_accuracy'
data check nosuch.csv | 4 | no such file; nosuch.csv
data check empty.csv | 4 | the file is empty
data split t.csv --val 2 --out parts | 2 | --val; below 1
data convert t.csv n.csv | 74 | not overwritten; n.csv; choose another name
data convert t.csv t.xls | 2 | t.xls
data show nosuch | 4 | no such file or folder; nosuch
data chekc t.csv | 2 | 'chekc'; 'check'
export run --to pdf -o x | 2 | 'pdf'; c
export run --to c -o t.csv | 2 | t.csv; exists
export run --to c | 2 | Missing option '-o'
info nosuch | 4 | no such model file; nosuch
profile run --batch 0 | 2 | --batch; not a whole number from
tune tabular | 2 | no training data
tune tabular --data - | 2 | reads its data more than once; --data -
tune tabular --data t.csv --max-size big | 2 | --max-size; 'big' is no size; 2M
tune tabular --data t.csv --workers 0 | 2 | --workers; not a whole number from
tune tabular --data t.csv --space train.lr | 2 | --space train.lr; cannot be read; 1e-4..1e-2:log
tune tabular --data t.csv --space train.lr=1..0 | 2 | the range is empty; 1..0
tune tabular --data t.csv --metric acuracy | 2 | no metric is called 'acuracy'; --metric; val_accuracy
tune tabular --data t.csv --space train.lrr=1e-4..1e-2 | 3 | train.lrr; unknown key; did you mean train.lr?
tune tabular --data t.csv --set data.folds=3 | 2 | not on folds; data.folds
"""


def table():
    for line in MISTAKES.strip().splitlines():
        words, code, says = (part.strip() for part in line.split(" | "))
        yield pytest.param(words.replace("TRAIN", TRAIN).split(), int(code), says.split("; "), id=words)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with good and bad files, a finished run, one of a regression, and one that has no model yet."""
    folder = tmp_path_factory.mktemp("mistakes")
    for name, text in TABLES.items():
        (folder / name).write_text(text)
    for name, columns in (("t.csv", slice(0, 5)), ("n.csv", slice(0, 2))):
        with (folder / name).open("w", newline="") as file:
            csv.writer(file).writerows([NAMES[columns], *[row[columns] for row in ROWS]])
    (folder / "cut.csv.gz").write_bytes(gzip.compress((folder / "t.csv").read_bytes())[:200])
    (folder / "latin1.csv").write_bytes("a,label\nä,x\nb,y\n".encode("latin-1"))
    (folder / "latin1.toml").write_bytes('task = "tabular" # ä\n'.encode("latin-1"))
    for name in ("full", "hollow", "begun", "single/only", "pixels/a", "pixels/b", "pictures/a", "pictures/b"):
        (folder / name).mkdir(parents=True)
    (folder / "full" / "mine.txt").write_text("mine")
    (folder / "begun" / "run.lock").write_text("")
    (folder / "begun" / "config.toml").write_text("")
    _pictures(folder)
    _idx(folder)
    np.savez(folder / "noarrays.npz", a=np.zeros(3))
    images, labels = np.zeros((4, 5, 5), np.float32), np.arange(4)
    np.savez(folder / "notfinite.npz", x=np.where(np.arange(4)[:, None, None] == 1, np.nan, images), y=labels)
    np.savez(folder / "onehot.npz", x=images, y=np.eye(4))
    np.savez(folder / "flat.npz", x=images.reshape(4, 25), y=labels)
    np.savez(folder / "objects.npz", x=images, y=np.array(["a", "b", "a", "b"], object))
    (folder / "junk.dlc").write_bytes(np.random.default_rng(0).bytes(1000))
    before = os.getcwd()
    os.chdir(folder)
    try:
        from dlcore.cli.main import run

        for words in (f"{TRAIN} --out run -q", "train tabular --data n.csv --label-col b --epochs 1 --out numbers -q"):
            assert run(words.split()) == 0
        shutil.copy("t.csv", "d.csv")
        assert run(f"{TRAIN} --data d.csv --out stale -q".split()) == 0
    finally:
        os.chdir(before)
    with (folder / "d.csv").open("a") as file:
        file.write("1,2,g0,2020-01-01,yes\n")
    shutil.copytree(folder / "run", folder / "changed")
    config = (folder / "changed" / "config.toml").read_text()
    (folder / "changed" / "config.toml").write_text(config.replace("\nlr = ", "\nlr = 1"))
    data = bytearray((folder / "run" / "model.dlc").read_bytes())
    (folder / "cut.dlc").write_bytes(data[: len(data) // 2])
    data[len(data) // 3] ^= 1
    (folder / "flipped.dlc").write_bytes(data)
    shutil.copy(folder / "run" / "model.dlc", folder / "t.dlc")
    return folder


def _pictures(folder):
    from PIL import Image

    for name in (
        "single/only/1.png", "single/only/2.png", "pictures/a/1.png", "pictures/a/2.png", "pictures/b/1.png",
        "pictures/b/2.png", "pixels/a/1.png",
    ):
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / name)
    (folder / "pixels/b/1.png").write_bytes((folder / "pictures/a/1.png").read_bytes()[:40])


def _idx(folder):
    """idx files: `cut` ends in the middle of an image, `uneven` has three images and two labels."""
    images = bytes([0, 0, 8, 3]) + b"".join(n.to_bytes(4) for n in (3, 4, 4)) + bytes(48)
    labels = {count: bytes([0, 0, 8, 1]) + count.to_bytes(4) + bytes(range(count)) for count in (2, 3)}
    for name, pixels, count in (("cut", images[:40], 3), ("uneven", images, 2)):
        (folder / name).mkdir()
        (folder / name / "train-images-idx3-ubyte").write_bytes(pixels)
        (folder / name / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(labels[count]))


def contents(folder):
    """Every file with its size and time, but for the page about a run, which an evaluation may renew."""
    files = [path for path in folder.rglob("*") if path.name != "report.html"]
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None for path in files}


def message(text: str) -> str:
    """The error, without the progress before it."""
    found = re.search(r"^(DL-[A-Z]\d\d  |Usage: )", text, re.MULTILINE)
    assert found, f"no message with a code:\n{text}"
    return text[found.start():]


@pytest.mark.parametrize(("words", "code", "says"), list(table()))
def test_a_mistake_gets_a_message_with_a_remedy(place, words, code, says, capsys, monkeypatch):
    from dlcore.cli.main import run

    monkeypatch.chdir(place)
    before = contents(place)
    if code == 5:
        words = [*words, "--out", "diverged"]
    got = run(list(words))
    out, err = capsys.readouterr()
    text = message(err)
    shutil.rmtree(place / "diverged", ignore_errors=True)
    assert got == code, text
    assert "Traceback" not in out + err and (out == "" or words[0] == "evaluate")
    for part in says:
        assert part in text, f"{part!r} is not in\n{text}"
    lines = text.splitlines()
    assert len(lines) <= 24 and len(text) <= 2000 and len(lines[0]) <= 240
    # beside what happened: a remedy, or what was expected
    assert re.search(r"^  (hint|expected) |must|needs|does not go|did you mean|stands in no|is expected", text, re.MULTILINE), text
    assert contents(place) == before


def test_the_table_has_a_hundred_mistakes_and_every_exit_code():
    rows = list(table())
    assert len(rows) >= 100 and len({row.id for row in rows}) == len(rows)
    assert {row.values[1] for row in rows} == {2, 3, 4, 5, 6, 7, 74}


def test_a_model_without_its_parts_is_refused(place, capsys, monkeypatch, tmp_path):
    """Each entry of a model file in turn left out."""
    from dlcore.cli.main import run

    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(place / "run" / "model.dlc") as whole:
        names = [name for name in whole.namelist() if name != "README.md"]
        for lost in names:
            with zipfile.ZipFile("m.dlc", "w") as part:
                for name in names:
                    if name != lost:
                        part.writestr(name, whole.read(name))
            assert run(["predict", "m.dlc", str(place / "t.csv")]) == 4
            assert "Traceback" not in capsys.readouterr().err
