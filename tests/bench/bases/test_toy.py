from __future__ import annotations

import pytest
import torch

from bench.bases.toy import LENGTH, WORDS, toy_base, toy_network, toy_tokenizer


def test_a_network_repeats_and_leaves_the_global_stream():
    before = torch.get_rng_state()
    one, two, other = toy_network(), toy_network(), toy_network(seed=1)
    assert torch.get_rng_state().equal(before)
    assert all(a.equal(b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not all(a.equal(b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert not one.training
    assert not any(p.requires_grad for p in one.parameters())


def test_every_tensor_has_an_effect():
    """A method that trains any part of it can be seen to learn."""
    net = toy_network().requires_grad_(True)
    x, t, context = torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 3, 16)
    net(x, t, context).square().sum().backward()
    assert [k for k, p in net.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9] == []


def test_shapes_alone():
    with torch.device("meta"):
        net = toy_network()
    assert {p.device.type for p in net.parameters()} == {"meta"}
    assert [p.shape for p in net.parameters()] == [p.shape for p in toy_network().parameters()]


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_one_token(word):
    assert toy_tokenizer().tokenize(word) == [word + "</w>"]


def test_another_word_falls_into_letters():
    assert len(toy_tokenizer().tokenize("zebra")) > 1


def test_base():
    base = toy_base()
    text = base.encode_text(["a red dog", "a blue dog"])
    assert isinstance(text, torch.Tensor)
    assert text.shape == (2, LENGTH, 16)
    assert not text[0].allclose(text[1])
    z = base.encode(torch.rand(2, 3, 32, 32))
    assert z.shape[1:] == base.latent_shape
    images = base.decode(z)
    assert images.shape == (2, 3, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
    assert base.unknown_words(["a sks dog", "a zebra"]) == ["zebra"]
    assert base.digest == toy_base().digest != toy_base(seed=1).digest
