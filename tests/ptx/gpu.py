"""Tests that run on a GPU, where there is one."""

from __future__ import annotations

import faulthandler
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dlcore.errors import DeviceError
from dlcore.runtime import set_device

SECONDS = float(os.environ.get("DLCORE_GPU_SECONDS", "60"))  # that a case on a GPU may take


@contextmanager
def gpu(request: Any) -> Iterator[None]:
    """Computing on the GPU.  A kernel that never ends, or after which the GPU refuses everything, ends the process: under
    pytest-xdist the other cases go on in a new one."""
    faulthandler.dump_traceback_later(SECONDS, exit=True, file=2)
    set_device("cuda")
    try:
        yield
    except DeviceError as fault:
        if "process must be started again" in fault.hint and "PYTEST_XDIST_WORKER" in os.environ:
            request.config.pluginmanager.getplugin("capturemanager").suspend_global_capture(in_=True)
            print(f"{request.node.name}: {fault}", file=sys.stderr, flush=True)
            os._exit(3)
        raise
    finally:
        faulthandler.cancel_dump_traceback_later()
        set_device("cpu")


def reason() -> str:
    """Why there is no GPU to run on; "" if there is one."""
    try:
        set_device("cuda")
    except DeviceError as error:
        return error.message
    finally:
        set_device("cpu")
    return ""
