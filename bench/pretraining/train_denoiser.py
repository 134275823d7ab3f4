"""Trains the U-Net and text encoder of the pocket base on cached latents: v-prediction, noise levels where they teach.

Salimans, Ho, "Progressive distillation", arXiv:2202.00512, appendix D (v); noise levels normal in log-SNR after
Karras et
al., arXiv:2206.00364, table 1, and Esser et al., arXiv:2403.03206, section 3.1 (their logit-normal has deviation 2
there).
Uniform times with min-SNR weights spend a third of the work on steps whose weight is near nothing.
"""

from __future__ import annotations

import copy
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bench.pretraining import nets
from bench.pretraining.muon import Muon
from bench.pretraining.train_vae import to_float

LOG_SNR = (0.0, 2.0)  # mean and deviation of the noise levels that are trained on
DROP = 0.1  # share of samples that see the empty prompt, for classifier-free guidance


def fold_statistics(vae: Any, images: np.ndarray) -> None:
    """Fold each latent channel's mean and deviation into the 1×1 convolutions, so that latents are standard and
    scaling is 1."""
    with torch.no_grad():
        z = torch.cat([vae.encode(to_float(images[i : i + 64])).latent_dist.mean for i in range(0, len(images), 64)])
        mean, std = z.mean((0, 2, 3)), z.std((0, 2, 3))
        n = len(mean)
        q, post = vae.quant_conv, vae.post_quant_conv
        q.weight[:n] /= std[:, None, None, None]
        q.bias[:n].sub_(mean).div_(std)
        q.bias[n:] -= 2 * std.log()
        post.bias += post.weight[:, :, 0, 0] @ mean
        post.weight *= std[None, :, None, None]
    vae.register_to_config(scaling_factor=1.0)


@torch.no_grad()
def encode_all(vae: Any, images: np.ndarray, batch: int = 64) -> Tensor:
    """Latent means (n, 4, 16, 16), float16."""
    parts = [vae.encode(to_float(images[i : i + batch])).latent_dist.mean.half() for i in range(0, len(images), batch)]
    return torch.cat(parts)


class Model(nn.Module):
    """U-Net and text encoder together, as they are trained."""

    def __init__(self, words: int):
        super().__init__()
        from diffusers.models.attention_processor import AttnProcessor

        self.unet, self.text = nets.unet(), nets.text_encoder(words)
        self.unet.set_attn_processor(AttnProcessor())  # plain attention is faster than SDPA on CPU at these sizes

    def forward(self, x: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        return self.unet(x, t, encoder_hidden_states=self.text(ids).last_hidden_state).sample


def save(model: Model, folder: Path) -> None:
    model.unet.save_pretrained(folder / "unet")
    model.text.save_pretrained(folder / "text_encoder")


def train(
    latents: Tensor,
    ids: Tensor,
    empty: Tensor,
    work: Path,
    samples: int,
    batch: int = 96,
    lr: float = 2e-3,
    seed: int = 0,
    save_seconds: float = 120,
    lanes: int | None = None,
) -> None:
    """Train until `samples` pictures were seen; learning rate constant, then linear to zero over the second half.

    The batch is split over `lanes` Python threads (default: cores) with one torch thread each: on two cores a
    quarter faster
    than one lane with two threads, which wait for each other in every small layer.

    latents (n, 4, 16, 16) standardised; ids (n, L) and empty (L,) token ids. State goes to
    `work/denoiser.safetensors`-like
    files every `save_seconds`; calling again goes on from there.
    """
    torch.manual_seed(seed)
    model = Model(
        int(max(ids.max(), empty.max())) + 1
        if not (work / "tokenizer").exists()
        else len(nets.tokenizer(work / "tokenizer"))
    )
    opt = Muon(model, lr, skip=("embed", "conv_in", "conv_out", "time_"))
    ema = copy.deepcopy(model).requires_grad_(False)
    seen, state_file = 0, work / "training.pt"
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        model.load_state_dict(state["model"])
        ema.load_state_dict(state["ema"])
        opt.load_state_dict(state["opt"])
        seen = int(state["seen"])
    alphas = nets.scheduler().alphas_cumprod
    log_snr = (alphas / (1 - alphas)).log().flip(0).contiguous()  # ascending, for the search below
    gen = torch.Generator().manual_seed(seed + seen)
    lanes = lanes or os.cpu_count() or 1
    pool = ThreadPoolExecutor(lanes, initializer=torch.set_num_threads, initargs=(1,))
    weights = [p for p in model.parameters() if p.requires_grad]

    def gradients(x: Tensor, t: Tensor, tokens: Tensor, v: Tensor) -> tuple[float, tuple[Tensor, ...]]:
        loss = (model(x, t, tokens) - v).square().mean()
        return loss.item(), torch.autograd.grad(loss, weights, allow_unused=True)

    start = saved = time.time()
    first, mean_loss, steps = seen, None, 0
    while seen < samples:
        used = seen / samples
        for group in opt.param_groups:
            group["lr"] = lr * min(1.0, (seen / batch + 1) / 100) * min(1.0, 2 * (1 - used))
        pick = torch.randint(len(latents), (batch,), generator=gen)
        x0 = latents[pick].float()
        tokens = torch.where(torch.rand(batch, 1, generator=gen) < DROP, empty, ids[pick])
        # stratified: less variance than independent draws
        u = (torch.arange(batch) + torch.rand(batch, generator=gen)) / batch
        level = LOG_SNR[0] + LOG_SNR[1] * 2**0.5 * torch.erfinv(2 * u.clamp(1e-4, 1 - 1e-4) - 1)
        t = len(alphas) - 1 - torch.searchsorted(log_snr, level).clamp(max=len(alphas) - 1)
        eps = torch.randn(x0.shape, generator=gen)
        a = alphas[t][:, None, None, None]
        x = a.sqrt() * x0 + (1 - a).sqrt() * eps
        v = a.sqrt() * eps - (1 - a).sqrt() * x0
        # lane k takes every lanes-th sample, so that each sees all noise levels
        jobs = [pool.submit(gradients, x[k::lanes], t[k::lanes], tokens[k::lanes], v[k::lanes]) for k in range(lanes)]
        results = [job.result() for job in jobs]
        loss = sum(r[0] for r in results) / lanes
        for p, *parts in zip(weights, *(r[1] for r in results), strict=True):
            p.grad = None if parts[0] is None else torch.stack(parts).mean(0) if lanes > 1 else parts[0]
        nn.utils.clip_grad_norm_(weights, 1.0)
        opt.step(pool=pool)
        seen, steps = seen + batch, steps + 1
        decay = min(0.998, (1 + seen / batch) / (10 + seen / batch))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(model.parameters()), 1 - decay)
        mean_loss = loss if mean_loss is None else mean_loss + 0.02 * (loss - mean_loss)
        if not math.isfinite(mean_loss):
            raise FloatingPointError(f"pocket training diverged after {seen} samples; lower the learning rate ({lr})")
        if steps % 25 == 0:
            rate = (seen - first) / (time.time() - start)
            left = (samples - seen) / rate / 60
            print(f"denoiser {seen}/{samples} loss {mean_loss:.4f} {rate:.1f}/s left {left:.0f} min", flush=True)
        if time.time() - saved > save_seconds or seen >= samples:
            part = state_file.with_suffix(".part")
            torch.save(
                {"model": model.state_dict(), "ema": ema.state_dict(), "opt": opt.state_dict(), "seen": seen}, part
            )
            os.replace(part, state_file)
            save(ema, work)
            saved = time.time()
