"""SGD on a GPU: a thread for each weight, with the update of cpu.py."""
from dlcore.compiler.cuda.language import each
from dlcore.optim.sgd import cpu

each(cpu.sgd, cpu.sgd_momentum)
each(cpu.sgd_rows, over="N, D")
