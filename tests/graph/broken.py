"""The planner from its source, with one line changed: what the tests must notice."""
from __future__ import annotations

import importlib
import sys
import types
from pathlib import Path

MODULES = ("memory", "loops", "lowering", "sums", "schedule", "layout", "planner")
_count = iter(range(1 << 30))


def source_of(name):
    return Path(importlib.import_module("dlcore.graph").__file__).with_name(name + ".py").read_text(encoding="utf-8")


def planner(**changes):
    """`plan` of a planner whose modules were changed: planner(sums=[("old text", "new text")]).

    Every old text must stand in the source exactly once, so that a change never misses."""
    package = f"broken_planner_{next(_count)}"
    home = sys.modules[package] = types.ModuleType(package)
    home.__path__ = []
    for name in MODULES:
        text = source_of(name)
        for old, new in changes.get(name, ()):
            assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}.py"
            text = text.replace(old, new)
        for other in MODULES:
            text = text.replace(f"from dlcore.graph.{other} import", f"from {package}.{other} import")
        text = text.replace("from dlcore.graph import layout, schedule", f"from {package} import layout, schedule")
        text = text.replace("from dlcore.graph import loops", f"from {package} import loops")
        module = types.ModuleType(f"{package}.{name}")
        sys.modules[module.__name__] = module
        exec(compile(text, f"<{name}.py, changed>", "exec"), module.__dict__)
        setattr(home, name, module)
    return home.planner.plan


def plain():
    """A planner that merges, moves and reuses nothing: the oracle for random graphs."""
    return planner(
        sums=[('        life = self.memory.lives[id(self.memory.memory(t))]\n        if s.total.buffer:',
               '        return False\n        if s.total.buffer:'),
              ('        return life.writes == 1 and', '        return False and life.writes == 1 and'),
              ('        return all([t is None or n == name', '        return False and all([t is None or n == name')],
        lowering=[("                if key in self.known:", "                if False:"),
                  ("        if not reads or not self.constant", "        return False\n        if not reads or not self.constant")],
        schedule=[("    return level\n", "    return array(\"q\", range(end - begin))\n")],
        layout=[("    count = len(size)\n    if count > MANY:",
                 "    return [sum(size[:n]) for n in range(len(size))], sum(size)\n    count = len(size)\n    if count > MANY:")])
