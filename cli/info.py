"""`dlcore info MODEL`: what a model file or a run folder holds, without running it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import result, result_json


@click.command(short_help="Show what a model file or a run folder holds.", no_args_is_help=True)
@click.argument("model")
@options.common
def command(model: str, as_json: bool) -> None:
    """Show task, layers, parameters, labels and versions of MODEL, a run folder or a model file."""
    import dlcore
    from dlcore.cli.run_folder import model_path

    path = model_path(model)
    loaded = dlcore.load(path)
    facts = describe(loaded, path)
    if as_json:
        result_json(facts)
        return
    for name, value in facts.items():
        result(f"{name:<14}{_text(value)}")
    result("")
    network = getattr(loaded, "model", loaded)
    network.summary(print_fn=result)


def describe(loaded: Any, path: Path) -> dict[str, Any]:
    """The facts that `--json` prints."""
    from dlcore.deploy import model_file

    config = model_file.read(path).config
    network = getattr(loaded, "model", loaded)
    facts: dict[str, Any] = {
        "model": str(path),
        "bytes": _size(path),
        "type": config["model_type"],
        "dlcore": config.get("dlcore_version", ""),
    }
    if network is not loaded:
        facts["estimator"] = repr(loaded)
    facts["inputs"] = [list(symbol.shape[1:]) for symbol in network.network.inputs]
    facts["outputs"] = [list(symbol.shape[1:]) for symbol in network.network.outputs]
    facts["parameters"] = network.count_params()
    if getattr(loaded, "classes_", None) is not None:
        facts["classes"] = loaded.classes_
    if hasattr(loaded, "thresholds_"):
        facts["thresholds"] = loaded.thresholds_
    return facts


def _size(path: Path) -> int:
    return (
        sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
    )


def _text(value: Any) -> str:
    if hasattr(value, "tolist"):
        labels = value.tolist()
        shown = [f"{label:.3g}" if isinstance(label, float) else str(label) for label in labels[:12]]
        return f"{len(labels)}: " + ", ".join(shown) + (", ..." if len(labels) > 12 else "")
    return f"{value:,}" if isinstance(value, int) else str(value)
