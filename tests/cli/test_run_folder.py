"""Where a run lies, and that nothing is written over."""

import errno
import json
import os
from pathlib import Path

import pytest

from dlcore.cli import run_folder
from dlcore.cli.run_folder import RunFolder, choose, model_path
from dlcore.errors import ModelFileError, UsageError, WriteError


def test_default_names_are_numbered(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("tabular", "tabular-2", "tabular-3"):
        path = choose(None, "tabular")
        assert path == run_folder.RUNS / name
        RunFolder.start(path, "a", "b", numbered=True)


def test_a_full_folder_and_a_file_are_refused(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        with pytest.raises(UsageError):
            choose(str(tmp_path / name), "tabular")
    assert (tmp_path / "full" / "x").read_text() == (tmp_path / "file").read_text() == "mine"


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "empty").mkdir()
    folder = RunFolder.start(choose(str(tmp_path / "empty"), "t"), "config", "lock")
    assert sorted(p.name for p in folder.path.iterdir()) == ["config.toml", "run.lock"]
    assert (folder.path / "config.toml").read_text() == "config"


def test_the_folder_appears_with_its_first_files(tmp_path, monkeypatch):
    seen = []
    rename = os.rename

    def watched(source, target):
        seen.append((sorted(p.name for p in source.iterdir()), target.exists()))
        rename(source, target)

    monkeypatch.setattr(os, "rename", watched)
    RunFolder.start(tmp_path / "r", "config", "lock")
    assert seen == [(["config.toml", "run.lock"], False)]


def test_who_comes_second_takes_the_next_number(tmp_path):
    first = RunFolder.start(tmp_path / "r", "1", "1", numbered=True)
    second = RunFolder.start(tmp_path / "r", "2", "2", numbered=True)
    assert (first.path.name, second.path.name) == ("r", "r-2")
    with pytest.raises(UsageError):
        RunFolder.start(tmp_path / "r", "3", "3")
    assert (first.path / "config.toml").read_text() == "1"


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError) as caught:
        RunFolder.start(tmp_path / "r", "config", "lock")
    assert caught.value.exit_code == 74
    assert list(tmp_path.iterdir()) == []


def test_metrics_are_lines_of_json(tmp_path):
    folder = RunFolder.start(tmp_path / "r", "", "")
    folder.add_metrics({"epoch": 1, "loss": 0.5})
    folder.add_metrics({"epoch": 2, "loss": float("nan")})
    folder.close()
    rows = [json.loads(line) for line in (folder.path / "metrics.jsonl").read_text().splitlines()]
    assert rows == [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": None}]


def test_a_model_argument_is_a_run_or_a_file(tmp_path):
    folder = RunFolder.start(tmp_path / "r", "", "")
    with pytest.raises(ModelFileError):
        model_path(str(folder.path))
    folder.model.write_bytes(b"x")
    assert model_path(str(folder.path)) == folder.model
    assert model_path(str(folder.model)) == folder.model
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    assert model_path(str(unpacked)) == unpacked
    with pytest.raises(ModelFileError):
        model_path(str(tmp_path / "nothing"))


def test_what_a_kill_leaves_of_a_page_is_cleared_away(tmp_path, monkeypatch):
    """A process that dies between writing and renaming leaves a file that `remove_leftovers` knows."""
    from dlcore.cli.records import write_whole
    from dlcore.deploy.atomic import remove_leftovers

    left = []
    monkeypatch.setattr(os, "replace", lambda work, path: left.append(Path(work).name))
    write_whole(tmp_path / "report.html", "page")
    (tmp_path / left[0]).write_text("page")
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []
