from __future__ import annotations

from typing import Any

import pytest
import torch

from bench.bases.toy import toy_network
from bench.core.rng import rng
from bench.method import attached, make, state

INPUT = torch.randn(1, 4, 8, 8, generator=rng("x")), torch.tensor([3]), torch.randn(1, 4, 16, generator=rng("c"))


@pytest.mark.parametrize("scales", [False, True])
def test_start_is_bit_identical_to_the_base(scales):
    net = attached(make("difffit", attention_scales=scales), toy_network(), rng("init"))
    assert net(*INPUT).equal(toy_network()(*INPUT))


@pytest.mark.parametrize("scales", [False, True])
def test_gammas_fold_into_the_layer_before(scales):
    method = make("difffit", attention_scales=scales)
    net = attached(method, toy_network(), rng("init"))
    stream = rng("gamma")
    with torch.no_grad():
        for key, p in state(net).items():
            if "gamma" in key:
                p.copy_(torch.randn(p.shape, generator=stream))
    before = net(*INPUT)
    method.merge(net)
    assert net.state_dict().keys() == toy_network().state_dict().keys()
    torch.testing.assert_close(net(*INPUT), before, rtol=1e-4, atol=1e-5)
    assert not before.allclose(toy_network()(*INPUT), atol=1e-2)


def test_gamma_scales_a_sublayer_before_the_residual_sum():
    """With all three gammas of a block at 0, the block hands its input through."""
    net = attached(make("difffit"), toy_network(), rng("init"))
    block: Any = next(m for m in net.modules() if type(m).__name__ == "BasicTransformerBlock")
    with torch.no_grad():
        for layer in (block.attn1.to_out[0], block.attn2.to_out[0], block.ff.net[2]):
            layer.gamma.zero_()
    x = torch.randn(1, 16, 32, generator=rng("x"))
    assert block(x, encoder_hidden_states=INPUT[2]).equal(x)


def test_what_is_trained_is_bias_norm_or_gamma():
    keys = state(attached(make("difffit"), toy_network(), rng("init")))
    assert all("bias" in k or "norm" in k or "gamma" in k for k in keys)
    assert {True, False} == {"norm" in k for k in keys if k.endswith("weight")} | {False}
