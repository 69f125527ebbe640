"""Nadam on a GPU: a thread for each weight, with the update of cpu.py."""
from dlcore.compiler.cuda.language import each
from dlcore.optim.nadam import cpu

each(cpu.nadam)
each(cpu.nadam_momentum, over="1")
