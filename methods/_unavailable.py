"""What peft has that is no method here, with the reason; `litmus methods` and docs/methods.md list it."""

from __future__ import annotations

_TOKENS = "adds trained tokens to a language model's input, and a denoiser reads no tokens"

# peft's name -> why it is no method here
UNAVAILABLE: dict[str, str] = {
    "adaption_prompt": "puts prompts into the attention of LLaMA-like language models, by their class names",
    "alora": "switches on after an invocation token, and a denoiser reads no tokens",
    "arrow": "routes between LoRAs that are trained already",
    "cartridge": "trains a cache of keys and values of a language model",
    "cpt": _TOKENS,
    "kasa": "needs two penalties on the loss which peft leaves to the training loop, and drops a part of the base",
    "loftq": "quantises the base by itself at the start, and a base here is quantised as it is loaded (--quantise)",
    "monteclora": "needs a divergence term in the loss, which peft leaves to the training loop",
    "multitask_prompt_tuning": _TOKENS,
    "p_tuning": _TOKENS,
    "poly": "mixes skills by the task's id in each batch, and a run here has one task",
    "prefix_tuning": "gives a language model's attention past keys and values, which a denoiser does not take",
    "prompt_tuning": _TOKENS,
    "qalora": "a form for weights in groups of GPTQ, and --quantise loads those of bitsandbytes",
    "shadow": "wraps whole blocks beside a second network: a U-Net has no row of them; for transformers not written",
    "trainable_tokens": "trains rows of a token embedding, which is on the text side: textual inversion does that here",
    "xlora": "mixes LoRAs that are trained already, by a language model's hidden states",
}
