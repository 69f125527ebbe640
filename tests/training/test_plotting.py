"""Figures of histories, where matplotlib is installed; and what is said where it is not."""

import builtins

import pytest

from dlcore.errors import UsageError
from dlcore.training.history import History


@pytest.fixture
def history():
    found = History()
    for epoch in range(4):
        found.append(epoch, {"loss": 1 / (epoch + 1), "accuracy": 0.5 + 0.1 * epoch, "val_loss": 0.9 / (epoch + 1)})
    return found


def test_a_figure_has_a_chart_per_metric(history, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (extra plot)")
    figure = history.plot()
    loss, accuracy = [axis for axis in figure.axes if axis.get_visible()]
    assert [line.get_label() for line in loss.lines] == ["training", "validation"]
    assert loss.lines[1].get_ydata().tolist() == history.history["val_loss"]
    assert loss.lines[0].get_xdata().tolist() == [1, 2, 3, 4] and accuracy.get_ylabel() == "accuracy"
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    assert len(history.plot(["loss"]).axes) == 1
    with pytest.raises(UsageError, match="no metric named f1"):
        history.plot(["f1"])
    with pytest.raises(UsageError, match="nothing to draw"):
        History().plot()


def test_without_matplotlib_it_says_what_to_install(history, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match=r"dlcore\[plot\]"):
        history.plot()
