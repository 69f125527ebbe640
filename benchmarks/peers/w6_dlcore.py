"""W6 in dlcore.  Modes: model (predict_on_batch, or step by step with keys and values kept), program (the planned step alone)."""
from worker import args, serve  # isort: skip

import w6_data

import dlcore
from dlcore.layers import BertEncoder, CausalLM, Input
from dlcore.models.steps import Steps
from dlcore.training.programs import signature

what, dtype = args.part.split()


def network(layer, steps):
    ids = Input((steps,), "int32")
    model = dlcore.Model(ids, layer(ids))
    model.ensure_store()
    model.answers_in = dtype
    return model


def checked(programs):
    """SystemExit where the precision is not what was planned: figures of another would stand in its place."""
    planned = {program.planning["precision"] for program in programs}
    if planned != {dtype}:
        raise SystemExit(f"planned in {', '.join(sorted(planned))}, not in {dtype}")


def encoder():
    model, x = network(BertEncoder(*w6_data.ENCODER), w6_data.STEPS), w6_data.ids(w6_data.STEPS)
    if args.mode == "model":
        model.predict_on_batch(x)
        checked(model.programs.cache.values())
        return lambda: model.predict_on_batch(x)
    runner = model.programs.runner(signature(model, "predict", 1, [x]))
    runner.put([x])
    checked([runner.instance.program])
    return runner.instance.run


def generate():
    V, T, L, H, C = w6_data.GPT
    model = network(CausalLM(V, T, L, H, C), T)
    prompt = w6_data.ids(w6_data.PROMPT)[0]
    steps = Steps(model, 1, w6_data.PROMPT + w6_data.NEW)
    checked([steps.program])

    def write():
        steps.reset()
        steps.read(prompt[:-1])
        logits = steps.feed(prompt[-1:])
        for n in range(w6_data.NEW):
            i = logits[0].argmax()
            if n + 1 < w6_data.NEW:
                logits = steps.feed([i])
    return write


serve({"encoder": encoder, "generate": generate}[what](), "dlcore", w6_data.NEW if what == "generate" else 1)
