"""Every op is in a room, every room has cases, every op has one: nothing is registered that is not tested."""
from __future__ import annotations

import importlib
from collections import Counter
from pathlib import Path

import pytest
from ops.harness import cases, find_op, room_cases

import dlcore.ops
import dlcore.optim
from dlcore.graph import OPS
from dlcore.ops import ROOMS


def test_rooms_are_the_folders():
    folder = Path(dlcore.ops.__file__).parent
    assert {p.parent.name for p in folder.glob("*/__init__.py")} == set(ROOMS)


def test_optimizer_rooms_are_the_folders():
    folder = Path(dlcore.optim.__file__).parent
    assert {p.parent.name for p in folder.glob("*/__init__.py")} == set(dlcore.optim.ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_ops_tested_are_the_ops_registered(room):
    assert {case.op for case in room_cases()[room]} == set(ROOMS[room])


def test_every_op_is_in_a_room():
    """By the rooms' own names: the table of ops may hold those that other tests make."""
    listed = {name for names in ROOMS.values() for name in names}
    in_rooms = set()
    for room in ROOMS:
        module = importlib.import_module(f"dlcore.ops.{room}")
        in_rooms |= {name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__
                     and hasattr(value, "__wrapped__") and not hasattr(value, "cache_info")}
    assert in_rooms == listed and listed <= set(OPS)


def test_names_are_exported_lazily():
    for room, names in ROOMS.items():
        for name in names:
            assert getattr(dlcore.ops, name) is getattr(importlib.import_module(f"dlcore.ops.{room}"), name)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dlcore.ops.nothing  # noqa: B018


def test_case_names_are_unique():
    twice = [name for name, n in Counter(p.id for p in cases()).items() if n > 1]
    assert not twice


@pytest.mark.parametrize("room, case", cases(lambda c: bool(c.differentiable)))
def test_backward_covers_what_is_differentiable(room, case):
    assert case.backward is not None
    assert set(case.differentiable) <= set(case.inputs)
    assert callable(find_op(room, case))
