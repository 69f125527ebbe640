"""The configuration: sources, problems, TOML."""

import tomllib

import pytest

from dlcore.cli.draft import Draft, put_file, validate
from dlcore.cli.toml_text import to_toml, toml_value
from dlcore.errors import ConfigError

DEFAULTS = {
    "model": {"hidden": [512, 512], "dropout": 0.2},
    "train": {"epochs": 7, "weight-decay": 0.0},
    "data": {"header": True},
}


def draft(*settings, data="x.csv"):
    made = Draft("tabular")
    made.put("data", "train", data, "--data")
    for setting in settings:
        made.set(setting)
    return made


def test_defaults_of_the_task_replace_those_of_all_tasks():
    sections = validate(draft(), DEFAULTS)
    assert sections["train"]["epochs"] == 7 and sections["train"]["batch"] == 64
    assert sections["model"] == {"hidden": [512, 512], "dropout": 0.2}
    assert sections["data"]["header"] is True


def test_set_reads_toml_values_and_bare_words():
    sections = validate(
        draft("model.hidden=[64, 32]", "train.optimizer=sgd", "train.lr=1", "data.header=false"), DEFAULTS
    )
    assert sections["model"]["hidden"] == [64, 32]
    assert sections["train"]["optimizer"] == "sgd"
    assert sections["train"]["lr"] == 1.0 and isinstance(sections["train"]["lr"], float)
    assert sections["data"]["header"] is False


def test_the_last_value_counts():
    assert validate(draft("train.epochs=3", "train.epochs=4"), DEFAULTS)["train"]["epochs"] == 4


@pytest.mark.parametrize(
    "text, value",
    [
        ("3", 3),
        ("1e-3", 1e-3),
        ("true", True),
        ("adam", "adam"),
        ('"a b"', "a b"),
        ("[1, 2]", [1, 2]),
        ("a = b", "a = b"),
        ("1\ny = 2", "1\ny = 2"),
    ],
)
def test_toml_values(text, value):
    assert toml_value(text) == value


def test_all_problems_are_told_at_once():
    made = draft(
        "trian.lr=1",
        "train.optimizer=adm",
        "train.epoch=3",
        "nonsense",
        "train.lr=nan",
        'train.batch="x"',
        "train.epochs=0",
        "model.dropout=none",
    )
    with pytest.raises(ConfigError) as caught:
        validate(made, DEFAULTS)
    text = str(caught.value)
    assert caught.value.exit_code == 3
    assert text.startswith("8 problems in the configuration, nothing was started")
    for part in (
        "unknown section; did you mean train.lr?",
        "did you mean adam?",
        "unknown key; did you mean train.epochs?",
        "section.key=value is expected",
        "train.lr = NaN",
        "train.batch",
        "train.epochs = 0",
        "model.dropout",
    ):
        assert part in text


@pytest.mark.parametrize(
    "setting",
    [
        "train.epochs=true",
        "train.epochs=1.5",
        "train.lr=inf",
        "train.seed=-1",
        "model.hidden=64",
        "model.hidden=[1.5]",
        "data.header=1",
    ],
)
def test_types_are_strict(setting):
    with pytest.raises(ConfigError):
        validate(draft(setting), DEFAULTS)


def test_toml_comes_back_as_it_was():
    sections = validate(draft('data.label-col="a \\"quoted\\" köl"', data="dir/ü\\x.csv"), DEFAULTS)
    text = to_toml("tabular", sections, header="all of it")
    read = tomllib.loads(text)
    assert read.pop("task") == "tabular"
    assert read == sections
    assert "# passes over the training part" in text


def test_a_file_is_a_source_with_lines(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(
        'task = "tabular"\nfoo = 1\n[data]\ntrain = "x.csv"\n\n[train]\nepochs = 3\nlr = -1.0\n[wrong]\na = 1\n'
    )
    made = Draft("tabular")
    put_file(made, path)
    with pytest.raises(ConfigError) as caught:
        validate(made, DEFAULTS)
    text = str(caught.value)
    assert "c.toml:2" in text and "c.toml:8" in text and "c.toml:10" in text and text.startswith("3 problems")


@pytest.mark.parametrize("content", [b"task = ", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_a_config_error(tmp_path, content):
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError):
        put_file(Draft("tabular"), path)
