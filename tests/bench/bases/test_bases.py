"""Bases by name, and what every base does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from bench.bases import base_digest, load_base
from bench.core.errors import LitmusError


def test_bases_are_loaded_once_and_frozen(toy_base):
    assert load_base("toy").net is toy_base.net
    assert not any(p.requires_grad for part in (toy_base.net, toy_base.vae) for p in part.parameters())
    assert not toy_base.net.training
    assert base_digest("toy") == toy_base.digest


@pytest.mark.parametrize(
    ("name", "dtype", "line"),
    [
        ("poket", "fp32", "unknown base 'poket': did you mean 'pocket'"),
        ("toy", "fp16", "unknown dtype 'fp16': did you mean 'bf16'"),
    ],
)
def test_unknown_names_are_one_clear_line(name, dtype, line):
    with pytest.raises(LitmusError, match=line):
        load_base(name, dtype)


def test_an_unknown_base_has_no_digest():
    with pytest.raises(LitmusError, match="unknown base"):
        base_digest("poket")


def test_a_fork_shares_all_but_the_network(toy_base):
    fork = toy_base.fork()
    with torch.no_grad():
        next(fork.net.denoiser.parameters()).add_(1)
    assert not next(fork.net.denoiser.parameters()).equal(next(toy_base.net.denoiser.parameters()))
    assert fork.vae is toy_base.vae
    assert fork.digest == toy_base.digest


def test_text_is_padded_to_full_length_and_does_not_depend_on_its_batch(toy_base):
    alone, together = toy_base.encode_text(["a dog"]), toy_base.encode_text(["a red car on the beach", "a dog", ""])
    assert together.shape == (3, toy_base.tokenizer.model_max_length, 16)
    torch.testing.assert_close(alone[0], together[1])
    assert toy_base.encode_text(["a dog " * 50]).shape == alone.shape
    assert not alone.requires_grad


def test_text_carries_gradients_to_a_trained_text_side(toy_base):
    fork = toy_base.fork()
    fork.net.text.requires_grad_(True)
    fork.encode_text(["a dog"]).sum().backward()
    assert next(fork.net.text.parameters()).grad is not None


def test_latents_are_scaled_as_diffusers_does(toy_base):
    images = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    z = toy_base.encode(images)
    assert z.shape == (3, *toy_base.latent_shape)
    scaling = toy_base.vae.config.scaling_factor
    torch.testing.assert_close(z, toy_base.vae.encode(images * 2 - 1).latent_dist.mode() * scaling)
    pictures = toy_base.decode(z)
    expected = (toy_base.vae.decode(z / scaling).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(pictures, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(toy_base.decode(z, chunk=1), pictures, atol=1e-5, rtol=1e-5)
    drawn = [toy_base.encode(images, torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].allclose(drawn[2])


def test_words_that_the_base_does_not_know_are_named(toy_base):
    assert toy_base.unknown_words(["a Dog, on the beach", "a zebra in Paris"]) == ["paris", "zebra"]
    assert replace(toy_base, words=None).unknown_words(["a zebra"]) == []


def test_bf16_is_autocast(toy_base):
    half = load_base("toy", "bf16")
    assert half.net is toy_base.net
    x, t, context = torch.randn(1, 4, 8, 8), torch.tensor([5]), toy_base.encode_text(["a dog"])
    with half.autocast():
        assert half.net(x, t, context).dtype == torch.bfloat16
    with toy_base.autocast():
        assert toy_base.net(x, t, context).dtype == torch.float32


def test_importing_bases_loads_no_torch():
    import subprocess
    import sys

    code = "import sys, bench.bases; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False"]
