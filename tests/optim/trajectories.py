"""Trajectories of optimizers and schedules: what is run, here and in PyTorch.  `fixtures/make.py` freezes PyTorch's."""
from __future__ import annotations

from pathlib import Path

import numpy as np

FIXTURES = Path(__file__).parent / "fixtures"
STEPS = 100
SHAPES = {"a": (5, 7), "b": (11,)}

# id -> (class here, its arguments, class in torch.optim, its arguments)
OPTIMIZERS = {
    "sgd": ("SGD", {"learning_rate": 0.05}, "SGD", {"lr": 0.05}),
    "sgd-momentum": ("SGD", {"learning_rate": 0.02, "momentum": 0.9, "weight_decay": 0.1}, "SGD",
                     {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.1}),
    "sgd-nesterov": ("SGD", {"learning_rate": 0.02, "momentum": 0.8, "nesterov": True}, "SGD",
                     {"lr": 0.02, "momentum": 0.8, "nesterov": True}),
    "adam": ("Adam", {"learning_rate": 0.01}, "Adam", {"lr": 0.01}),
    "adam-l2": ("Adam", {"learning_rate": 0.01, "beta_1": 0.8, "weight_decay": 0.1}, "Adam",
                {"lr": 0.01, "betas": (0.8, 0.999), "weight_decay": 0.1}),
    "amsgrad": ("Adam", {"learning_rate": 0.01, "amsgrad": True, "beta_2": 0.9}, "Adam",
                {"lr": 0.01, "amsgrad": True, "betas": (0.9, 0.9)}),
    "adamw": ("AdamW", {"learning_rate": 0.01, "weight_decay": 0.1}, "AdamW", {"lr": 0.01, "weight_decay": 0.1}),
    "adadelta": ("Adadelta", {}, "Adadelta", {}),
    "adadelta-l2": ("Adadelta", {"learning_rate": 0.5, "rho": 0.95, "epsilon": 1e-4, "weight_decay": 0.1}, "Adadelta",
                    {"lr": 0.5, "rho": 0.95, "eps": 1e-4, "weight_decay": 0.1}),
    "adagrad": ("Adagrad", {"learning_rate": 0.05}, "Adagrad", {"lr": 0.05}),
    "adagrad-initial": ("Adagrad", {"learning_rate": 0.05, "initial_accumulator_value": 0.5, "weight_decay": 0.1}, "Adagrad",
                        {"lr": 0.05, "initial_accumulator_value": 0.5, "weight_decay": 0.1}),
    "adamax": ("Adamax", {"learning_rate": 0.01}, "Adamax", {"lr": 0.01}),
    "adamax-l2": ("Adamax", {"learning_rate": 0.01, "beta_2": 0.9, "weight_decay": 0.1}, "Adamax",
                  {"lr": 0.01, "betas": (0.9, 0.9), "weight_decay": 0.1}),
    "nadam": ("Nadam", {"learning_rate": 0.01}, "NAdam", {"lr": 0.01}),
    "nadam-decoupled": ("Nadam", {"learning_rate": 0.01, "momentum_decay": 0.05, "weight_decay": 0.1,
                                  "decoupled_weight_decay": True}, "NAdam",
                        {"lr": 0.01, "momentum_decay": 0.05, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    "rmsprop": ("RMSprop", {"learning_rate": 0.01, "rho": 0.99, "epsilon": 1e-8}, "RMSprop", {"lr": 0.01}),
    "rmsprop-l2": ("RMSprop", {"learning_rate": 0.01, "weight_decay": 0.1}, "RMSprop",
                   {"lr": 0.01, "alpha": 0.9, "eps": 1e-7, "weight_decay": 0.1}),
    "rmsprop-centered": ("RMSprop", {"learning_rate": 0.01, "centered": True}, "RMSprop",
                         {"lr": 0.01, "alpha": 0.9, "eps": 1e-7, "centered": True}),
    "rmsprop-momentum": ("RMSprop", {"learning_rate": 0.005, "momentum": 0.9}, "RMSprop",
                         {"lr": 0.005, "alpha": 0.9, "eps": 1e-7, "momentum": 0.9}),
    "rmsprop-both": ("RMSprop", {"learning_rate": 0.005, "momentum": 0.5, "centered": True}, "RMSprop",
                     {"lr": 0.005, "alpha": 0.9, "eps": 1e-7, "momentum": 0.5, "centered": True}),
}

# id -> (class here, its arguments, class in torch.optim.lr_scheduler, its arguments); the rate of the optimizer is 0.1
SCHEDULES = {
    "step": ("StepDecay", {"initial_learning_rate": 0.1, "step_size": 30, "gamma": 0.5}, "StepLR",
             {"step_size": 30, "gamma": 0.5}),
    "multi-step": ("MultiStepDecay", {"initial_learning_rate": 0.1, "milestones": [10, 11, 70], "gamma": 0.3}, "MultiStepLR",
                   {"milestones": [10, 11, 70], "gamma": 0.3}),
    "exponential": ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 1, "decay_rate": 0.97}, "ExponentialLR",
                    {"gamma": 0.97}),
    "linear": ("LinearDecay", {"initial_learning_rate": 0.1, "decay_steps": 60, "start_factor": 0.9, "end_factor": 0.2},
               "LinearLR", {"total_iters": 60, "start_factor": 0.9, "end_factor": 0.2}),
    "polynomial": ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 80, "end_learning_rate": 0.0, "power": 2.0},
                   "PolynomialLR", {"total_iters": 80, "power": 2.0}),
    "cosine": ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 99, "alpha": 0.05}, "CosineAnnealingLR",
               {"T_max": 99, "eta_min": 0.005}),
    "restarts": ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 13, "alpha": 0.01},
                 "CosineAnnealingWarmRestarts", {"T_0": 13, "T_mult": 2, "eta_min": 0.001}),
    "restarts-equal": ("CosineDecayRestarts", {"initial_learning_rate": 0.1, "first_decay_steps": 17, "t_mul": 1.0},
                       "CosineAnnealingWarmRestarts", {"T_0": 17}),
    "one-cycle": ("OneCycle", {"max_learning_rate": 0.1, "total_steps": 100}, "OneCycleLR",
                  {"max_lr": 0.1, "total_steps": 100}),
    "one-cycle-linear": ("OneCycle", {"max_learning_rate": 0.1, "total_steps": 100, "anneal_strategy": "linear",
                                      "three_phase": True, "pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 100.0},
                         "OneCycleLR", {"max_lr": 0.1, "total_steps": 100, "anneal_strategy": "linear", "three_phase": True,
                                        "pct_start": 0.4, "div_factor": 10.0, "final_div_factor": 100.0}),
    "warmup": ("Warmup", {"schedule": 0.1, "warmup_steps": 20, "start_factor": 0.25}, "LinearLR",
               {"total_iters": 20, "start_factor": 0.25}),
}

# ReduceLROnPlateau: arguments here and in torch, and the metric epoch by epoch
PLATEAUS = {
    "min": ({"factor": 0.5, "patience": 3, "min_delta": 1e-3, "mode": "min"},
            {"factor": 0.5, "patience": 3, "threshold": 1e-3, "threshold_mode": "abs", "mode": "min"}),
    "max-cooldown": ({"factor": 0.1, "patience": 1, "min_delta": 0.0, "mode": "max", "cooldown": 4, "min_lr": 1e-4},
                     {"factor": 0.1, "patience": 1, "threshold": 0.0, "threshold_mode": "abs", "mode": "max", "cooldown": 4,
                      "min_lr": 1e-4}),
}


def start() -> dict[str, np.ndarray]:
    """The weights before the first step, float64 numbers that float32 holds."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32).astype(np.float64) for name, shape in SHAPES.items()}


def gradients(step: int) -> dict[str, np.ndarray]:
    """The gradients of a step, counted from 1."""
    rng = np.random.default_rng(step)
    return {name: rng.standard_normal(shape).astype(np.float32).astype(np.float64) for name, shape in SHAPES.items()}


def metric() -> np.ndarray:
    """A metric that falls, and stays, and falls."""
    rng = np.random.default_rng(5)
    return np.round(np.concatenate([np.linspace(2, 1, 20), np.full(25, 1.0), np.linspace(1, 0.5, 20), np.full(35, 0.5)])
                    + 0.01 * rng.standard_normal(100), 6)
