"""Steps of two networks against each other beside PyTorch: the same weights, images and codes, SGD, every loss."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import dlcore as dl
from dlcore import models, ops
from dlcore.graph import Graph, plan
from dlcore.training.duel import BETWEEN, CODES_TO_JUDGE, CODES_TO_LEARN

B, H, W, LATENT, STEPS, RATE, PENALTY = 12, 6, 7, 5, 4, 0.05, 3.0


def drawn(kind, width, place, step):
    """What a step's program draws at a place."""
    graph = Graph()
    draw = ops.random_normal if kind == "normal" else ops.random_uniform
    instance = plan(graph, {"out": ops.scale(draw(B, width, graph=graph, node=place), 1.0)}).bind()
    instance.run(seed=0, step=step, first_sample=0)
    return torch.from_numpy(instance["out"].copy()).double()


def weight_of(module, u):
    """A layer's weight divided by v^T W u', and the next u; singular vectors are constants."""
    w = module.weight
    matrix = w.permute(2, 3, 1, 0).reshape(-1, w.shape[0]) if w.ndim == 4 else w.T
    with torch.no_grad():
        v = F.normalize(matrix @ u, dim=0)
        u = F.normalize(matrix.T @ v, dim=0)
    return w / (v @ matrix @ u), u


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.norm = nn.Linear(LATENT, 2 * 2 * 6), nn.BatchNorm1d(24)
        self.up1, self.norm1 = nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.BatchNorm2d(4)
        self.up2 = nn.ConvTranspose2d(4, 1, 4, 2, 1)

    def forward(self, z):
        x = F.relu(self.norm(self.dense(z))).reshape(-1, 2, 2, 6).permute(0, 3, 1, 2)
        x = F.relu(self.norm1(self.up1(x)[:, :, :3, :4]))
        return torch.tanh(self.up2(x))[:, :, :H, :W]


class Discriminator(nn.Module):
    def __init__(self, batchnorm, spectral):
        super().__init__()
        self.conv1, self.conv2, self.dense = nn.Conv2d(1, 4, 4, 2), nn.Conv2d(4, 6, 4, 2), nn.Linear(24, 1)
        self.norm = nn.BatchNorm2d(6) if batchnorm else nn.Identity()
        self.spectral, self.u = spectral, {}

    def forward(self, x):
        weights = {}
        for name in ("conv1", "conv2", "dense"):
            weights[name] = getattr(self, name).weight
            if self.spectral:
                weights[name], u = weight_of(getattr(self, name), self.u[name])
                self.next = getattr(self, "next", {}) | {name: u}
        x = F.leaky_relu(F.conv2d(F.pad(x, (1, 2, 1, 1)), weights["conv1"], self.conv1.bias, 2), 0.2)
        x = F.leaky_relu(self.norm(F.conv2d(F.pad(x, (1, 1, 1, 2)), weights["conv2"], self.conv2.bias, 2)), 0.2)
        return F.linear(x.permute(0, 2, 3, 1).reshape(len(x), -1), weights["dense"], self.dense.bias)


def filled(module, kernel, bias):
    """Weights of a dlcore layer as PyTorch has them."""
    order = {2: (1, 0), 4: (3, 2, 0, 1)}[kernel.ndim]
    module.weight.data = torch.from_numpy(kernel.transpose(order).copy()).double()
    module.bias.data = torch.from_numpy(bias.copy()).double()


def pair(model, batchnorm, spectral):
    made, judge = Generator().double(), Discriminator(batchnorm, spectral).double()
    ups = [layer for layer in model.generator.layers if type(layer).__name__ == "Conv2DTranspose"]
    filled(made.dense, *model.generator.layers[0].get_weights())
    for module, layer in zip((made.up1, made.up2), ups, strict=True):
        filled(module, *layer.get_weights())
    learned = ("Conv2D", "Dense", "SpectralNormalization")
    wrapped = [layer for layer in model.discriminator.layers if type(layer).__name__ in learned]
    for name, layer in zip(("conv1", "conv2", "dense"), wrapped, strict=True):
        if spectral:
            judge.u[name] = torch.from_numpy(layer.vector.numpy()).double()
        filled(getattr(judge, name), *(layer.layer if spectral else layer).get_weights())
    return made, judge


def losses(kind, real, fake):
    if kind == "nonsaturating":
        return F.softplus(-real) + F.softplus(fake)
    return F.relu(1 - real) + F.relu(1 + fake) if kind == "hinge" else fake - real


@pytest.mark.parametrize("kind, batchnorm, spectral, every", [
    ("nonsaturating", True, False, 1), ("hinge", False, True, 1), ("wgan-gp", False, False, 2), ("wgan-gp", False, True, 1)])
def test_steps(kind, batchnorm, spectral, every):
    x = np.random.default_rng(0).uniform(-1, 1, (B, H, W)).astype(np.float32)
    model = models.dcgan((H, W), LATENT, filters=(4, 6), batchnorm=batchnorm, spectral=spectral, flat=True, seed=1)
    for variable in model.variables:        # small weights would hide what is multiplied
        if len(variable.shape) > 1 and model.ensure_store():
            variable.assign(variable.numpy() * 15)
    model.compile(dl.SGD(RATE), loss=kind, penalty=PENALTY, critic_steps=every)
    made, judge = pair(model, batchnorm, spectral)
    history = model.fit(x.reshape(B, -1), batch_size=B, epochs=STEPS, shuffle=False, seed=0, verbose=0).history
    real = torch.from_numpy(x).double().unsqueeze(1)
    seen = []
    for step in range(1, STEPS + 1):
        fake = made(drawn("normal", LATENT, CODES_TO_JUDGE, step)).detach()
        loss = losses(kind, judge(real), judge(fake))
        if kind == "wgan-gp":
            share = drawn("uniform", 1, BETWEEN, step).reshape(B, 1, 1, 1)
            point = (share * real + (1 - share) * fake).requires_grad_()
            slope, = torch.autograd.grad(judge(point).sum(), point, create_graph=True)
            loss = loss + PENALTY * (slope.flatten(1).norm(dim=1, keepdim=True) - 1)**2
        seen.append(float(loss.detach().mean()))
        descend(judge, loss.mean())
        judge.u = getattr(judge, "next", {})
        if step % every == 0:
            score = judge(made(drawn("normal", LATENT, CODES_TO_LEARN, step // every)))
            descend(made, (F.softplus(-score) if kind == "nonsaturating" else -score).mean())
    np.testing.assert_allclose(history["d_loss"], seen, rtol=2e-4, atol=2e-5)
    kernel = model.generator.layers[0].get_weights()[0]
    np.testing.assert_allclose(kernel, made.dense.weight.detach().numpy().T, rtol=1e-3, atol=2e-4)
    last = model.discriminator.layers[-1]
    kernel = (last.layer if spectral else last).get_weights()[0]
    np.testing.assert_allclose(kernel, judge.dense.weight.detach().numpy().T, rtol=1e-3, atol=2e-4)


def descend(module, loss):
    """A step of plain gradient descent on the weights of one network."""
    parameters = list(module.parameters())
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        p.data -= RATE * g
