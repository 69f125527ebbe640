from __future__ import annotations

import pytest
from runtime.handmade import build_kernels


@pytest.fixture(scope="session")
def kernels(tmp_path_factory):
    """A folder with the tests' own kernels.so and kernels.json."""
    return build_kernels(tmp_path_factory.mktemp("kernels"))
