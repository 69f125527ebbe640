"""Threads share an update so that each meets the rows of weights again that it reads in the products."""
import itertools

import numpy as np

import dlcore
from dlcore.layers import Dense
from dlcore.runtime.schedule import MATRIX, update_cuts
from dlcore.training.programs import signature


def test_adam_is_cut_where_the_matrices_begin():
    model = dlcore.Sequential([Dense(256, activation="relu", input_shape=(512,)), Dense(256)])
    model.compile("adam", "mse")
    x, y = np.zeros((16, 512), np.float32), np.zeros((16, 256), np.float32)
    model.train_on_batch(x, y)
    program = model.programs.runner(signature(model, "train", 16, [x], [y])).instance.program
    (call, cuts), = update_cuts(program.steps).items()
    assert program.steps[call].kernel == "adam" and program.steps[call].extent == 512 * 256 + 256 + 256 * 256 + 256
    assert cuts[0] == 0 and cuts[-1] == program.steps[call].extent
    assert 512 * 256 in cuts and min(b - a for a, b in itertools.pairwise(cuts)) >= MATRIX
