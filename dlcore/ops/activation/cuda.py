"""Activations on a GPU: a thread for each element, with the loops of cpu.py."""
from dlcore.compiler.cuda.language import each
from dlcore.ops.activation import cpu

each(cpu.relu_forward, cpu.relu_gradient, cpu.leaky_relu_forward, cpu.leaky_relu_gradient, cpu.elu_forward, cpu.elu_gradient,
     cpu.sigmoid_forward, cpu.sigmoid_gradient, cpu.tanh_forward, cpu.tanh_gradient, cpu.gelu_forward, cpu.gelu_gradient,
     cpu.gelu_tanh_forward, cpu.gelu_tanh_gradient, cpu.silu_forward, cpu.silu_gradient, cpu.softplus_forward,
     cpu.softplus_gradient)
