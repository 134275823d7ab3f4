"""The pocket base's folder, with random weights in the true shapes: what is saved is what is loaded."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from bench.bases.pocket import PARTS, digest, load, whole_words
from bench.core.errors import LitmusError
from bench.pretraining import nets


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder in diffusers' layout, as the pretraining writes it."""
    folder = tmp_path_factory.mktemp("pocket_weights")
    tokenizer = nets.tokenizer(folder / "tokenizer")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        nets.unet().half().save_pretrained(folder / "unet")
        nets.vae().half().save_pretrained(folder / "vae")
        nets.text_encoder(len(tokenizer)).half().save_pretrained(folder / "text_encoder")
    nets.scheduler().save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "pocket.json").write_text(json.dumps({"licence": "Apache-2.0", "samples": 5}))
    return folder


@pytest.fixture(scope="module")
def base(saved):
    return load(saved)


def test_it_has_the_shapes_of_the_world(base):
    assert base.resolution == 64
    assert base.latent_shape == (4, 16, 16)
    assert base.schedule.kind == "v"
    assert len(base.schedule) == 1000
    assert base.encode_text(["a red car on the beach"]).shape == (1, nets.TOKENS, nets.WIDTH)
    assert base.decode(base.encode(torch.rand(1, 3, 64, 64))).shape == (1, 3, 64, 64)
    assert (base.licence, base.notes) == ("Apache-2.0", {"samples": 5})


def test_weights_are_the_files_widened_and_frozen(base, saved):
    from safetensors.torch import load_file

    stored = load_file(saved / "unet" / "diffusion_pytorch_model.safetensors")
    mine = base.net.denoiser.state_dict()
    assert mine.keys() == stored.keys()
    assert all(mine[k].dtype == torch.float32 and mine[k].equal(v.float()) for k, v in stored.items())
    assert all(p.dtype == torch.float32 for part in (base.net, base.vae) for p in part.parameters())
    assert not any(p.requires_grad for part in (base.net, base.vae) for p in part.parameters())


def test_plain_attention_gives_what_the_default_gives(base):
    x, t = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([500])
    context = base.encode_text(["a red car"])
    plain = base.net(x, t, context)
    fork = base.fork()
    fork.net.denoiser.set_default_attn_processor()
    torch.testing.assert_close(fork.net(x, t, context), plain, atol=1e-4, rtol=1e-4)


def test_its_words_are_the_worlds(base):
    from bench.world.captions import IDENTIFIERS, vocabulary

    assert base.words == frozenset(vocabulary())
    assert set(IDENTIFIERS) <= base.words
    assert whole_words(["a</w>", "b</w>", "car</w>", "ca", "<|endoftext|>"]) == {"a", "car"}


def test_the_digest_follows_every_file_that_decides_a_picture(base, saved, tmp_path):
    assert digest(saved) == base.digest
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    assert digest(copy) == base.digest
    file = copy / "scheduler" / "scheduler_config.json"
    file.write_text(file.read_text().replace("0.00085", "0.0009"))
    assert digest(copy) != base.digest


@pytest.mark.parametrize("part", [*PARTS, "model_index.json"])
def test_what_is_missing_is_one_clear_line(saved, tmp_path, part):
    copy = tmp_path / "copy"
    shutil.copytree(saved, copy)
    gone = copy / part
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    with pytest.raises(LitmusError, match="litmus pocket train") as error:
        load(copy)
    assert "\n" not in str(error.value)
