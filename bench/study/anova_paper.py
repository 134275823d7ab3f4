"""The published heat map, as far as a figure can be read: what a study is held against.

Xiang, Bao, Li, Su, Zhu, "A Closer Look at Parameter-Efficient Tuning in Diffusion Models", arXiv:2303.18181, figure of
the DreamBooth task (assets/dream_booth_compare.png of https://github.com/Xiang-cd/unet-finetune at e87962c): CLIP
similarity to the training pictures, read off its colour bar to about 0.003. The bar ends at 0.869, so that the two
best cells are at least that. Imports no torch.
"""

from __future__ import annotations

PUBLISHED = ("attn2o", "ffni")
PUBLISHED_FORM = {"activation": "relu", "scale": 1.0, "init": "zero"}  # what that pair was published with
CLIPPED = 0.869
SIMILARITY: dict[tuple[str, str], float] = {
    ("attn1i", "attn1i"): 0.710, ("attn1i", "attn2i"): 0.749, ("attn1i", "ffni"): 0.719, ("attn1i", "transo"): 0.724,
    ("attn1o", "attn2i"): 0.758, ("attn1o", "ffni"): 0.700, ("attn1o", "transo"): 0.686,
    ("attn2i", "attn2i"): 0.689, ("attn2i", "ffni"): 0.745, ("attn2i", "transo"): 0.695,
    ("attn2o", "ffni"): CLIPPED, ("attn2o", "transo"): 0.848,
    ("ffni", "ffni"): 0.821, ("ffni", "transo"): 0.831,
    ("ffno", "transo"): 0.757,
    ("transo", "transo"): 0.841,
    ("attn2c", "attn2c"): CLIPPED,
    ("resi", "resi"): 0.768, ("resi", "reso"): 0.745,
    ("reso", "reso"): 0.725,
}  # fmt: skip
# The paper's names of the positions, in the order of a block's data.
NAMES = {
    "attn1i": "SA_in", "attn1o": "SA_out", "attn2i": "CA_in", "attn2c": "CA_c", "attn2o": "CA_out", "ffni": "FFN_in",
    "ffno": "FFN_out", "transo": "Trans_out", "resi": "Res_in", "reso": "Res_out",
}  # fmt: skip
