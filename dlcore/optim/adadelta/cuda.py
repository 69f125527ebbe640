"""Adadelta on a GPU: a thread for each weight, with the update of cpu.py."""
from dlcore.compiler.cuda.language import each
from dlcore.optim.adadelta import cpu

each(cpu.adadelta)
