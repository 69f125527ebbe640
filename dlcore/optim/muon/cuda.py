"""Muon on a GPU: a thread for each weight, with the loops of cpu.py; the products are those of the matrix room."""
from dlcore.compiler.cuda.language import each
from dlcore.optim.muon import cpu

each(cpu.muon_direction, cpu.muon_normalise, cpu.muon_polynomial, cpu.muon)
