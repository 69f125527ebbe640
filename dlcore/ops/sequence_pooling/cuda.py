"""Pooling over steps on a GPU: a thread for each channel of a sequence, or for each element of a gradient."""
from dlcore.compiler.cuda.language import each
from dlcore.ops.sequence_pooling import cpu

each(cpu.sequence_mean, cpu.sequence_max, over="B, C")
each(cpu.sequence_mean_backward, cpu.sequence_max_backward, over="B, C")
