import numpy as np

from dlcore.compiler.language import kernel
from dlcore.optim import average as _  # noqa: F401  (declares)


@kernel
def average(status, momentum, step, period, weight, average):
    if status[0] == 0:
        keep = momentum if step > 1 else np.float32(0)
        for i in range(weight.shape[0]):
            average[i] = weight[i] + keep * (average[i] - weight[i])
        if period > 0:
            if step % period == 0:
                for i in range(weight.shape[0]):
                    weight[i] = average[i]
