"""Tiny pipelines of FLUX.2: its text side is a whole language model, and in dev one with a vision tower."""

from __future__ import annotations

from typing import Any

from bench.families._joint import SHIFTED
from bench.families.pieces import Parts, blocks, drawn, scheduler

CHAT = "{% for m in messages %}<|im_start|>{{ m['role'] }} {{ m['content'] }}<|im_end|>{% endfor %}"
LEVELS: Parts = SHIFTED | {
    "invert_sigmas": False, "shift_terminal": None, "stochastic_sampling": False,
    "time_shift_type": "exponential", "use_beta_sigmas": False, "use_exponential_sigmas": False,
    "use_karras_sigmas": False,
}  # fmt: skip
DECODER: Parts = {
    "hidden_size": 8, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
    "max_position_embeddings": 512,
}  # fmt: skip


def klein(seed: int) -> Parts:
    from transformers import Qwen3Config, Qwen3ForCausalLM

    tokenizer = _qwen()
    config = Qwen3Config(
        **DECODER, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id, num_hidden_layers=28,  # its pipeline reads layers 9, 18 and 27
    )  # fmt: skip
    encoder = drawn(lambda: Qwen3ForCausalLM(config), "tiny qwen", seed)
    return {**_parts(seed, told=False), "text_encoder": encoder, "tokenizer": tokenizer}


def dev(seed: int) -> Parts:
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
    return {**_parts(seed, told=True), "text_encoder": encoder, "tokenizer": processor}


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


def _parts(seed: int, told: bool) -> Parts:
    from diffusers import AutoencoderKLFlux2, Flux2Transformer2DModel

    def build() -> Any:
        return Flux2Transformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=3 * DECODER["hidden_size"], timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2),
            guidance_embeds=told,
        )  # fmt: skip

    vae: Any = drawn(lambda: AutoencoderKLFlux2(**blocks(), latent_channels=4), "tiny flux2 vae", seed)
    vae.bn.running_mean.uniform_(-0.3, 0.3)
    vae.bn.running_var.uniform_(0.5, 1.5)
    return {
        "transformer": drawn(build, "tiny flux2", seed),
        "vae": vae,
        "scheduler": scheduler("FlowMatchEulerDiscreteScheduler", LEVELS),
    }


def _qwen() -> Any:
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Tokenizer

    pieces = [*sorted(ByteLevel.alphabet()), "<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Qwen2Tokenizer(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[], model_max_length=512)
    tokenizer.chat_template = CHAT
    return tokenizer
