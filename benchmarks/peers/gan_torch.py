"""The DCGAN of dlcore.models.dcgan in PyTorch: trained on images for so many steps, then asked for new ones.

    python gan_torch.py IMAGES.npy OUT.npy --steps N --count N [--seed 0]

IMAGES: u8[N, 28, 28].  OUT: f32[count, 28, 28], pixels from 0 to 1.  Prints the seconds of the training.
"""

import argparse
import time

import numpy as np
import torch
from gan_models import networks
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images")
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--latent", type=int, default=100)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--beta1", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(given.seed)
    images = torch.from_numpy(np.load(given.images)).float().div(127.5).sub(1).unsqueeze(1)
    generator, discriminator = networks(given.latent)
    makes, judges = (
        torch.optim.Adam(net.parameters(), lr=given.lr, betas=(given.beta1, 0.999), fused=True)
        for net in (generator, discriminator)
    )
    real, fake, done = torch.ones(given.batch, 1), torch.zeros(given.batch, 1), 0
    begin = time.perf_counter()
    while done < given.steps:
        order = torch.randperm(len(images))
        for at in range(0, len(images) - given.batch + 1, given.batch):
            with torch.no_grad():
                made = generator(torch.randn(given.batch, given.latent))
            loss = cross_entropy(discriminator(images[order[at : at + given.batch]]), real)
            loss = loss + cross_entropy(discriminator(made), fake)
            judges.zero_grad(set_to_none=True)
            loss.backward()
            judges.step()
            makes.zero_grad(set_to_none=True)
            cross_entropy(discriminator(generator(torch.randn(given.batch, given.latent))), real).backward()
            makes.step()
            done += 1
            if done == given.steps:
                break
    print(time.perf_counter() - begin)
    generator.eval()
    with torch.inference_mode():
        parts = [generator(torch.randn(min(1000, given.count - at), given.latent)) for at in range(0, given.count, 1000)]
    np.save(given.out, torch.cat(parts)[:, 0].add(1).div(2).numpy())


if __name__ == "__main__":
    main()
