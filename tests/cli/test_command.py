"""The command without data: help, versions, mistakes in words."""

import json
import subprocess
import sys

import pytest

VERBS = ("train", "evaluate", "predict", "info", "export", "tune", "profile", "doctor", "completion")


def test_help_names_every_verb(dlcore_command):
    text = dlcore_command("--help").stdout
    for verb in VERBS:
        assert f"  {verb} " in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(dlcore_command, verb):
    text = dlcore_command(verb, "--help").stdout
    assert f"dlcore {verb} [OPTIONS]" in text
    assert "--json" in text and "--debug" in text


def test_config_has_verbs_of_its_own(cli):
    assert "  config " in cli("--help").stdout
    for verb in ("init", "show", "check", "diff", "schema"):
        assert f"  {verb} " in cli("config", "--help").stdout
        assert "--json" in cli("config", verb, "--help").stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_command(cli, shell):
    script = cli("completion", shell).stdout
    assert "_DLCORE_COMPLETE" in script and json.loads(cli("completion", shell, "--json").stdout)["shell"] == shell


def test_help_imports_click_and_little_more(dlcore_command):
    code = (
        "import sys\nfrom dlcore.cli.main import run\nrun(['--help'])\n"
        "heavy = 'numpy', 'pydantic', 'rich', 'dlcore.tasks', 'dlcore.runtime', 'tomllib'\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=dlcore_command.folder)
    assert done.stderr.strip() == "[]"
    assert "train" in done.stdout


def test_version(dlcore_command):
    import dlcore

    assert dlcore_command("--version").stdout == f"dlcore {dlcore.__version__}\n"


@pytest.mark.parametrize(
    "words, guess",
    [
        (("trian", "tabular"), "'train'"),
        (("train", "tabluar", "--data", "x.csv"), "'tabular'"),
        (("train", "image-classfy", "--data", "x"), "'image-classify'"),
        (("train", "tabular", "--epoch", "3"), "'--epochs'"),
        (("train", "tabular", "--data", "x.csv", "--arch", "mpl"), "'mlp'"),
        (("--versoin",), "'--version'"),
    ],
)
def test_misspelt_words_are_guessed(dlcore_command, words, guess):
    done = dlcore_command(*words, code=2)
    assert guess in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize(
    "words, part",
    [
        (("train", "tabular", "--data", "t.csv", "--epochs", "many"), "'many' is not a whole number from 1"),
        (("train", "tabular", "--data", "t.csv", "--epochs", "0"), "'0' is not a whole number from 1"),
        (("train", "tabular", "--data", "t.csv", "--lr", "nan"), "nan is not a finite number"),
        (("train", "tabular", "--data", "t.csv", "--lr", "-1"), "-1 is not a finite number above 0"),
        (("train", "tabular", "--data", "t.csv", "--val-split", "1"), "below 1"),
        (("train", "tabular", "--data", "t.csv", "--threads", "0"), "not a whole number"),
        (("train", "tabular", "--data", "t.csv", "--require", "accuracy"), "METRIC>=NUMBER"),
        (("train", "tabular"), "no training data"),
        (("evaluate", "model.dlc"), "Missing argument 'DATA'"),
        (("export", "model.dlc", "--to", "pdf", "-o", "x"), "'pdf' is not"),
        (("train", "tabular", "\u2014epochs", "3"), "typographic dash"),
    ],
)
def test_wrong_values_are_usage_errors(dlcore_command, words, part):
    done = dlcore_command(*words, code=2)
    assert part in done.stderr
    assert "Traceback" not in done.stderr


def test_cuda_is_refused_before_anything_is_read(dlcore_command):
    done = dlcore_command("train", "tabular", "--data", "missing.csv", "--device", "cuda", code=7)
    assert "no CUDA device can be used" in done.stderr


def test_a_missing_model_is_a_model_error(dlcore_command):
    for words in (("info", "nothing.dlc"), ("predict", "nothing.dlc", "x.csv"), ("evaluate", "nothing.dlc", "x.csv")):
        assert "no such model file" in dlcore_command(*words, code=4).stderr


def test_a_run_folder_without_a_model_says_so(dlcore_command):
    (dlcore_command.folder / "r").mkdir()
    (dlcore_command.folder / "r" / "run.lock").write_text("")
    assert "no model yet" in dlcore_command("info", "r", code=4).stderr


def test_debug_shows_the_traceback(dlcore_command):
    assert "Traceback" in dlcore_command("info", "nothing.dlc", "--debug", code=4).stderr


def test_a_fault_of_its_own_is_told_without_traceback():
    from dlcore.cli.errors import describe

    text, code = describe(RuntimeError("oh"))
    assert code == 1 and "RuntimeError: oh" in text and "--debug" in text


def test_json_values_are_plain():
    import numpy as np

    from dlcore.cli.console import plain

    value = plain({"a": np.float32(1.5), "b": np.arange(2), "c": float("nan"), 3: (np.int64(4), True)})
    assert json.dumps(value) == '{"a": 1.5, "b": [0, 1], "c": null, "3": [4, true]}'


def test_an_interrupt_in_a_weak_reference_s_callback_is_not_lost():
    """Python prints and drops what such a callback raises: the command must end all the same."""
    code = (
        "import os, signal, time, weakref\nfrom dlcore.cli import signals\nsignals.catch()\n"
        "class Thing: pass\n"
        "def gone(_):\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(1)\n"
        "thing = Thing()\nwatch = weakref.ref(thing, gone)\n"
        "try:\n    del thing\n    print('dropped', flush=True)\n    time.sleep(20)\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["dropped", "interrupted"] and not done.stderr, done


def test_an_interrupt_is_held_until_the_block_ends():
    code = (
        "import os, signal\nfrom dlcore.cli import signals\nsignals.catch()\n"
        "try:\n"
        "    with signals.held():\n"
        "        with signals.held():\n            os.kill(os.getpid(), signal.SIGINT)\n"
        "        print('done', flush=True)\n"
        "    print('went on')\n"
        "except KeyboardInterrupt:\n    print('interrupted')\n"
        "with signals.held():\n    print('once')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.split() == ["done", "interrupted", "once"] and not done.stderr, done
