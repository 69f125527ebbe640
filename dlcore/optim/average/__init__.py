"""Exponential moving averages of weights (Polyak and Juditsky, Acceleration of stochastic approximation by averaging, 1992; in this
form Keras'):

    average = momentum * average + (1 - momentum) * weight          average = weight after step 1
    weight = average                                                after every step that `period` divides, if period > 0
"""
from dlcore.graph import call

average_call = call("average(status: i64[1], momentum: f32, step: i64, period: i64 -> ~weight: f32[S], ~average: f32[S])", over="S",
                    flops="3 * S")
