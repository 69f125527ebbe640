"""Proposals on a GPU: a thread for each picture."""
from dlcore.compiler.cuda.language import each
from dlcore.ops.proposals import cpu

each(cpu.propose)
