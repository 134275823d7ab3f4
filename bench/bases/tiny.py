"""Pipelines of the true classes of diffusers, tiny and with random weights, saved as folders in diffusers' layout.

`write(name, folder)` makes one in a second or two. They are for trials and tests of whatever loads a base: each has the
components of the published model of its name, so what works on it works on the real one, at a millionth of the size.
Pictures are of 64 pixels and mean nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.bases.toy import WORDS, drawn, toy_tokenizer
from bench.core.errors import LitmusError, nearest

WIDTH = 16  # of a CLIP's states
STATES = 32  # of a T5's
CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
Parts = dict[str, Any]


def write(name: str, folder: Path, seed: int = 0) -> Path:
    """A tiny pipeline like the published `name` in `folder`, random of `seed`. LitmusError for an unknown name."""
    import diffusers

    if name not in TINY:
        raise LitmusError(nearest(name, TINY, "tiny base"))
    pipeline, make, settings = TINY[name]
    parts = make(seed)
    index: Parts = {"_class_name": pipeline, "_diffusers_version": diffusers.__version__, **settings}
    folder.mkdir(parents=True, exist_ok=True)
    for part, component in parts.items():
        component.save_pretrained(folder / part)
        index[part] = [type(component).__module__.split(".")[0], type(component).__name__]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\nRandom numbers.\n", encoding="utf-8")
    return folder


# --- pieces -------------------------------------------------------------------------------------------------------


def _vae(seed: int, channels: int = 4, **more: Any) -> Any:
    from diffusers import AutoencoderKL

    return drawn(lambda: AutoencoderKL(**_blocks(), latent_channels=channels, **more), "tiny vae", seed)


def _blocks() -> Parts:
    return {
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "block_out_channels": (4, 4, 4, 8),
        "layers_per_block": 1,
        "norm_num_groups": 2,
        "sample_size": 64,
    }


def _clip(seed: int, projected: bool = False, purpose: str = "tiny clip") -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    tokens = toy_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=WIDTH, intermediate_size=2 * WIDTH, projection_dim=WIDTH,
        num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=tokens.model_max_length,
        bos_token_id=tokens.bos_token_id, eos_token_id=tokens.eos_token_id, pad_token_id=tokens.pad_token_id,
    )  # fmt: skip
    return drawn(lambda: (CLIPTextModelWithProjection if projected else CLIPTextModel)(config), purpose, seed)


def _t5(seed: int) -> Parts:
    """An encoder and its tokenizer, in which each of the toy's words is one token."""
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -3.0)]
    pieces += [("▁" + word, -1.0) for word in WORDS] + [(c, -4.0) for c in "abcdefghijklmnopqrstuvwxyz0123456789,.'-"]
    tokenizer = T5Tokenizer(vocab=pieces, extra_ids=0, model_max_length=64)
    config = T5Config(vocab_size=len(tokenizer), d_model=STATES, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    return {"encoder": drawn(lambda: T5EncoderModel(config), "tiny t5", seed), "tokenizer": tokenizer}


def _published(name: str) -> Any:
    """The scheduler that a published model has, with its whole configuration.

    Keys that a class does not take are left over from the schedulers that it was converted from; diffusers keeps them.
    """
    import diffusers

    cls, config = SCHEDULERS[name]
    return getattr(diffusers, cls).from_config(config)


_SD: Parts = {
    "beta_end": 0.012, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "clip_sample": False,
    "num_train_timesteps": 1000, "set_alpha_to_one": False, "skip_prk_steps": True, "steps_offset": 1,
    "trained_betas": None,
}  # fmt: skip
_SHIFTED: Parts = {
    "base_image_seq_len": 256, "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15,
    "num_train_timesteps": 1000, "shift": 3.0, "use_dynamic_shifting": True,
}  # fmt: skip
SCHEDULERS: dict[str, tuple[str, Parts]] = {
    "sd15": ("PNDMScheduler", _SD),
    "sd21": ("DDIMScheduler", _SD | {"prediction_type": "v_prediction"}),
    "sdxl": ("EulerDiscreteScheduler", _SD | {
        "interpolation_type": "linear", "prediction_type": "epsilon", "sample_max_value": 1.0,
        "timestep_spacing": "leading", "use_karras_sigmas": False,
    }),
    "sd35": ("FlowMatchEulerDiscreteScheduler", {"num_train_timesteps": 1000, "shift": 3.0}),
    "pixart": ("DPMSolverMultistepScheduler", {
        "algorithm_type": "dpmsolver++", "beta_end": 0.02, "beta_schedule": "linear", "beta_start": 0.0001,
        "dynamic_thresholding_ratio": 0.995, "euler_at_final": False, "lambda_min_clipped": -math.inf,
        "lower_order_final": True, "num_train_timesteps": 1000, "prediction_type": "epsilon", "sample_max_value": 1.0,
        "solver_order": 2, "solver_type": "midpoint", "steps_offset": 0, "thresholding": False,
        "timestep_spacing": "linspace", "trained_betas": None, "use_karras_sigmas": False, "use_lu_lambdas": False,
        "variance_type": None,
    }),
    "flux1": ("FlowMatchEulerDiscreteScheduler", _SHIFTED),
    "flux1-schnell": ("FlowMatchEulerDiscreteScheduler", _SHIFTED | {"shift": 1.0, "use_dynamic_shifting": False}),
    "flux2": ("FlowMatchEulerDiscreteScheduler", _SHIFTED | {
        "invert_sigmas": False, "shift_terminal": None, "stochastic_sampling": False,
        "time_shift_type": "exponential", "use_beta_sigmas": False, "use_exponential_sigmas": False,
        "use_karras_sigmas": False,
    }),
}  # fmt: skip


def _unet(seed: int, **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    config = {
        "sample_size": 8, "block_out_channels": (16, 32), "layers_per_block": 1, "norm_num_groups": 8,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "cross_attention_dim": WIDTH,
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"), "attention_head_dim": 4,
    }  # fmt: skip
    return drawn(lambda: UNet2DConditionModel(**(config | more)), "tiny unet", seed)


# --- families -----------------------------------------------------------------------------------------------------


def _sd15(seed: int) -> Parts:
    return {
        "unet": _unet(seed), "vae": _vae(seed), "text_encoder": _clip(seed), "tokenizer": toy_tokenizer(),
        "scheduler": _published("sd15"),
    }  # fmt: skip


def _sd21(seed: int) -> Parts:
    unet = _unet(seed, use_linear_projection=True, attention_head_dim=(2, 4))
    return _sd15(seed) | {"unet": unet, "scheduler": _published("sd21")}


def _sdxl(seed: int) -> Parts:
    unet = _unet(
        seed, use_linear_projection=True, transformer_layers_per_block=(1, 2), cross_attention_dim=2 * WIDTH,
        addition_embed_type="text_time", addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + WIDTH,
    )  # fmt: skip
    return {
        "unet": unet, "vae": _vae(seed, scaling_factor=0.13025, force_upcast=True),
        "scheduler": _published("sdxl"),
        "text_encoder": _clip(seed), "tokenizer": toy_tokenizer(),
        "text_encoder_2": _clip(seed, True, "tiny clip 2"), "tokenizer_2": toy_tokenizer(),
    }  # fmt: skip


def _sd35(seed: int) -> Parts:
    from diffusers import SD3Transformer2DModel

    def build() -> Any:
        return SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=STATES, caption_projection_dim=16,
            pooled_projection_dim=2 * WIDTH, pos_embed_max_size=16, dual_attention_layers=(0,), qk_norm="rms_norm",
        )  # fmt: skip

    t5 = _t5(seed)
    return {
        "transformer": drawn(build, "tiny sd3", seed),
        "vae": _vae(seed, 16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False,
                    use_post_quant_conv=False),
        "scheduler": _published("sd35"),
        "text_encoder": _clip(seed, True), "tokenizer": toy_tokenizer(),
        "text_encoder_2": _clip(seed, True, "tiny clip 2"), "tokenizer_2": toy_tokenizer(),
        "text_encoder_3": t5["encoder"], "tokenizer_3": t5["tokenizer"],
    }  # fmt: skip


def _pixart(seed: int) -> Parts:
    from diffusers import PixArtTransformer2DModel

    def build() -> Any:
        return PixArtTransformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, out_channels=8, num_layers=2, attention_head_dim=8,
            num_attention_heads=3, cross_attention_dim=24, caption_channels=STATES, use_additional_conditions=False,
            norm_num_groups=1,
        )  # fmt: skip

    t5 = _t5(seed)
    return {
        "transformer": drawn(build, "tiny pixart", seed), "vae": _vae(seed, scaling_factor=0.13025),
        "scheduler": _published("pixart"), "text_encoder": t5["encoder"], "tokenizer": t5["tokenizer"],
    }  # fmt: skip


def _flux1(seed: int, told: bool = True) -> Parts:
    from diffusers import FluxTransformer2DModel

    def build() -> Any:
        return FluxTransformer2DModel(
            in_channels=64, num_layers=1, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=STATES, pooled_projection_dim=WIDTH, guidance_embeds=told, axes_dims_rope=(2, 2, 4),
        )  # fmt: skip

    t5 = _t5(seed)
    return {
        "transformer": drawn(build, "tiny flux", seed),
        "vae": _vae(seed, 16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False,
                    use_post_quant_conv=False),
        "scheduler": _published("flux1" if told else "flux1-schnell"),
        "text_encoder": _clip(seed), "tokenizer": toy_tokenizer(),
        "text_encoder_2": t5["encoder"], "tokenizer_2": t5["tokenizer"],
    }  # fmt: skip


def _schnell(seed: int) -> Parts:
    return _flux1(seed, told=False)


DECODER: Parts = {
    "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
    "max_position_embeddings": 512,
}  # fmt: skip


def _klein(seed: int) -> Parts:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _qwen()
    config = Qwen3Config(
        **DECODER, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, num_hidden_layers=28,  # its pipeline reads layers 9, 18 and 27
    )  # fmt: skip
    encoder = drawn(lambda: Qwen3ForCausalLM(config), "tiny qwen", seed)
    return {**_flux2(seed, told=False), "text_encoder": encoder, "tokenizer": tokenizer}


def _dev(seed: int) -> Parts:
    from transformers import Mistral3Config, Mistral3ForConditionalGeneration, MistralConfig, PixtralVisionConfig

    processor = _pixtral()
    tokenizer = processor.tokenizer
    text = MistralConfig(
        **DECODER, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, num_hidden_layers=30, sliding_window=None,  # read: 10, 20 and 30
    )  # fmt: skip
    vision = PixtralVisionConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=8
    )
    config = Mistral3Config(
        text_config=text, vision_config=vision, image_token_index=tokenizer.convert_tokens_to_ids("[IMG]")
    )
    encoder = drawn(lambda: Mistral3ForConditionalGeneration(config), "tiny mistral", seed)
    return {**_flux2(seed, told=True), "text_encoder": encoder, "tokenizer": processor}


def _pixtral() -> Any:
    """A processor of text and pictures, as FLUX.2-dev has it; only its text is used."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PixtralImageProcessor, PixtralProcessor, PreTrainedTokenizerFast

    pieces = [
        "<unk>",
        "<pad>",
        "</s>",
        "[IMG]",
        "[IMG_BREAK]",
        "[IMG_END]",
        *sorted(pre_tokenizers.ByteLevel.alphabet()),
    ]
    inner = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    inner.decoder = decoders.ByteLevel()  # pyright: ignore
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="</s>", model_max_length=512,
        additional_special_tokens=["[IMG]", "[IMG_BREAK]", "[IMG_END]"],
    )  # fmt: skip
    return PixtralProcessor(PixtralImageProcessor(), tokenizer, patch_size=8, chat_template=LISTED)


LISTED = "{% for m in messages %}{{ m['role'] }}{% for c in m['content'] %} {{ c['text'] }}{% endfor %}</s>{% endfor %}"


def _flux2(seed: int, told: bool) -> Parts:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    def build() -> Any:
        return Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=3 * DECODER["hidden_size"], timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2),
            guidance_embeds=told,
        )  # fmt: skip

    vae: Any = drawn(lambda: AutoencoderKLFlux2(**_blocks(), latent_channels=4), "tiny flux2 vae", seed)
    vae.bn.running_mean.uniform_(-0.3, 0.3)
    vae.bn.running_var.uniform_(0.5, 1.5)
    return {
        "transformer": drawn(build, "tiny flux2", seed),
        "vae": vae,
        "scheduler": _published("flux2"),
    }


def _qwen() -> Any:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    pieces = [*sorted(ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Qwen2Tokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=512)
    tokenizer.chat_template = CHAT
    return tokenizer


TINY: dict[str, tuple[str, Callable[[int], Parts], Parts]] = {
    "sd15": ("StableDiffusionPipeline", _sd15, {"safety_checker": [None, None], "feature_extractor": [None, None]}),
    "sd21": ("StableDiffusionPipeline", _sd21, {"safety_checker": [None, None], "feature_extractor": [None, None]}),
    "sdxl": ("StableDiffusionXLPipeline", _sdxl, {"force_zeros_for_empty_prompt": True}),
    "sd35": ("StableDiffusion3Pipeline", _sd35, {}),
    "pixart": ("PixArtSigmaPipeline", _pixart, {}),
    "flux1": ("FluxPipeline", _flux1, {}),
    "flux1-schnell": ("FluxPipeline", _schnell, {}),
    "flux2-dev": ("Flux2Pipeline", _dev, {}),
    "flux2-klein": ("Flux2KleinPipeline", _klein, {"is_distilled": False}),
    "flux2-klein-distilled": ("Flux2KleinPipeline", _klein, {"is_distilled": True}),
}
