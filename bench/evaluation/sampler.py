"""Pictures from prompts: deterministic sampling with classifier-free guidance, in large batches.

A base that was distilled from guided sampling is called once, and told the scale where it reads one.
Ho & Salimans, "Classifier-Free Diffusion Guidance", arXiv:2207.12598, eq. 6: u + g (c - u), u for the empty prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bench.core.rng import rng

if TYPE_CHECKING:
    from PIL import Image

    from bench.bases.base import Base
    from bench.core.rng import Key
    from bench.protocol.models import Sample

# Pictures at once, 42 with guidance: the fastest per picture for 16 × 16 latents on one core (of 12, 21, 37).
CHUNK = 21
LATENTS = 4 * 64 * 64  # at once: four pictures of 512 px, one of 1024, for memory's sake


@torch.no_grad()
def sample_latents(base: Base, prompts: list[str], noise: Tensor, sampling: Sample, chunk: int = CHUNK) -> Tensor:
    """Scaled latents (B, C, h, w) from `noise` (B, C, h, w), one prompt each; `chunk` does not change the result."""
    guided = base.guidance == "cfg" and sampling.guidance != 1
    texts: list[str] = list(dict.fromkeys(prompts + [""] * guided))
    with base.autocast():
        states: Any = base.encode_text(texts)  # (T, L, D)
    if base.guidance == "embedded":
        states = states.at(sampling.guidance)
    row = {text: i for i, text in enumerate(texts)}
    _, h, w = base.latent_shape
    chunk = max(1, min(chunk, LATENTS // (h * w)))
    out = []
    for lo in range(0, len(prompts), chunk):
        part = prompts[lo : lo + chunk]
        both = ([""] * len(part) if guided else []) + part
        context = states[[row[p] for p in both]]  # (2b, L, D): the empty prompt first

        def predict(x: Tensor, t: Tensor, context: Any = context) -> Tensor:
            if not guided:
                return base.net(x, t, context).float()
            u, c = base.net(torch.cat([x, x]), torch.cat([t, t]), context).float().chunk(2)
            return u + sampling.guidance * (c - u)

        with base.autocast():
            x = noise[lo : lo + chunk].to(base.device)
            out.append(base.schedule.walk(x, sampling.steps, predict))
    return torch.cat(out) if out else noise


def for_sampling(base: Base) -> Base:
    """`base` where it works, laid out for drawing; `base` itself is left as it is.

    On a CPU convolutions take pictures with the channels last as they come, while others are reordered around each:
    12 to 18 % of the time. Training keeps the common layout, since group norm's backward pass is slower in the other.
    """
    base = base.working()
    if base.device.type != "cpu":
        return base
    laid = base.fork()
    laid.net.denoiser.to(memory_format=torch.channels_last)
    return laid


def noise_for(base: Base, n: int, *keys: Key) -> Tensor:
    """Starting noise (n, C, h, w) of the stream ("sample", *keys): the same for every method of a block."""
    return torch.randn(n, *base.latent_shape, generator=rng("sample", *keys))


def sample(base: Base, prompts: list[str], sampling: Sample, *keys: Key) -> Tensor:
    """Pictures (P, n, 3, H, W) in [0, 1] of P `prompts`, n = sampling.per_prompt, with the noise of `keys`."""
    n = sampling.per_prompt
    repeated = [p for p in prompts for _ in range(n)]
    latents = sample_latents(base, repeated, noise_for(base, len(repeated), *keys), sampling)
    return base.decode(latents).unflatten(0, (len(prompts), n))


def grid(images: Tensor, columns: int, gap: int = 2) -> Image.Image:
    """One PIL picture of `images` (N, 3, H, W) in [0, 1], row by row, `gap` white pixels between them."""
    import numpy as np
    from PIL import Image

    n, _, h, w = images.shape
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    sheet = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    pixels = (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    for i, picture in enumerate(pixels):
        y, x = i // columns * (h + gap), i % columns * (w + gap)
        sheet[y : y + h, x : x + w] = picture
    return Image.fromarray(sheet)
