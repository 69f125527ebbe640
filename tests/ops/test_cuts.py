"""Equal bits whatever the number of threads: 1, 2, 3 and 7 cut the work at other places."""
from __future__ import annotations

import pytest
from ops.harness import cases, run_gradients


@pytest.mark.parametrize("room, case", cases())
def test_cuts(room, case):
    whole = run_gradients(room, case, threads=1)
    assert whole
    for threads in (2, 3, 7):
        cut = run_gradients(room, case, threads=threads)
        different = [name for name in whole if whole[name].tobytes() != cut[name].tobytes()]
        assert not different, f"{different} differ between 1 and {threads} threads"
