"""The networks of W3 as PyTorch modules."""

import torch
from torch import nn


class Block(nn.Module):
    """Two convolutions and a shortcut, which is a convolution of 1 x 1 where the size changes."""

    def __init__(self, before: int, filters: int, stride: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(before, filters, 3, stride, 1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(),
            nn.Conv2d(filters, filters, 3, 1, 1, bias=False),
            nn.BatchNorm2d(filters),
        )
        beside = [nn.Conv2d(before, filters, 1, stride, bias=False), nn.BatchNorm2d(filters)] if stride > 1 else []
        self.beside = nn.Sequential(*beside)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.main(x) + self.beside(x))


def network(name: str) -> nn.Module:
    if name == "cnn":
        head = [nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)]
        return nn.Sequential(*head, nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Linear(128, 10))
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    before = 16
    for filters in (16, 32, 64):
        for block in range(3):
            layers.append(Block(before, filters, 2 if filters > 16 and not block else 1))
            before = filters
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
