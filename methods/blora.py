"""B-LoRA: LoRA in the two attention stages of SDXL that hold what a picture shows and how it is drawn.

Frenkel, Vinker, Shamir, Cohen-Or, "Implicit Style-Content Separation using B-LoRA", ECCV 2024, arXiv:2403.14572. The
stages are up_blocks.0.attentions.0 (content) and up_blocks.0.attentions.1 (style) of SDXL's U-Net, every q, k, v and
output projection inside; rank 64, one picture, a plain prompt, 1000 steps at 5e-5 (paper and yardenfren1996/B-LoRA,
blora_utils.py and the training script at e08380d).

That these two stages part content from style was found on SDXL alone. On another U-Net the nearest analogue is taken:
the first two stages of the first block on the way up that has attention (SD 1.5 and 2.1: up_blocks.1, whose first block
has none). Whether they part anything there is for the measurement to say. A network without such blocks, a transformer,
is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bench.method import LitmusError, Network, register
from bench.method.reparam import LowRank

PARTS = {"content": (0,), "style": (1,), "both": (0, 1)}


@register
@dataclass(frozen=True)
class BLoRA(LowRank):
    """LoRA at `targets` inside one or both of the two stages.

    part  content, style or both; the paper trains both and uses each by itself
    """

    name = "blora"
    paper = "arXiv:2403.14572"
    formula = "W' = W + (alpha / rank) B A in two stages of the U-Net"
    lr = 1e-3
    space = {"lr": (3e-5, 1e-2, "log"), "rank": (1, 256, "log")}
    size_field = "rank"

    rank: int = 64
    part: str = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.part not in PARTS:
            raise LitmusError(f"blora: part is one of {', '.join(PARTS)}, not {self.part!r}")

    def layers(self, net: Network) -> dict[str, Any]:
        stages = _stages(net)
        inside = tuple(stages[i] + "." for i in PARTS[self.part])
        return {path: layer for path, layer in super().layers(net).items() if path.startswith(inside)}


def _stages(net: Network) -> list[str]:
    """Paths of the two stages."""
    for i, block in enumerate(getattr(net.denoiser, "up_blocks", ())):
        if len(getattr(block, "attentions", None) or ()) >= 2:
            return [f"denoiser.up_blocks.{i}.attentions.{k}" for k in (0, 1)]
    what = f"{type(net.denoiser).__name__} has no block on the way up with two attention stages"
    raise LitmusError(f"blora: {what}: it is a method for U-Nets, take lora for other networks")
