"""Network.forward drives each class of denoiser: shapes, and what the prediction hangs on."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from bench.bases.toy import toy_network
from bench.bases.toy_transformers import TRANSFORMERS, toy_transformer
from bench.core.rng import rng
from bench.method import LitmusError, Network
from bench.network.calls import shapes

X, CONTEXT = torch.randn(2, 4, 8, 8, generator=rng("x")), torch.randn(2, 5, 16, generator=rng("context"))
T = torch.tensor([100, 700])


def sdxl() -> Network:
    """SDXL's way of being told sizes and a pooled text vector, on a U-Net of one block."""
    from diffusers import UNet2DConditionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        unet = UNet2DConditionModel(
            sample_size=8, block_out_channels=(8,), down_block_types=("CrossAttnDownBlock2D",), layers_per_block=1,
            up_block_types=("CrossAttnUpBlock2D",), norm_num_groups=4, cross_attention_dim=16, attention_head_dim=4,
            addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=44,
        )  # fmt: skip
    return Network(unet).eval()


BUILD = {
    **{kind: (lambda kind=kind: toy_transformer(kind)) for kind in TRANSFORMERS},
    "unet": toy_network,
    "sdxl": sdxl,
}


@pytest.mark.parametrize("build", BUILD.values(), ids=BUILD)
@torch.no_grad()
def test_one_call_for_all(build):
    net = build()
    assert shapes(net.denoiser) == (4, 8, 16)
    y = net(X, T, CONTEXT)
    assert y.shape == X.shape
    assert y.std() > 0
    for other in ((X + 1, T, CONTEXT), (X, T + 200, CONTEXT), (X, T, CONTEXT + 1)):
        assert not net(*other).allclose(y, atol=1e-5)
    half = net(X[1:], T[1:], CONTEXT[1:])
    torch.testing.assert_close(half, y[1:], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_flux_is_called_as_its_own_pipeline_does():
    """Tokens, places, pooled vector and guidance, packed by the functions of diffusers' pipeline."""
    from diffusers import FluxPipeline

    net = toy_transformer("flux")
    tokens = FluxPipeline._pack_latents(X, 2, 4, 8, 8)
    out = net.denoiser(
        hidden_states=tokens,
        timestep=T / 1000,
        guidance=torch.full((2,), 3.5),
        pooled_projections=CONTEXT.mean(1)[:, :12],
        encoder_hidden_states=CONTEXT,
        txt_ids=torch.zeros(5, 3),
        img_ids=FluxPipeline._prepare_latent_image_ids(2, 4, 4, X.device, X.dtype),
    ).sample
    # The pipeline unpacks to pixels of 8 by a VAE's factor; 32 pixels of 4 latents a token
    expected = FluxPipeline._unpack_latents(out, 64, 64, 8)
    torch.testing.assert_close(net(X, T, CONTEXT), expected)


@torch.no_grad()
def test_pixart_s_variance_is_cut_off():
    net: Any = toy_transformer("pixart")
    sizes = {"resolution": torch.tensor([[64.0, 64.0]] * 2), "aspect_ratio": torch.ones(2, 1)}
    both = net.denoiser(X, encoder_hidden_states=CONTEXT, timestep=T, added_cond_kwargs=sizes).sample
    assert both.shape[1] == 8
    assert net(X, T, CONTEXT).equal(both[:, :4])


@torch.no_grad()
def test_sd3_gets_the_mean_of_the_text_filled_with_zeros():
    net: Any = toy_transformer("sd3")
    pooled = F.pad(CONTEXT.mean(1), (0, 8))
    out = net.denoiser(X, encoder_hidden_states=CONTEXT, pooled_projections=pooled, timestep=T).sample
    assert net(X, T, CONTEXT).equal(out)


def test_a_network_without_a_text_side_says_so():
    with pytest.raises(LitmusError, match="no text side"):
        toy_network().encode(torch.zeros(1, 2, dtype=torch.long))


def test_toys_are_the_same_each_time_and_bare_on_meta():
    for kind in TRANSFORMERS:
        a, b = toy_transformer(kind), toy_transformer(kind)
        assert all(p.equal(q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
        assert not any(p.requires_grad for p in a.parameters())
        with torch.device("meta"):
            assert all(p.is_meta for p in toy_transformer(kind).parameters())
