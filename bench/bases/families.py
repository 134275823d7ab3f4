"""The families of published bases: how each encodes prompts, which noise levels it draws and trains with.

A family is known by its pipeline's class in diffusers, which does the encoding itself. Its denoiser is called by
bench.network.calls. Titles and defaults that are not in a model's own files are given with their source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bench.network.calls import Context
from bench.network.schedule import Schedule, from_scheduler


@dataclass(frozen=True)
class Family:
    """What is particular to a family.

    pipelines  its pipelines' classes; denoiser: the component that is trained
    encoders   the text encoders among the components, tokenizers the others that prompts pass
    encode     (pipeline, prompts, device, tokens) -> Context, "" as what its pipeline guides away from
    schedule   (scheduler, image tokens) -> Schedule
    multiple   picture sides are multiples of this many pixels
    """

    title: str
    pipelines: tuple[str, ...]
    denoiser: str
    encoders: tuple[str, ...]
    tokenizers: tuple[str, ...]
    encode: Callable[[Any, list[str], torch.device, int], Context]
    schedule: Callable[[Any, int], Schedule]
    multiple: int = 8

    @property
    def parts(self) -> tuple[str, ...]:
        """The components that Litmus uses."""
        return (self.denoiser, "vae", "scheduler", *self.encoders, *self.tokenizers)


# --- prompts ------------------------------------------------------------------------------------------------------


def _sd(pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
    return Context(pipe.encode_prompt(prompts, device, 1, False)[0])


def _sdxl(pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
    found = pipe.encode_prompt(prompts, device=device, do_classifier_free_guidance=True)
    states, empty, pooled, empty_pooled = found  # the empty ones may be zeros: force_zeros_for_empty_prompt
    blank = torch.tensor([not prompt for prompt in prompts], device=states.device)
    return Context(torch.where(blank[:, None, None], empty, states), torch.where(blank[:, None], empty_pooled, pooled))


def _sd3(pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
    more = {"max_sequence_length": tokens} if tokens else {}
    states, _, pooled, _ = pipe.encode_prompt(
        prompts, None, None, device=device, do_classifier_free_guidance=False, **more
    )
    return Context(states, pooled)


def _pixart(pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
    more = {"max_sequence_length": tokens} if tokens else {}
    states, mask, *_ = pipe.encode_prompt(prompts, do_classifier_free_guidance=False, device=device, **more)
    return Context(states, mask=mask)


def _flux(pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
    more = {"max_sequence_length": tokens} if tokens else {}
    states, pooled, _ = pipe.encode_prompt(prompts, None, device=device, **more)
    return Context(states, pooled)


def _flux2(pipe: Any, prompts: list[str], device: torch.device, tokens: int) -> Context:
    more: dict[str, Any] = {"max_sequence_length": tokens} if tokens else {}
    return Context(pipe.encode_prompt(prompts, device=device, **more)[0])


# --- noise levels -------------------------------------------------------------------------------------------------


def _diffusion(scheduler: Any, tokens: int) -> Schedule:
    return from_scheduler(scheduler)


def _sd3_levels(scheduler: Any, tokens: int) -> Schedule:
    """Logit-normal times with the scheduler's shift: Esser et al., arXiv:2403.03206, sections 3.1 and 5.3.2."""
    return _levels(scheduler, lambda steps: linear_mu(scheduler, tokens), even=False)


def _flux_levels(scheduler: Any, tokens: int) -> Schedule:
    """Logit-normal times shifted by the picture's size, as FLUX.1 samples.

    Its training was not published; Black Forest Labs, "FLUX.1 Kontext", arXiv:2506.15742, describe that density for its
    successor. FLUX.1-schnell's scheduler has no shift.
    """
    return _levels(scheduler, lambda steps: linear_mu(scheduler, tokens), even=True)


def _flux2_levels(scheduler: Any, tokens: int) -> Schedule:
    """As FLUX.1, with the shift that FLUX.2's pipelines fit to size and steps; training has that of 50 steps."""
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

    return _levels(scheduler, lambda steps: compute_empirical_mu(tokens, steps), even=True)


USUAL_STEPS = 50  # the default of FLUX.2's pipelines


def linear_mu(scheduler: Any, tokens: int) -> float:
    """The shift's logarithm for a picture of so many tokens: linear between two sizes, as diffusers' FluxPipeline."""
    c = scheduler.config
    low, high = c.get("base_image_seq_len", 256), c.get("max_image_seq_len", 4096)
    least, most = c.get("base_shift", 0.5), c.get("max_shift", 1.15)
    return least + (tokens - low) * (most - least) / (high - low)


def _levels(scheduler: Any, mu: Callable[[int], float], even: bool) -> Schedule:
    """A flow whose sampling times are those of `scheduler` itself, and whose training times have the same shift.

    `even`: the pipeline hands the scheduler times from 1 down to 1 / steps instead of leaving them to it.
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


# --- the table ----------------------------------------------------------------------------------------------------

_TWO, _THREE = ("text_encoder", "text_encoder_2"), ("text_encoder", "text_encoder_2", "text_encoder_3")
_TWO_TOKENIZERS, _THREE_TOKENIZERS = ("tokenizer", "tokenizer_2"), ("tokenizer", "tokenizer_2", "tokenizer_3")
_ONE: Any = {"encoders": ("text_encoder",), "tokenizers": ("tokenizer",)}

FAMILIES: dict[str, Family] = {
    "sd": Family("SD 1 and 2", ("StableDiffusionPipeline",), "unet", **_ONE, encode=_sd, schedule=_diffusion),
    "sdxl": Family("SDXL", ("StableDiffusionXLPipeline",), "unet", _TWO, _TWO_TOKENIZERS, _sdxl, _diffusion),
    "sd3": Family(
        "SD 3", ("StableDiffusion3Pipeline",), "transformer", _THREE, _THREE_TOKENIZERS, _sd3, _sd3_levels, 16
    ),
    "pixart": Family(
        "PixArt-Sigma", ("PixArtSigmaPipeline", "PixArtAlphaPipeline"), "transformer", **_ONE, encode=_pixart,
        schedule=_diffusion, multiple=16,
    ),
    "flux": Family("FLUX.1", ("FluxPipeline",), "transformer", _TWO, _TWO_TOKENIZERS, _flux, _flux_levels, 16),
    "flux2": Family(
        "FLUX.2", ("Flux2Pipeline", "Flux2KleinPipeline"), "transformer", **_ONE, encode=_flux2,
        schedule=_flux2_levels, multiple=16,
    ),
}  # fmt: skip


def family_of(pipeline: str) -> tuple[str, Family] | None:
    """(name, Family) of a pipeline's class, or None."""
    return next(((name, one) for name, one in FAMILIES.items() if pipeline in one.pipelines), None)
