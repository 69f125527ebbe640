"""Compiling an exported C file and comparing its answers with the model's."""
from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from dlcore.errors import DlcoreError

FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror")
LARGEST = 1e-5
_SECONDS = 600


def compare(text: str, function: str, samples: np.ndarray, want: np.ndarray) -> tuple[str, float | None]:
    """The compiler, and the greatest |got - want| over the samples, as a share of each output's greatest |want|, at least 1;
    ("", None) where there is no C compiler.

    samples: f32 (N, inputs); want: f32 (N, outputs).  An answer near 0 of a regression is a difference of larger numbers:
    its error is that of the scale.  Raises `DlcoreError` if the text does not compile without a warning, or if the difference
    is above 1e-5.
    """
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        return "", None
    with tempfile.TemporaryDirectory() as folder:
        library = _compile(compiler, text, Path(folder))
        got = _run(library, function, samples, want.shape[1])
    scale = np.abs(want).max(axis=0, initial=1)
    difference = float((np.abs(got.astype(np.float64) - want) / scale).max(initial=0))
    if not difference <= LARGEST:
        raise DlcoreError("the compiled C file does not agree with the model", where=function, expected=f"at most {LARGEST:g}",
                          got=f"{difference:g} on {len(samples):,} samples")
    return compiler, difference


def _compile(compiler: str, text: str, folder: Path) -> Path:
    source, library = folder / "model.c", folder / "model.so"
    source.write_text(text, encoding="utf-8")
    command = [compiler, *FLAGS, "-shared", "-fPIC", str(source), "-o", str(library), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise DlcoreError("the C file does not compile without warnings", where=" ".join(command[:7]), got=done.stderr[:2000])
    return library


def _run(library: Path, function: str, samples: np.ndarray, outputs: int) -> np.ndarray:
    predict = ctypes.CDLL(str(library))[function]
    predict.argtypes, predict.restype = [ctypes.c_void_p, ctypes.c_void_p], None
    samples = np.ascontiguousarray(samples, np.float32)
    got = np.full((len(samples), outputs), np.nan, np.float32)
    for sample, out in zip(samples, got, strict=True):
        predict(sample.ctypes.data, out.ctypes.data)
    return got
