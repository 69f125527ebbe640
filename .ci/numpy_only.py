"""Load a model file and predict where nothing but the wheel and NumPy is installed.

python numpy_only.py model.dlc tests/data/mnist expected.json
"""

import gzip
import importlib.metadata
import json
import resource
import sys
from pathlib import Path

import numpy as np

import dlcore


def main() -> int:
    model, data, expected = sys.argv[1:]
    others = sorted(
        {d.name.lower() for d in importlib.metadata.distributions()} - {"pip", "setuptools", "numpy", "dlcore"}
    )
    if others:
        raise SystemExit(f"this environment holds more than NumPy: {others}")
    with gzip.open(Path(data) / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), "u1", offset=16).reshape(-1, 28, 28)
    want = np.asarray(json.loads(Path(expected).read_text())["probabilities"])
    got = np.asarray(dlcore.load(model).predict_proba(images), "f8")
    difference = float(abs(got - want).max())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{len(images)} images, greatest difference to the full installation {difference:.1e}, peak {peak} MB")
    return int(not difference <= 1e-6)


if __name__ == "__main__":
    sys.exit(main())
