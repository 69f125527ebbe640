"""W10 in PyTorch.  Modes: fused (fused Adam), channels-last (the same, on [B, H, W, C]), compile (channels-last, compiled)."""

from worker import args, serve  # isort: skip

import torch
from gan_models import networks
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)
generator, discriminator = networks(100)
x = torch.randn(args.batch, 1, 28, 28)
if args.mode != "fused":
    generator, discriminator = (net.to(memory_format=torch.channels_last) for net in (generator, discriminator))
    x = x.contiguous(memory_format=torch.channels_last)
makes, judges = (torch.optim.Adam(net.parameters(), lr=2e-4, fused=True) for net in (generator, discriminator))
ones, zeros = torch.ones(args.batch, 1), torch.zeros(args.batch, 1)


autocast = torch.autocast("cpu", torch.bfloat16, enabled=args.part.endswith("bf16"))


def discriminator_loss(fake: torch.Tensor) -> torch.Tensor:
    with autocast:
        real_score, fake_score = discriminator(x), discriminator(fake)
    return cross_entropy(real_score.float(), ones) + cross_entropy(fake_score.float(), zeros)


def generator_loss(code: torch.Tensor) -> torch.Tensor:
    with autocast:
        score = discriminator(generator(code))
    return cross_entropy(score.float(), ones)


judged, made = discriminator_loss, generator_loss
if args.mode == "compile":
    judged, made = torch.compile(discriminator_loss), torch.compile(generator_loss)


def step() -> None:
    code = torch.randn(args.batch, 100)
    with torch.no_grad(), autocast:
        fake = generator(code)
    judged(fake).backward()
    judges.step()
    judges.zero_grad(set_to_none=True)
    made(code).backward()
    makes.step()
    makes.zero_grad(set_to_none=True)
    judges.zero_grad(set_to_none=True)


serve(step, "torch")
