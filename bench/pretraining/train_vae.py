"""Trains the autoencoder of the pocket base: AutoencoderKL, 64×64 pictures to 4×16×16 latents."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.pretraining import nets
from bench.pretraining.muon import Muon


def to_float(images: np.ndarray) -> Tensor:
    """uint8 (n, 64, 64, 3) to float (n, 3, 64, 64) in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def psnr(mse: float) -> float:
    """dB of a mean squared error taken in [-1, 1]; the peak-to-peak range is 2."""
    return 10 * float(np.log10(4 / mse))


def reconstruction_loss(x: Tensor, y: Tensor) -> Tensor:
    """L1 + squared error + L1 of differences between neighbours, which keeps edges without a perceptual network."""
    dx = (y[..., 1:] - y[..., :-1] - x[..., 1:] + x[..., :-1]).abs().mean()
    dy = (y[..., 1:, :] - y[..., :-1, :] - x[..., 1:, :] + x[..., :-1, :]).abs().mean()
    return (x - y).abs().mean() + 4 * (x - y).square().mean() + 0.25 * (dx + dy)


def train(
    images: np.ndarray,
    work: Path,
    seconds: float,
    batch: int = 8,
    lr: float = 2e-3,
    resume: bool = False,
    decoder_only: bool = False,
    seed: int = 0,
    optimiser: str = "muon",
    save: bool = True,
) -> None:
    """Train for `seconds` of wall time, learning rate falling to zero with the time used; saves `work/vae` every
    minute."""
    torch.manual_seed(seed)
    net: Any = nets.vae()
    if resume or decoder_only:
        net = type(net).from_pretrained(work / "vae")
    if decoder_only:
        net.encoder.requires_grad_(False)
        net.quant_conv.requires_grad_(False)
    net.train()
    opt = Muon(net, lr) if optimiser == "muon" else torch.optim.AdamW(net.parameters(), lr, betas=(0.9, 0.99))
    rng = np.random.default_rng(seed)
    held, pool = to_float(images[:128]), images[128:]
    start = saved = time.time()
    step, loss_mean = 0, 0.0
    while (used := (time.time() - start) / seconds) < 1:
        for group in opt.param_groups:
            group["lr"] = lr * min(1, (step + 1) / 50) * min(1.0, 1.6 * (1 - used)) ** 1.5
        x = to_float(pool[rng.integers(0, len(pool), batch)])
        # mirrored, and with channels exchanged: colours and patterns that no sample has
        x = x.flip(-1) if rng.random() < 0.5 else x
        x = x[:, rng.permutation(3)] if rng.random() < 0.3 else x
        with torch.set_grad_enabled(not decoder_only):
            q = net.encode(x).latent_dist
            z = q.mean + 0.5 * q.std.clamp(max=1) * torch.randn_like(q.mean)
        loss = reconstruction_loss(x, net.decode(z).sample)
        if not decoder_only:
            loss = loss + 1e-4 * q.kl().mean() / q.mean[0].numel()
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        step += 1
        loss_mean += 0.02 * (loss.item() - loss_mean)
        if step % 100 == 0:
            with torch.no_grad():
                q = net.encode(held).latent_dist
                mse = (net.decode(q.mean).sample.clamp(-1, 1) - held).square().mean().item()
            print(
                f"vae step {step} {time.time() - start:.0f} s loss {loss_mean:.4f} psnr {psnr(mse):.2f} dB "
                f"latent std {q.mean.std():.2f} posterior std {q.std.mean():.3f}",
                flush=True,
            )
        if save and time.time() - saved > 60:
            net.save_pretrained(work / "vae")
            saved = time.time()
    if save:
        net.save_pretrained(work / "vae")
