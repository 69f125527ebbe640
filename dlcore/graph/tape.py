"""Gradients along the tape, norms per sample, recomputation: everything that walks it."""
from __future__ import annotations

from dlcore.errors import NotDifferentiableError, ShapeError, SpecError
from dlcore.graph.declaration import declared, tensors_in


def gradients(graph, loss, tensors, seed):
    """See `Graph.gradients`."""
    found = flow(graph, [loss], [seed], tensors, 0, None)
    for t, d in zip(tensors, found):
        if d is None:
            raise NotDifferentiableError(f"{t!r} does not reach the loss", where=graph.where(),
                                         hint="leave it out of the tensors to differentiate by")
    return found


def flow(graph, outputs, seeds, tensors, since, visit):
    """Gradients of several outputs along the tape from line `since` on; None where nothing arrives.
    visit(entry), if given, is called after each line's backward."""
    arrived, totals = {}, {}
    for o, s in zip(outputs, seeds):
        if s.shape != o.shape:
            raise ShapeError("a seed has the shape of what is differentiated", where=graph.where(), expected=repr(o),
                             got=repr(s))
        arrived.setdefault(id(o), []).append(s)

    def total(t):
        key = id(t)
        if key not in totals and key in arrived:
            totals[key] = graph.sum(arrived[key])
        return totals.get(key)
    depends = {id(t) for t in tensors}
    before = graph.path
    try:
        for e in reversed(dependent(graph, tensors, depends, since)):
            if not any([id(o) in arrived for o in e.outputs]):
                continue
            graph.path = e.scope
            for t, d in zip(e.inputs, back(graph, e, [total(o) for o in e.outputs])):
                if d is not None and id(t) in depends:
                    if d.shape != t.shape:
                        raise ShapeError(f"the backward of {e.name} returned a gradient of another shape",
                                         where=graph.where(), expected=repr(t), got=repr(d))
                    arrived.setdefault(id(t), []).append(d)
            if visit is not None:
                visit(e)
    finally:
        graph.path = before
    return [total(t) for t in tensors]


def dependent(graph, tensors, depends, since):
    """The lines of the tape that lead away from the tensors; collects in `depends` what they reach."""
    found, lines = [], graph.tape
    for n in range(max(since, min([t.born for t in tensors], default=0)), len(lines)):
        e = lines[n]
        for i in e.inputs:
            if id(i) in depends:
                for o in e.outputs:
                    depends.add(id(o))
                found.append(e)
                break
    return found


def back(graph, e, douts):
    """One line backwards: a gradient or None for each of its inputs."""
    if e.backward is None:
        raise NotDifferentiableError(f"{e.name} has no derivative, and the gradient asked for runs through it",
                                     where=graph.where(f"call {e.name}"))
    into = e.backward(*douts)
    into = list(into) if isinstance(into, (tuple, list)) else [into]
    if len(into) != len(e.inputs):
        raise SpecError(f"the backward of {e.name} returned {len(into)} gradients", where=graph.where(),
                        expected=f"{len(e.inputs)}, one per tensor that it reads")
    return into


def sample_norms(graph, loss, weights):
    """See `Graph.sample_norms`."""
    seed = declared("fill")(1.0, S=loss.size, graph=graph).reshape(*loss.shape)
    ours, used, norms = {id(w): w for w in weights}, {}, []

    def visit(entry):
        read = [ours[id(t)] for t in entry.inputs if id(t) in ours]
        for w in read:
            if id(w) in used:
                raise NotDifferentiableError(f"{w!r} is used twice: norms per sample do not add up",
                                             where=graph.where(f"call {entry.name}"))
            used[id(w)] = True
        if read:
            made = getattr(entry.backward, "sample_norms", None)
            if made is None:
                raise NotDifferentiableError(f"{entry.name} knows no norms per sample", where=graph.where())
            norms.append(made())
    flow(graph, [loss], [seed], list(weights), 0, visit)
    for w in weights:
        if id(w) not in used:
            raise NotDifferentiableError(f"{w!r} does not reach the loss", where=graph.where())
    return graph.sum(norms)


def recompute(graph, function, inputs):
    """See `recompute` of tensor.py."""
    if graph.depth:
        return function(*inputs)
    nodes, line = graph.nodes, len(graph.tape)
    outputs = function(*inputs)
    wholes = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    outer = tensors_in(inputs)
    made, known = set(), {id(t) for t in outer}
    for e in graph.tape[line:]:
        for t in e.inputs:
            if id(t) not in made and id(t) not in known:        # a weight, or what an outer function made
                known.add(id(t))
                outer.append(t)
        made.update([id(o) for o in e.outputs])
    del graph.tape[line:]

    def backward(*douts):
        start, after, before = len(graph.tape), graph.nodes, graph.again
        graph.nodes, graph.again = nodes, True
        try:
            again = function(*inputs)
            again = list(again) if isinstance(again, (tuple, list)) else [again]
            arrived = [(o, d) for o, d in zip(again, douts) if d is not None]
            return flow(graph, [o for o, _ in arrived], [d for _, d in arrived], outer, start, None)
        finally:
            graph.nodes, graph.again = after, before
    graph.record("recompute", outer, wholes, backward)
    return outputs
