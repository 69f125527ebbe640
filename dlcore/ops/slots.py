"""Scalars that the host sets before a step and that several rooms read; one definition each, so that their ranges agree."""
from dlcore.graph import Slot

LR = Slot("lr", "f32", low=0.0)
STEP = Slot("step", "i64", low=1)                       # counted from 1
SEED = Slot("seed", "i64", low=0)
FIRST_SAMPLE = Slot("first_sample", "i64", low=0)       # the number, in the whole batch, of this micro-batch's first sample
GRADIENT_SCALE = Slot("gradient_scale", "f32", low=0.0)  # what a gradient summed over micro-batches is multiplied by
