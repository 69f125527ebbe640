"""Adagrad on a GPU: a thread for each weight, with the update of cpu.py."""
from dlcore.compiler.cuda.language import each
from dlcore.optim.adagrad import cpu

each(cpu.adagrad)
each(cpu.adagrad_rows, over="N, D")
