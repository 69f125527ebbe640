"""Sizes and start-up times of the installed wheel, against what the project promises.  Run by the environment's own python.

Sizes and imported modules fail the run; times are shown beside their bounds only, because machines that test are shared.

python budgets.py dlcore-....whl
"""

import subprocess
import sys
import sysconfig
import time
from pathlib import Path

INSTALLER = ("pip", "setuptools", "_distutils_hack", "distutils-precedence")
AWAY = Path(sys.prefix)                 # `python -c` imports from where it stands: not from the source tree
HEAVY = ("numba", "llvmlite", "scipy", "pydantic", "click", "matplotlib", "rich", "PIL")


def size_mb(folder: Path) -> float:
    """Of all files, those of the installer left out, in MB of 1024 * 1024 bytes."""
    return (
        sum(
            path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file() and not path.relative_to(folder).parts[0].startswith(INSTALLER)
        )
        / 2**20
    )


def best_seconds(*commands: list[str], repeats: int = 15) -> list[float]:
    """The shortest wall time of each command; they run in turn, so that a busy moment hits all."""
    best = [9.0] * len(commands)
    for _ in range(repeats):
        for i, command in enumerate(commands):
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=AWAY)
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def main() -> int:
    site = Path(sysconfig.get_path("purelib"))
    subprocess.run([sys.executable, "-m", "compileall", "-q", str(site / "dlcore")], check=True)
    python = [sys.executable, "-c"]
    numpy, library, usage, verb = best_seconds(
        [*python, "import numpy"],
        [*python, "import dlcore, numpy; dlcore.Sequential"],
        [str(Path(sys.executable).with_name("dlcore")), "--help"],
        [str(Path(sys.executable).with_name("dlcore")), "train", "--help"],
    )
    code = f"import sys, dlcore; dlcore.Sequential; print(*[name for name in {HEAVY} if name in sys.modules])"
    loaded = subprocess.run([*python, code], check=True, capture_output=True, text=True, cwd=AWAY).stdout.split()
    rows = [
        ("wheel, MB", Path(sys.argv[1]).stat().st_size / 1e6, 8.0),
        ("dlcore unpacked, MB", size_mb(site / "dlcore"), 25.0),
        ("environment, MB", size_mb(site), 110.0),
        ("import dlcore above NumPy, s", library - numpy, 0.030),
        ("dlcore --help, s", usage, 0.100),
        ("dlcore train --help, s", verb, 0.150),
        ("heavy modules that the import loads", float(len(loaded)), 0.0),
    ]
    exceeded = [(name, value > bound) for name, value, bound in rows]
    for (name, value, bound), (_, above) in zip(rows, exceeded, strict=True):
        print(f"{name:<38}{value:>8.3f}   at most {bound:g}{'   EXCEEDED ' + ' '.join(loaded) if above else ''}")
    return int(any(above for name, above in exceeded if not name.endswith(", s")))


if __name__ == "__main__":
    sys.exit(main())
