"""Latents of a VAE as denoisers see them: scaled, shifted, or standardised, and kept on disk by content."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.core.cache import store, stored


def scaled(vae: Any, z: Tensor) -> Tensor:
    """What the denoiser sees of the VAE's own latents `z` (B, C, h, w).

    (z - shift) scale for AutoencoderKL; for FLUX.2's, standardised per channel of 2 x 2 latents by its batch norm's
    running mean and variance.
    """
    if not hasattr(vae, "bn"):
        return (z - _shift(vae)) * vae.config.scaling_factor
    mean, deviation = _moments(vae, z)
    return F.pixel_shuffle((F.pixel_unshuffle(z, 2) - mean) / deviation, 2)


def unscaled(vae: Any, z: Tensor) -> Tensor:
    """The inverse of `scaled`."""
    if not hasattr(vae, "bn"):
        return z / vae.config.scaling_factor + _shift(vae)
    mean, deviation = _moments(vae, z)
    return F.pixel_shuffle(F.pixel_unshuffle(z, 2) * deviation + mean, 2)


def _shift(vae: Any) -> float:
    return getattr(vae.config, "shift_factor", None) or 0.0  # SD3 and FLUX shift, SD 1.x and the pocket base don't


def _moments(vae: Any, z: Tensor) -> tuple[Tensor, Tensor]:
    mean, variance = (x.view(1, -1, 1, 1).to(z) for x in (vae.bn.running_mean, vae.bn.running_var))
    return mean, (variance + vae.config.batch_norm_eps).sqrt()


def remembered(encode: Any, images: Tensor, facts: list[Any]) -> Tensor:
    """`encode(images)` (B, C, h, w) for `images` (B, 3, H, W), each picture's latent from the cache where it is there.

    `facts` say what else the latent hangs on: the VAE's digest and its dtype.
    """
    keys = [[*facts, list(x.shape), hashlib.sha256(x.cpu().numpy().tobytes()).hexdigest()] for x in images.float()]
    found = [stored("latent", key) for key in keys]
    if missing := [i for i, one in enumerate(found) if one is None]:
        for i, z in zip(missing, encode(images[missing]), strict=True):
            found[i] = {"z": z}
            store("latent", keys[i], {"z": z})
    return torch.stack([one["z"].to(images.device) for one in found if one is not None]) if found else encode(images)
