from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bench.bases.toy import toy_network
from bench.core.errors import LitmusError
from bench.core.rng import rng
from bench.method import Network, figures, make
from bench.network.sites import PAIRS, POSITIONS, bridge, features, sites, ways


def sd3():
    from diffusers import SD3Transformer2DModel

    return SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=4, num_layers=2, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=16, caption_projection_dim=16, pooled_projection_dim=16, out_channels=4,
        pos_embed_max_size=8, dual_attention_layers=(0,),
    )  # fmt: skip


def flux():
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=3, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(2, 2, 4),
    )  # fmt: skip


def flux2():
    from diffusers import Flux2Transformer2DModel

    return Flux2Transformer2DModel(
        in_channels=4, num_layers=2, num_single_layers=3, attention_head_dim=8, num_attention_heads=2,
        joint_attention_dim=16, timestep_guidance_channels=16, axes_dims_rope=(2, 2, 2, 2),
    )  # fmt: skip


def pixart():
    from diffusers import PixArtTransformer2DModel

    return PixArtTransformer2DModel(
        sample_size=8, num_layers=2, attention_head_dim=8, num_attention_heads=2, cross_attention_dim=16,
        caption_channels=16, use_additional_conditions=False,
    )  # fmt: skip


def unet():
    return toy_network().denoiser


def counts(net, *roles):
    return [len(sites(net, role)) for role in roles]


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        # blocks, attn1, attn2, attn.to_v, ff, ff.down
        (unet, (4, 16, 16, 8, 8, 4)),
        (pixart, (2, 8, 8, 4, 4, 2)),
        # two joint blocks; the first has SD 3.5's second attention, the last leaves out the text's output and its ff
        (sd3, (2, 12, 7, 5, 6, 3)),
        # two joint blocks (text stream and ff_context), three single ones whose proj_out serves attention and ff
        (flux, (5, 20, 8, 7, 14, 7)),
        # in the single blocks one Linear is q, k, v and ff.up, another is to_out and ff.down
        (flux2, (5, 14, 8, 7, 14, 7)),
    ],
    ids=lambda x: getattr(x, "__name__", ""),
)
def test_roles_on_every_architecture(build, expected):
    with torch.device("meta"):
        net = Network(build())
    assert tuple(counts(net, "block", "attn1", "attn2", "attn.to_v", "ff", "ff.down")) == expected


@pytest.mark.parametrize("build", [sd3, flux, flux2, pixart], ids=lambda x: x.__name__)
@pytest.mark.parametrize("spec", ["bias", "difffit", "lora"])
def test_methods_attach_to_transformers(spec, build):
    if (spec, build) == ("bias", flux2):
        pytest.skip("FLUX.2 has no bias at all: see the next test")
    with torch.device("meta"):
        net = Network(build())
        method = make(spec)
        assert figures(method, net).trainable == method.count(net) > 0


def test_a_network_without_bias_is_not_tuned_by_its_biases():
    with torch.device("meta"), pytest.raises(LitmusError, match="Flux2Transformer2DModel has no module with role"):
        make("bias").count(Network(flux2()))
    assert sites(nn.Linear(2, 2, bias=False), "bias", optional=True) == {}


def test_paths_lead_to_the_modules_in_the_network_s_order():
    net = toy_network()
    found = sites(net, "attn2.to_k+attn1.to_q")
    assert list(found) == [k for k, _ in net.named_modules() if k.endswith(("attn2.to_k", "attn1.to_q"))]
    assert all(net.get_submodule(path) is module for path, module in found.items())
    assert [k.removeprefix("denoiser.") for k in found] == list(sites(net.denoiser, "attn2.to_k+attn1.to_q"))


def test_kinds():
    net = toy_network()
    assert all(isinstance(m, nn.GroupNorm | nn.LayerNorm) for m in sites(net, "norm").values())
    biases = {id(m.bias) for m in sites(net, "bias").values()}
    assert biases == {id(p) for k, p in net.named_parameters() if k.endswith("bias")}
    assert all(isinstance(m, nn.Conv2d) for m in sites(net, "conv").values())
    assert counts(net, "resblock", "resi", "attn2o") == [8, 8, 4]
    assert {type(m).__name__ for m in sites(net, "linear").values()} == {"Linear"}


def test_the_text_side_is_asked_for_by_name(toy_base):
    assert not any("text" in path for path in sites(toy_base.net, "linear"))
    assert list(sites(toy_base.net.text, "attn.to_v")) == ["encoder.layers.0.self_attn.v_proj"]
    assert counts(toy_base.net.text, "attn", "ff") == [4, 2]


@pytest.mark.parametrize(
    ("role", "line"),
    [
        ("attn2.to_w", r"unknown role 'attn2.to_w': did you mean 'attn2.to_"),
        ("attn+norms", "unknown role 'norms': did you mean 'norm'"),
        ("", "unknown role ''"),
    ],
)
def test_unknown_roles(role, line):
    with pytest.raises(LitmusError, match=line):
        sites(toy_network(), role)


def test_a_role_that_no_module_has_is_an_error_that_lists_those_it_has():
    with pytest.raises(LitmusError, match="Linear has no module with role 'conv'; available: linear, bias$"):
        sites(Network(nn.Linear(2, 2)), "conv")


# --- positions


def test_the_twenty_legal_pairs():
    assert len(PAIRS) == 20
    assert [b for a, b in PAIRS if a == "attn1o"] == ["attn2i", "ffni", "transo"]
    assert [b for a, b in PAIRS if a == "attn2c"] == ["attn2c"]
    assert [b for a, b in PAIRS if a == "reso"] == ["reso"]
    assert {b for _, b in PAIRS} == {k for k, p in POSITIONS.items() if p.target}


class Probe(nn.Module):
    """Remembers what it reads, and answers with a constant."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        self.read = x.detach().clone()
        return self.answer


def transformer():
    return next(iter(sites(toy_network(), "block").values())), (torch.randn(2, 16, 32, generator=rng("x")),)


def residual():
    block: Any = next(m for m in sites(toy_network(), "resblock").values() if m.in_channels != m.out_channels)
    x, temb = torch.randn(2, block.in_channels, 4, 4, generator=rng("x")), torch.randn(2, 64, generator=rng("t"))
    return block, (x, temb)


CONTEXT = torch.randn(2, 5, 16, generator=rng("context"))


def run(block, args, context=CONTEXT):
    return block(*args) if len(args) == 2 else block(*args, encoder_hidden_states=context)


def seen(position):
    """What stands at `position`, watched from outside at the module before or after it."""
    block, args = residual() if POSITIONS[position].block == "resblock" else transformer()
    path, side = {
        "attn1i": ("norm1", "in"), "attn1o": ("attn1", "out"), "attn2i": ("norm2", "in"), "attn2o": ("attn2", "out"),
        "attn2c": ("attn2", "context"), "ffni": ("norm3", "in"), "ffno": ("ff", "out"), "transo": ("", "out"),
        "resi": ("norm1", "in"), "reso": ("", "out"),
    }[position]  # fmt: skip
    got = {}

    def hook(module, args, kwargs, out):
        got.update({"in": args[0], "out": out, "context": kwargs.get("encoder_hidden_states")})

    block.get_submodule(path).register_forward_hook(hook, with_kwargs=True)
    run(block, args)
    return got[side]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_bridge_reads_the_source(source, target):
    block, args = residual() if POSITIONS[source].block == "resblock" else transformer()
    probe = Probe(torch.zeros(()))
    plain = run(block, args)
    bridge(block, source, target, probe, "probe")
    assert run(block, args).equal(plain)
    assert probe.read.equal(seen(source))
    assert features(block, source) == probe.read.shape[1 if source.startswith("res") else -1]


@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_bridge_writes_to_the_target(source, target):
    """Against the same constant brought in by other means: at the input, at the output, or by a layer's bias."""
    resblock = POSITIONS[source].block == "resblock"
    block, args = residual() if resblock else transformer()
    c = torch.randn(features(block, target), generator=rng("c"))
    c = c[:, None, None] if resblock else c  # (C, 1, 1) or (C,)
    other = copy.deepcopy(block)
    bridge(block, source, target, Probe(c), "probe")
    with torch.no_grad():
        match target:
            case "attn1i" | "resi":
                expected = run(other, (args[0] + c, *args[1:]))
            case "attn2c":
                expected = run(other, args, CONTEXT + c)
            case "transo" | "reso":
                expected = run(other, args) + c
            case _:  # h1 = attn1o + h0 and h2 = attn2o + h1, so a constant may as well come from the layer's bias
                getattr(other, {"attn2i": "attn1", "ffni": "attn2"}[target]).to_out[0].bias += c
                expected = run(other, args)
        torch.testing.assert_close(run(block, args), expected)


def test_a_bridged_block_keeps_class_and_names():
    block, _ = transformer()
    before, kind = block.state_dict().keys(), type(block)
    bridge(block, "attn2o", "ffni", nn.Linear(32, 32), "extra")
    assert block.state_dict().keys() - before == {"extra.weight", "extra.bias"}
    assert type(block) is kind


def test_paths_are_relative_to_the_module_that_is_given():
    from bench.bases.toy import toy_text

    net = toy_network()
    net.text = toy_text()
    whole, inner = sites(net, "attn"), sites(net.denoiser, "attn")
    assert list(whole) == [f"denoiser.{path}" for path in inner]
    assert list(whole.values()) == list(inner.values())
    some = next(block for block in sites(net.denoiser, "block").values())
    for part in (net, net.denoiser, net.text, some):
        for path, layer in sites(part, "attn1").items():
            assert part.get_submodule(path) is layer
    assert not any(path.startswith("text") for path in sites(net.text, "attn"))
    assert not {id(m) for m in sites(net.text, "attn").values()} & {id(m) for m in whole.values()}
    assert all(path.startswith("denoiser.") and net.get_submodule(path) is block
               for path, block in ways(net, "attn1i", "ffni").items())  # fmt: skip
    assert all(net.denoiser.get_submodule(path) for path in ways(net.denoiser, "attn1i", "ffni"))


def test_a_module_is_put_in_the_place_of_another_by_its_path():
    net = toy_network()
    path, old = next(iter(sites(net, "attn.to_out").items()))
    new = nn.Linear(old.in_features, old.out_features)
    net.set_submodule(path, new)
    assert sites(net, "attn.to_out")[path] is new
    with pytest.raises(AttributeError, match="denoiser"):
        net.denoiser.set_submodule(path, new)
