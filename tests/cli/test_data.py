"""`dlcore data`: what it prints, writes and exits with."""
from __future__ import annotations

import functools
import gzip
import hashlib
import http.server
import io
import json
import re
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from dlcore.cli.main import run

ROWS = [(f"the film number {i} was {'good' if i % 2 else 'bad'} indeed", "yes" if i % 2 else "no") for i in range(120)]


class InProcess:
    """The command as `dlcore_command` runs it, without a process of its own."""

    def __init__(self, monkeypatch, capsys):
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, *arguments, code=0, stdin=b""):
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.capsys.readouterr()
        got = run([str(word) for word in arguments])
        out, err = self.capsys.readouterr()
        assert got == code, f"{arguments} exited {got}, not {code}\n{out}\n{err}"
        return SimpleNamespace(stdout=out, stderr=err)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    return InProcess(monkeypatch, capsys)


def test_the_installed_command(dlcore_command, tmp_path):
    write(tmp_path / "train.csv")
    assert "120 rows" in dlcore_command("data", "check", "train.csv").stdout
    assert "DL-D01" in dlcore_command("data", "check", "missing.csv", code=4).stderr


def write(path, rows=ROWS, head="text,label"):
    path.write_text(head + "\n" + "".join(f"{a},{b}\n" for a, b in rows))
    return path


def test_check(command, tmp_path):
    write(tmp_path / "train.csv", ROWS[:100])
    write(tmp_path / "val.csv", [*ROWS[100:], (ROWS[3][0], "no")])
    clean = command("data", "check", "train.csv").stdout
    assert "✓ train: 100 rows of train.csv · text ← 'text'" in clean and "50-50 rows each" in clean
    done = command("data", "check", "train.csv", "--val", "val.csv", code=4)
    assert "✗ DL-D11  1 text appears in train and val with different labels     rows 22" in done.stdout
    assert "val.csv:22  the film number 3 was good indeed  [no]" in \
        command("data", "check", "train.csv", "--val", "val.csv", "--show", 5, code=4).stdout
    report = json.loads(command("data", "check", "train.csv", "--val", "val.csv", "--json", code=4).stdout)
    assert report["errors"] == 2 and {f["code"] for f in report["findings"]} >= {"DL-D11", "DL-D12"}
    assert report["parts"]["train"]["classes"] == {"no": 50, "yes": 50}
    command("data", "check", "missing.csv", code=4)
    command("data", "chekc", "train.csv", code=2)


def test_standard_input_and_packed_files(command, tmp_path):
    text = write(tmp_path / "t.csv").read_bytes()
    assert "120 rows" in command("data", "check", "-", stdin=text).stdout
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text))
    assert "120 rows" in command("data", "check", "t.csv.gz").stdout


def test_show(command, tmp_path, mnist):
    write(tmp_path / "t.csv")
    shown = command("data", "show", "t.csv", "-n", 1).stdout
    assert "label  text, 2 different" in shown and "     2  the film number 0 was bad indeed | no" in shown
    assert json.loads(command("data", "show", mnist, "--json").stdout)["rows"] == {"train": 3000, "test": 1000}


def test_split(command, tmp_path):
    write(tmp_path / "t.csv")
    command("data", "split", "t.csv", "--out", "parts", "--val", 0.2, "--test", 0.1, "--label-col", "label")
    lines = {n: (tmp_path / "parts" / f"{n}.csv").read_text().splitlines() for n in ("train", "val", "test")}
    assert {n: len(found) - 1 for n, found in lines.items()} == {"train": 84, "val": 24, "test": 12}
    assert sum(line.endswith("yes") for line in lines["test"]) == 6
    assert sorted(line for found in lines.values() for line in found[1:]) == sorted(f"{a},{b}" for a, b in ROWS)
    command("data", "split", "t.csv", "--out", "parts", code=74)
    command("data", "split", "t.csv", "--out", "again", "--val", 0.2, "--test", 0.1, "--label-col", "label")
    assert (tmp_path / "again" / "val.csv").read_text() == (tmp_path / "parts" / "val.csv").read_text()
    command("data", "split", "t.csv", "--out", "o", "--val", 0.6, "--test", 0.5, code=2)


def values(path, name):
    return [json.loads(line)[name] for line in path.read_text().splitlines()]


def test_split_by_group_and_by_time(command, tmp_path):
    (tmp_path / "t.jsonl").write_text("".join(json.dumps({"who": f"p{i % 30}", "day": f"2024-01-{i % 28 + 1:02}", "n": i}) + "\n"
                                              for i in range(300)))
    command("data", "split", "t.jsonl", "--out", "g", "--group-col", "who")
    people = [set(values(tmp_path / "g" / f"{name}.jsonl", "who")) for name in ("train", "val", "test")]
    assert all(people) and sum(map(len, people)) == 30
    command("data", "split", "t.jsonl", "--out", "d", "--time-col", "day")
    days = [values(tmp_path / "d" / f"{name}.jsonl", "day") for name in ("train", "val", "test")]
    assert max(days[0]) <= min(days[1]) and max(days[1]) <= min(days[2])


@pytest.mark.parametrize("name", ["t.tsv", "t.jsonl", "t.ft", "t.jsonl.gz", "t.npz"])
def test_convert_and_back(command, tmp_path, name):
    write(tmp_path / "t.csv")
    command("data", "convert", "t.csv", name)
    command("data", "convert", name, "back.csv")
    back = (tmp_path / "back.csv").read_text().splitlines()
    if name == "t.ft":
        back = [re.sub(r"^(\w+),(.*)$", r"\2,\1", line) for line in back]
    assert back == (tmp_path / "t.csv").read_text().splitlines()
    command("data", "convert", "t.csv", name, code=74)


def test_convert_numbers(command, tmp_path):
    (tmp_path / "n.csv").write_text("a,b,label\n1,0,x\n0.5,-2,y\n")
    command("data", "convert", "n.csv", "n.libsvm")
    assert (tmp_path / "n.libsvm").read_text() == "x 1:1\ny 1:0.5 2:-2\n"
    command("data", "convert", "n.csv", "n.npz")
    with np.load(tmp_path / "n.npz") as arrays:
        assert arrays["x"].tolist() == [[1, 0], [0.5, -2]] and arrays["y"].tolist() == ["x", "y"]
    command("data", "convert", "n.csv", "n.xyz", code=2)
    (tmp_path / "tab.csv").write_text('a,label\n"x\ty",z\n')
    command("data", "convert", "tab.csv", "tab.tsv", code=4)


def test_pictures_to_a_cache_that_is_trained_on(command, tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for i in range(20):
            pixels = np.full((9, 9, 3), 40 if label == "cat" else 200, np.uint8) + np.uint8(i)
            Image.fromarray(pixels).save(tmp_path / "photos" / label / f"{i}.png")
    (tmp_path / "photos" / "cat" / "bad.png").write_bytes(b"none")
    command("data", "convert", "photos", "p.cache", "--size", 8, code=4)
    train = ("train", "image-classify", "--epochs", 2, "--batch", 8, "--set", "model.hidden=[8]", "--augment", "flip,crop=1")
    assert "bad.png" in command(*train, "--data", "photos", code=4).stderr
    done = command(*train, "--data", "photos", "--size", 8, "--skip-bad", "--out", "run")
    assert "1 image cannot be read and is left out" in done.stderr and "images of 8x8x3" in done.stderr
    assert "--skip-bad" in command("predict", "run", "photos/cat", code=4).stderr
    done = command("predict", "run", "photos/cat", "--skip-bad")
    assert len(done.stdout.split()) == 20 and "1 image cannot be read and is left out: photos/cat/bad.png" in done.stderr
    done = command("predict", "run", "photos/cat/1.png", "photos/cat/bad.png", "photos/dog/2.png", "--skip-bad")
    assert len(done.stdout.split()) == 2 and "left out: photos/cat/bad.png" in done.stderr
    done = command("predict", "run", "photos/cat/bad.png", "--skip-bad", code=4)
    assert "no picture can be read" in done.stderr and not done.stdout
    assert "no such file" in command("predict", "run", "photos/cat/none.png", "--skip-bad", code=4).stderr
    (tmp_path / "photos" / "cat" / "bad.png").unlink()
    command("data", "convert", "photos", "p.cache", "--size", 8)
    assert "mapped from p.cache" in command(*train, "--data", "p.cache", "--out", "run2").stderr
    command("evaluate", "run2", "photos")


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves ranges, and cuts the first answer short."""

    cut: set[str] = set()

    def do_GET(self):
        data = b"x" * 50_000 + b"end"
        begin = int(match[1]) if (match := re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))) else 0
        if not self.path.startswith("/good"):
            self.send_error(404)
            return
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(data) - begin))
        self.end_headers()
        stop = 20_000 if self.path not in self.cut and self.path.endswith("cut") else len(data)
        self.cut.add(self.path)
        self.wfile.write(data[begin:stop])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def address(tmp_path):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_get(command, tmp_path, address):
    data = b"x" * 50_000 + b"end"
    digest = hashlib.sha256(data).hexdigest()
    report = json.loads(command("data", "get", f"{address}/good", "--sha256", digest, "--json").stdout)
    assert report == {"path": "good", "bytes": 50_003, "sha256": digest, "was_there": False}
    assert "(was there)" in command("data", "get", f"{address}/good", "--offline").stdout
    command("data", "get", f"{address}/good", "--sha256", "0" * 64, code=4)
    assert (tmp_path / "good").read_bytes() == data
    assert "another digest" in command("data", "get", f"{address}/good", "-o", "b", "--sha256", "0" * 64, code=4).stderr
    assert not (tmp_path / "b").exists() and not (tmp_path / "b.part").exists()
    command("data", "get", f"{address}/missing", code=4)
    command("data", "get", f"{address}/good", "-o", "c", "--offline", code=4)
    command("data", "get", "nonsense", code=2)
    command("data", "get", f"{address}/good", "--sha256", "12", code=2)


def test_get_goes_on_where_it_was_cut(command, tmp_path, address):
    assert "cut" in command("data", "get", f"{address}/good-cut", code=4).stderr
    assert (tmp_path / "good-cut.part").stat().st_size == 20_000 and not (tmp_path / "good-cut").exists()
    command("data", "get", f"{address}/good-cut")
    assert (tmp_path / "good-cut").read_bytes() == b"x" * 50_000 + b"end"


def test_profile_shows_how_long_steps_waited(command, mnist):
    command("train", "image-classify", "--data", mnist, "--epochs", 1, "--set", "model.hidden=[8]", "--out", "run")
    before = hashlib.sha256(open("run/model.dlc", "rb").read()).hexdigest()
    profile = ("profile", "run", "--train", "--data", mnist, "--repeats", 5)
    times = json.loads(command(*profile, "--augment", "crop,mixup", "--json").stdout)["loader"]
    assert times["steps"] == 5 and times["step"] > 0 and 0 <= times["share"] <= 1 and times["made"] > 0
    assert "loader: over 5 steps of" in command(*profile, "--augment", "flip").stdout
    assert "loader: none" in command(*profile).stdout
    assert hashlib.sha256(open("run/model.dlc", "rb").read()).hexdigest() == before
    command("profile", "run", "--data", mnist, code=2)
    command("profile", "run", "--train", "--augment", "flip", code=2)
