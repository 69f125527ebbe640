"""`dlcore export MODEL --to c -o model.c`: a trained model as source that needs nothing but a C compiler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dlcore.cli import options
from dlcore.cli.console import result, result_json
from dlcore.errors import UsageError


@click.command(short_help="Turn a trained model into files for another world.", no_args_is_help=True)
@click.argument("model")
@click.option(
    "--to",
    "form",
    type=click.Choice(["c", "safetensors"]),
    required=True,
    help="c: one C99 file without malloc, libm alone.  safetensors: a folder for Hugging Face's libraries.",
)
@click.option(
    "-o", "--out", required=True, metavar="FILE", help="File (its stem is the prefix of the C names) or folder to write."
)
@click.option(
    "--data",
    default="",
    metavar="PATH",
    help="Data whose test part is compared.  [default: what the run was tested on, else random samples]",
)
@options.common
def command(model: str, form: str, out: str, data: str, as_json: bool) -> None:
    """Export MODEL, a run folder or a model file, and print the greatest difference to predict_proba.

    model.c has one function: void model_predict(const float *x, float *out).  A folder, of models of the shapes of GPT-2, BERT and
    Llama, has config.json, model.safetensors and tokenizer.json.
    """
    from dlcore.cli.model import open_model
    from dlcore.deploy import c

    if not Path(out).parent.is_dir():
        raise UsageError("there is no such folder", where=str(Path(out).parent))
    if Path(out).exists():
        hint = "remove it first, or choose another -o"
        raise UsageError("the output file exists; nothing was written over", where=out, hint=hint)
    loaded = open_model(model)
    if form == "safetensors":
        folder(loaded, model, out, data, as_json)
        return
    made = c.export(loaded, out, samples(loaded, data or tested_on(model)))
    if as_json:
        result_json(
            {
                "model": model,
                "file": str(made.path),
                "function": made.function,
                "bytes": made.size,
                "inputs": made.inputs,
                "outputs": made.outputs,
                "samples": made.samples,
                "greatest_difference": made.difference,
            }
        )
        return
    result(f"{made.path}: {made.size:,} bytes of C99")
    result(f"void {made.function}(const float *x, float *out): {made.inputs} numbers in, {made.outputs} out")
    if made.difference is None:
        result("not compared with predict_proba: there is no C compiler here")
    else:
        result(f"greatest difference to predict_proba on {made.samples} samples: {made.difference:.1e}")


def folder(loaded: Any, model: str, out: str, data: str, as_json: bool) -> None:
    """A folder of Hugging Face's kind."""
    from dlcore.tasks.pretrained import to_pretrained

    if data:
        raise UsageError("a folder of weights is not compared with anything", where="--data", hint="leave it out")
    files = to_pretrained(loaded, out)
    if as_json:
        result_json({"model": model, "folder": out, "files": files})
    else:
        result(f"{out}: {', '.join(files)}")


def tested_on(model: str) -> str:
    """The data that a run folder names for its test, where they still are; else ""."""
    from dlcore.cli.toml_text import read_file

    config = Path(model) / "config.toml"
    if not config.is_file():
        return ""
    data = read_file(config)[0].get("data", {})
    path = str(data.get("test") or data.get("train") or "")
    return path if path and path != "-" and Path(path).exists() else ""


def samples(loaded: Any, data: str) -> Any:
    """Raw inputs of the data's test part (all of data without parts); None for a bare network or without data."""
    from dlcore.tasks import TASKS

    task = TASKS.get(str(getattr(loaded, "task", "")))
    return task.read(data, like=loaded).held_out().x if task and data else None
