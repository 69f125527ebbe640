"""Arithmetic on a GPU: a thread for each element, with the loops of cpu.py."""
from dlcore.compiler.cuda.language import each
from dlcore.ops.arithmetic import cpu

each(cpu.add, cpu.sub, cpu.mul, cpu.div, cpu.add_scalar, cpu.mul_scalar, cpu.scale, cpu.shift, cpu.square, cpu.sqrt,
     cpu.reciprocal, cpu.exp_forward, cpu.log_forward, cpu.abs_forward, cpu.abs_gradient, cpu.maximum, cpu.minimum,
     cpu.maximum_gradient, cpu.clip, cpu.clip_gradient)
each(cpu.add_row, cpu.mul_row, cpu.add_column, cpu.mul_column, over="N, C")
