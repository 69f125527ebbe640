"""Batch normalisation on a GPU: columns side by side, a thread for each column of a part; elementwise where the sums are known."""
from dlcore.compiler.cuda.language import each, lowered_as_cpu
from dlcore.ops.batchnorm import cpu

each(cpu.batchnorm_parts, cpu.batchnorm_gradient_parts, over="CHUNKS, C")
each(cpu.batchnorm_join, cpu.batchnorm_scale, cpu.moving_average, cpu.batchnorm_means, over="C")
each(cpu.batchnorm_apply, cpu.batchnorm_dx, over="N, C")
lowered_as_cpu("batchnorm_statistics", "batchnorm_forward", "batchnorm_backward")
