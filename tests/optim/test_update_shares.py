"""Threads share an update so that each meets the rows of weights again that it reads in the products."""
import itertools

import numpy as np

import dlcore
from dlcore.layers import Dense
from dlcore.runtime.schedule import MATRIX, arrange, part_cuts, update_cuts
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


def perceptron_step():
    model = dlcore.Sequential([Dense(256, activation="relu", input_shape=(784,)), Dense(128, activation="relu"), Dense(10)])
    model.compile("adam", "mse")
    x, y = np.zeros((64, 784), np.float32), np.zeros((64, 10), np.float32)
    model.train_on_batch(x, y)
    return model.programs.runner(signature(model, "train", 64, [x], [y])).instance.program


def members_of(program, members, kernel, lowest):
    """By member: where its items of the calls of a kernel with at least so many items begin and end."""
    steps = program.steps
    items = arrange(steps, [1e6] * len(steps), members, forced=True).items
    return [[(begin, end) for call, begin, end in own if call >= 0 and steps[call].kernel == kernel
             and steps[call].extent >= lowest] for own in items]


def test_squares_are_summed_by_who_wrote_most_of_them():
    program = perceptron_step()
    (call, cuts), = part_cuts(program.steps).items()
    assert program.steps[call].kernel == "square_parts" and cuts == [0, 28, 32]
    assert members_of(program, 2, "square_parts", 1) == [[(0, 14), (28, 30)], [(14, 28), (30, 32)]]
    # of eight members half would have an eighth more: shares stay even
    assert [end - begin for own in members_of(program, 8, "square_parts", 1) for begin, end in own] == [4] * 8


def test_two_members_read_and_update_the_same_rows_of_the_weights():
    program = perceptron_step()
    first, second = members_of(program, 2, "adam", 1)
    assert first[0] == (0, 392 * 256) and second[0] == (392 * 256, 784 * 256)
    tiles = [step for step in program.steps if step.kernel == "dense_halves"]
    assert len(tiles) == 2
    for own, half in zip(members_of(program, 2, "dense_halves", 1), (0, 1), strict=True):
        assert own == [(half * s.extent // 2, (half + 1) * s.extent // 2) for s in tiles]
