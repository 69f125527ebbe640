"""Losses of detectors on a GPU: a thread for each picture, for gradients one for each element."""
from dlcore.compiler.cuda.language import each
from dlcore.ops.box_loss import cpu

each(cpu.yolo_quality, over="B, P")
each(cpu.yolo_loss, cpu.prior_loss)
each(cpu.slope_backward, over="B, S")
