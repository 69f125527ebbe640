"""`dlcore resume`: runs that were killed, stopped, finished, changed, or met a full disk."""

import csv
import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from conftest import DATA

NAMES = (
    "age,workclass,fnlwgt,education,education-num,marital-status,occupation,relationship,race,sex,capital-gain,capital-loss,"
    "hours-per-week,native-country,income"
).split(",")


@pytest.fixture(scope="session")
def table(tmp_path_factory):
    """300 rows of the UCI Adult data with a header."""
    path = tmp_path_factory.mktemp("table") / "adult.csv"
    rows = [[cell.strip() for cell in row] for row in csv.reader((DATA / "tabular" / "adult_300.csv").open()) if row]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([NAMES, *rows])
    return path


def words(table, out, *more):
    return ("train", "tabular", "--data", table, "--label-col", "income", "--epochs", 4, "--out", out, *more)


def test_fifty_kills_change_no_byte(table, tmp_path):
    script = Path(__file__).with_name("killing.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, script, table], cwd=tmp_path, capture_output=True, text=True, timeout=500,
                          env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout)
    assert seen["without checkpoint"] >= 2 and seen["half written"] >= 5, seen       # calls that are always met
    assert seen["resumed"] + seen["early"] >= 40, seen


@pytest.fixture
def stopped(table, dlcore_command):
    """A run that was stopped by a signal while it trained."""
    out = dlcore_command.folder / "r"
    process = subprocess.Popen([*dlcore_command.words, *map(str, words(table, out, "--epochs", 100000, "--save-every", 5))],
                               cwd=dlcore_command.folder, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 120
    while not (out / "ckpt" / "last").exists() and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    return out


def test_a_finished_run_stays_as_it_is(table, dlcore_command):
    first = json.loads(dlcore_command(*words(table, "r", "--json")).stdout)
    model = dlcore_command.folder / "r" / "model.dlc"
    before = model.read_bytes(), model.stat().st_mtime_ns
    done = dlcore_command("resume", "r", "--json")
    assert json.loads(done.stdout)["metrics"] == first["metrics"] and "has ended" in done.stderr
    assert (model.read_bytes(), model.stat().st_mtime_ns) == before


def test_more_epochs(table, dlcore_command):
    dlcore_command(*words(table, "r", "-q", "--set", "train.schedule=constant"))
    report = json.loads(dlcore_command("resume", "r", "--epochs", "+2", "--json").stdout)
    dlcore_command(*words(table, "six", "-q", "--set", "train.schedule=constant", "--epochs", 6))
    folder = dlcore_command.folder
    assert report["epochs"] == 6 and (folder / "r/model.dlc").read_bytes() != b""
    assert tomllib.loads((folder / "r/config.toml").read_text())["train"]["epochs"] == 6
    rows = [json.loads(line) for line in (folder / "r/metrics.jsonl").read_text().splitlines()]
    more = [json.loads(line) for line in (folder / "six/metrics.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [row["loss"] for row in more]
    for wrong in ("2", "two", "+x"):
        dlcore_command("resume", "r", "--epochs", wrong, code=2)


def test_a_stopped_run_says_how_to_go_on_and_goes_on(stopped, dlcore_command):
    config = stopped / "config.toml"
    config.write_text(config.read_text().replace("epochs = 100000", "epochs = 3"))
    state = (stopped / "ckpt" / "last").read_bytes()
    assert b'"interrupted"' not in state
    report = json.loads(dlcore_command("resume", stopped, "--threads", 1, "--json").stdout)
    assert report["epochs"] >= 3 and (stopped / "model.dlc").exists()


def test_what_was_changed_is_named(stopped, table, dlcore_command):
    before = {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file()}
    config = stopped / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("dropout = 0.2", "dropout = 0.3"))
    err = dlcore_command("resume", stopped, code=3).stderr
    assert "configuration was changed" in err
    assert "expected  model.dropout = 0.2\n" in err and "got       model.dropout = 0.3\n" in err
    config.write_text(text)
    other = dlcore_command.folder / "other.csv"
    other.write_text(table.read_text().replace("39,", "40,", 1))
    config.write_text(text.replace(str(table), str(other)))
    err = dlcore_command("resume", stopped, code=4).stderr
    assert "data has changed" in err and "Traceback" not in err
    config.write_text(text)
    lock = stopped / "run.lock"
    lock.write_text(lock.read_text().replace('dlcore = "', 'dlcore = "9.'))
    assert "another version" in dlcore_command("resume", stopped, code=7).stderr
    lock.write_bytes(before[lock])
    assert {p: p.read_bytes() for p in stopped.rglob("*") if p.is_file() and p.name != "log.txt"} == {
        p: content for p, content in before.items() if p.name != "log.txt"}


def test_paths_are_those_of_the_folder_that_the_run_began_in(table, dlcore_command):
    """Data and the model to begin with, named by relative paths; resumed and verified from another folder."""
    here = dlcore_command.folder
    (here / "t.csv").write_text(table.read_text())
    dlcore_command(*words("t.csv", "first", "--epochs", 1))
    dlcore_command(*words("t.csv", "second", "--epochs", 1, "--init", "first"))
    lock = tomllib.loads((here / "second" / "run.lock").read_text())
    assert list(lock["data"]) == ["t.csv", "first/model.dlc"]
    (here / "elsewhere").mkdir()
    dlcore_command.folder = here / "elsewhere"
    dlcore_command("resume", "../second", "--epochs", "+1")
    assert "the same bits" in dlcore_command("runs", "verify", "../first").stdout
    (here / "first" / "model.dlc").write_bytes((here / "second" / "model.dlc").read_bytes())
    assert "first/model.dlc" in dlcore_command("resume", "../second", "--epochs", "+1", code=4).stderr


def test_what_is_no_run_is_refused(dlcore_command):
    assert "no such run folder" in dlcore_command("resume", "nothing", code=2).stderr
    (dlcore_command.folder / "empty").mkdir()
    assert "this is no run folder" in dlcore_command("resume", "empty", code=2).stderr


def test_two_processes_do_not_train_one_run(stopped, dlcore_command):
    import fcntl
    descriptor = os.open(stopped, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert "another process" in dlcore_command("resume", stopped, code=2).stderr
    os.close(descriptor)


def test_a_damaged_checkpoint_is_named(stopped, dlcore_command):
    path = stopped / "ckpt" / "last"
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    err = dlcore_command("resume", stopped, code=4).stderr
    assert "damaged" in err and "remove it" in err


def test_a_full_disk_loses_nothing(stopped, dlcore_command):
    """The place that is left is less than a checkpoint, or a model, takes; the one that is written first is named."""
    config = stopped / "config.toml"
    before = (stopped / "ckpt" / "last").read_bytes()

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    done = dlcore_command("resume", stopped, code=74, preexec_fn=limit)
    assert "File too large" in done.stderr and "unchanged" in done.stderr and "Traceback" not in done.stderr
    assert (stopped / "ckpt" / "last").read_bytes() == before and not list(stopped.rglob(".*"))
    config.write_text(config.read_text().replace("epochs = 100000", "epochs = 3"))
    dlcore_command("resume", stopped)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 3 MB of its own where this process may mount one; else None."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], capture_output=True).returncode:
        yield None
        return
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_disk_that_runs_full_stops_a_run_that_then_goes_on(table, small_disk, dlcore_command):
    """On a file system that is really full, where one can be mounted: what was kept stays whole, and with room the run goes on."""
    if small_disk is None:
        pytest.skip("no file system can be mounted here; test_a_full_disk_loses_nothing limits the size of files instead")
    out, filler = small_disk / "r", small_disk / "filler"
    dlcore_command(*words(table, out, "--set", "model.hidden=[12]", "--keep", 3, "--save-every", 2))
    model, last = (out / "model.dlc").read_bytes(), (out / "ckpt" / "last").read_bytes()
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError as fault:
            assert fault.errno == errno.ENOSPC
    done = dlcore_command("resume", out, "--epochs", "+4", code=74)
    assert "No space left" in done.stderr and "Traceback" not in done.stderr and len(done.stderr.splitlines()) < 60
    assert (out / "model.dlc").read_bytes() == model and (out / "ckpt" / "last").read_bytes() == last
    assert not [p for p in out.rglob(".*")]
    filler.unlink()
    dlcore_command("resume", out, "--epochs", "+4")
    assert (out / "model.dlc").read_bytes() != model
