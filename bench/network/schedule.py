"""Noise schedules: how a clean latent becomes noise, what the denoiser predicts, and how to walk back.

Three kinds of prediction over one interface:
  eps   x_t = sqrt(abar) x0 + sqrt(1 - abar) eps, predicts eps            Ho et al., DDPM, arXiv:2006.11239, eq. 4
  v     same x_t, predicts v = sqrt(abar) eps - sqrt(1 - abar) x0         Salimans & Ho, arXiv:2202.00512, appendix D
  flow  x_t = (1 - s) x0 + s eps, predicts eps - x0, s = t / T            Lipman et al., arXiv:2210.02747; Esser et al.,
                                                                          arXiv:2403.03206, section 2
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

KINDS = ("eps", "v", "flow")
SPACINGS = ("leading", "trailing", "linspace")
DENSITIES = ("uniform", "logit-normal")
_NAMES = {"epsilon": "eps", "v_prediction": "v", "flow_prediction": "flow"}


@dataclass(frozen=True)
class Schedule:
    """A discrete schedule of T times.

    kind            "eps", "v" or "flow"
    alphas_cumprod  (T,) float32, decreasing; for "flow" any (T,) tensor, only its length counts
    spacing         of the sampling times as diffusers names them, "linspace" in the form of its DPMSolverMultistep;
                    not used by "flow"
    offset          first time of the leading spacing (diffusers' steps_offset)
    ends_clean      the last sampling step goes to x0 itself, not to time 0 (diffusers' set_alpha_to_one)
    density         of the training times: "uniform", or "logit-normal" (Esser et al., section 3.1, mean 0, deviation 1)
    shift           k of s' = k s / (1 + (k - 1) s), which moves the training times of "flow" towards noise (Esser et
                    al., section 5.3.2)
    sigmas          "flow": steps -> the sampling times as s (steps,), from noise to clean; None: evenly spaced
    """

    kind: str
    alphas_cumprod: Tensor
    spacing: str = "leading"
    offset: int = 0
    ends_clean: bool = False
    density: str = "uniform"
    shift: float = 1.0
    sigmas: Callable[[int], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown kind {self.kind!r}: one of {', '.join(KINDS)}")
        if self.spacing not in SPACINGS:
            raise ValueError(f"unknown spacing {self.spacing!r}: one of {', '.join(SPACINGS)}")
        if self.density not in DENSITIES:
            raise ValueError(f"unknown density {self.density!r}: one of {', '.join(DENSITIES)}")
        if self.kind != "flow" and (self.density, self.shift) != ("uniform", 1.0):
            raise ValueError("only flow has a density or a shift of its training times")

    def __len__(self) -> int:
        return len(self.alphas_cumprod)

    def scales(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, s) with x_t = a x0 + s eps, each (B, 1, 1, 1), at times `t` (B,): int64 in [0, T), for flow in [0, T]."""
        if self.kind == "flow":
            s = t.float() / len(self)
            a = 1 - s
        else:
            abar = self.alphas_cumprod.to(t.device)[t]
            a, s = abar.sqrt(), (1 - abar).sqrt()
        return a.view(-1, 1, 1, 1), s.view(-1, 1, 1, 1)

    def add_noise(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """x_t (B, C, h, w) of clean `x0` and noise `eps`, both (B, C, h, w), at times `t` (B,)."""
        a, s = self.scales(t)
        return a.to(x0.dtype) * x0 + s.to(x0.dtype) * eps

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """What the denoiser should say at (`x0`, `eps`, `t`), (B, C, h, w)."""
        if self.kind == "eps":
            return eps
        if self.kind == "flow":
            return eps - x0
        a, s = self.scales(t)
        return a.to(x0.dtype) * eps - s.to(x0.dtype) * x0

    def split(self, xt: Tensor, prediction: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x0, eps), each (B, C, h, w), that the denoiser's `prediction` at (`xt`, `t`) stands for."""
        a, s = self.scales(t)
        a, s = a.to(xt.dtype), s.to(xt.dtype)
        if self.kind == "eps":
            return (xt - s * prediction) / a, prediction
        if self.kind == "v":
            return a * xt - s * prediction, a * prediction + s * xt
        return xt - s * prediction, xt + (1 - s) * prediction

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio a²/s² (B,) at times `t` (B,)."""
        a, s = self.scales(t)
        return (a / s).square().flatten()

    def min_snr(self, t: Tensor, gamma: float = 5.0) -> Tensor:
        """Loss weights (B,) of min-SNR-γ for this kind of prediction.

        Hang et al., "Efficient Diffusion Training via Min-SNR Weighting Strategy", arXiv:2303.09556, section 3.4:
        min(SNR, γ)/SNR for eps, min(SNR, γ)/(SNR + 1) for v. Flow gets 1: its target is already balanced.
        """
        snr = self.snr(t)
        if self.kind == "eps":
            return snr.clamp(max=gamma) / snr
        if self.kind == "v":
            return snr.clamp(max=gamma) / (snr + 1)
        return torch.ones_like(snr)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """Training times (n,): uniform over the T noisy ones, int64 from 0 to T-1, for flow from 1 to T.

        With another density or a shift, float32: diffusers' `compute_density_for_timestep_sampling`, its index into
        the T times of FlowMatchEulerDiscreteScheduler, and that scheduler's shift.
        """
        if self.density != "uniform" or self.shift != 1:
            if self.density == "uniform":
                u = torch.rand(n, generator=generator)
            else:
                u = torch.randn(n, generator=generator).sigmoid()
            total = len(self)
            s = 1 - (u * total).long().clamp(max=total - 1) / total
            return self.shift * s / (1 + (self.shift - 1) * s) * total
        low = int(self.kind == "flow")  # time 0 of flow holds no noise, so there is nothing to learn at it
        return torch.randint(low, len(self) + low, (n,), generator=generator)

    def times(self, steps: int) -> Tensor:
        """Sampling times (steps,), from noisy to clean: int64, or float32 where `sigmas` gives them.

        eps and v: the leading or trailing spacing of diffusers' DDIMScheduler. flow: evenly spaced from T down to
        T / steps, as diffusers' FluxPipeline hands them to its scheduler.
        """
        total = len(self)
        if not 1 <= steps <= total:
            raise ValueError(f"steps must be between 1 and {total}, not {steps}")
        if self.sigmas is not None:
            return self.sigmas(steps).float() * total
        down = torch.arange(steps, 0, -1)
        if self.spacing == "linspace":
            return (down.double() * (total - 1) / steps).round().long()
        if self.kind == "flow":
            return (down * total / steps).round().long()
        if self.spacing == "trailing":
            return (down.double() * total / steps).round().long() - 1
        return ((down - 1) * (total // steps) + self.offset).clamp(max=total - 1)

    @torch.no_grad()
    def walk(self, x: Tensor, steps: int, predict: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """A clean latent from noise `x` (B, C, h, w), by `predict`(x_t, t (B,)) in `steps` deterministic steps.

        DDIM with η = 0 (Song et al., arXiv:2010.02502, eq. 12) for eps and v; Euler's rule for flow. Both are "find
        (x0, eps), then mix them anew at the next time".
        """
        times = self.times(steps)
        x0 = x
        for i, time in enumerate(times):
            t = time.expand(len(x)).to(x.device)
            x0, eps = self.split(x, predict(x, t), t)
            nxt = times[i + 1] if i + 1 < steps else torch.zeros_like(time)
            x = self.add_noise(x0, eps, nxt.expand(len(x)).to(x.device))
        return x0 if self.ends_clean else x


def from_scheduler(scheduler: Any) -> Schedule:
    """The Schedule of a diffusers scheduler: its noise levels, prediction and spacing, walked as `Schedule.walk` does.

    That is the scheduler's own walk for DDIM, for EulerDiscrete and first-order DPMSolverMultistep (which are DDIM
    written differently) and for FlowMatchEuler; another solver (PNDM, a higher order) shares the times alone.

    A published configuration carries keys of the schedulers that it was converted from (SDXL's EulerDiscrete has
    set_alpha_to_one), and diffusers keeps them in `config` unused: only what the class itself takes is read.

    Raises ValueError for what this module doesn't walk: sample prediction, clipping, thresholding, other spacings.
    """
    takes = inspect.signature(type(scheduler).__init__).parameters
    config = {key: value for key, value in scheduler.config.items() if key in takes}
    if "FlowMatch" in type(scheduler).__name__:
        return Schedule("flow", torch.linspace(1, 0, config["num_train_timesteps"]))
    kind = _NAMES.get(config["prediction_type"])
    if kind is None:
        known = ", ".join(_NAMES)
        raise ValueError(f"prediction type {config['prediction_type']!r} is not supported: one of {known}")
    if config.get("thresholding") or config.get("clip_sample"):
        raise ValueError("a scheduler that clips its samples is not supported: set clip_sample=False for latents")
    spacing = config.get("timestep_spacing", "leading")
    if spacing == "linspace" and not type(scheduler).__name__.startswith("DPMSolver"):
        raise ValueError(
            "the spacing 'linspace' is known of DPMSolver alone: set timestep_spacing to leading or trailing"
        )
    # DDIM and PNDM are told so; EulerDiscrete and DPMSolver name their last noise level instead.
    clean = config.get("set_alpha_to_one", config.get("final_sigmas_type", "zero") == "zero")
    return Schedule(
        kind,
        scheduler.alphas_cumprod.float().clone(),
        spacing=spacing,
        offset=config.get("steps_offset", 0),
        ends_clean=clean,
    )


USUAL_STEPS = 50  # at which a shift that hangs on the number of steps is taken for training: FLUX.2's default


def linear_mu(scheduler: Any, tokens: int) -> float:
    """The shift's logarithm for a picture of so many tokens: linear between two sizes, as diffusers' FluxPipeline."""
    c = scheduler.config
    low, high = c.get("base_image_seq_len", 256), c.get("max_image_seq_len", 4096)
    least, most = c.get("base_shift", 0.5), c.get("max_shift", 1.15)
    return least + (tokens - low) * (most - least) / (high - low)


def from_flow_scheduler(scheduler: Any, mu: Callable[[int], float], even: bool) -> Schedule:
    """A flow whose sampling times are those of `scheduler` itself, and whose training times have the same shift.

    `mu`: steps -> the shift's logarithm, for a scheduler with use_dynamic_shifting. `even`: the pipeline hands the
    scheduler times from 1 down to 1 / steps instead of leaving them to it. Training times are logit-normal.
    """
    config = scheduler.config
    dynamic = bool(config.get("use_dynamic_shifting"))
    total = config.num_train_timesteps

    def sigmas(steps: int) -> Tensor:
        import numpy as np

        own = type(scheduler).from_config(config)
        more: dict[str, Any] = {"mu": mu(steps)} if dynamic else {}
        if even and not config.get("use_flow_sigmas"):
            own.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), **more)
        else:
            own.set_timesteps(steps, **more)
        return own.sigmas[:-1]

    shift = math.exp(mu(USUAL_STEPS)) if dynamic else float(config.shift)
    return Schedule("flow", torch.linspace(1, 0, total), density="logit-normal", shift=shift, sigmas=sigmas)
