"""Published encoders: the true classes of each library, loaded from a folder, seen as the library itself sees."""

from __future__ import annotations

import shutil
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bench.core.errors import LitmusError
from bench.extractors import csd, encoders
from bench.extractors.encoders import hash_weights, load_encoder
from bench.extractors.preprocess import Preprocess


def tensor(photo: Path) -> torch.Tensor:
    """(1, 3, H, W) in [0, 1]."""
    pixels = np.asarray(Image.open(photo).convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def path_of(spec: str) -> str:
    return spec.partition(":")[2]


def their_openclip(spec: str, photo: Path):
    import open_clip

    made: Any = open_clip.create_model_and_transforms(f"local-dir:{path_of(spec)}")
    net, _, prepare = made
    x = prepare(Image.open(photo))[None]
    return x, net.eval().encode_image(x)


def their_timm(spec: str, photo: Path):
    import timm
    from timm.data import create_transform, resolve_model_data_config

    net = timm.create_model(f"local-dir:{path_of(spec)}", pretrained=True, num_classes=0).eval()
    prepare: Any = create_transform(**resolve_model_data_config(net), is_training=False)
    x = prepare(Image.open(photo))[None]
    return x, net(x)


def their_hf(spec: str, photo: Path):
    from transformers import AutoImageProcessor, AutoModel

    x = AutoImageProcessor.from_pretrained(path_of(spec))(images=Image.open(photo), return_tensors="pt")["pixel_values"]
    return x, AutoModel.from_pretrained(path_of(spec)).eval()(x).pooler_output


@pytest.mark.parametrize(("family", "theirs"), [("openclip", their_openclip), ("timm", their_timm), ("hf", their_hf)])
def test_an_encoder_sees_what_its_library_sees(saved, photo, family, theirs):
    spec = getattr(saved, family)
    encoder = load_encoder(spec)
    with torch.no_grad():
        x, features = theirs(spec, photo)
    ours = encoder.preprocess(tensor(photo))
    assert ours.shape == x.shape
    assert (ours - x).abs().max() < 2.5 / 255 / 0.2  # theirs are rounded to eight bits twice on the way
    assert (ours - x).abs().mean() < 0.5 / 255 / 0.2
    mine = encoder.image(tensor(photo))
    torch.testing.assert_close(mine.norm(dim=1), torch.ones(1))
    exact = torch.nn.functional.normalize(encoder.embed(x).float(), dim=1)
    torch.testing.assert_close(exact, torch.nn.functional.normalize(features, dim=1))
    assert (mine @ exact.T).item() > 0.999


def test_texts_lie_in_the_space_of_the_pictures(saved, photo):
    encoder = load_encoder(saved.openclip)
    texts = encoder.text(["a dog", "a red car on the beach"])
    assert texts.shape == (2, 16) == (2, encoder.image(tensor(photo)).shape[1])
    torch.testing.assert_close(texts.norm(dim=1), torch.ones(2))
    with pytest.raises(LitmusError, match="reads no text: use an openclip encoder"):
        load_encoder(saved.timm).text(["a dog"])


def test_openai_s_weights_get_their_own_activation():
    """open_clip's plain ViT-B-32 computes another GELU than OpenAI trained with, and only warns."""
    assert encoders._quick_gelu("ViT-B-32", "openai")
    assert not encoders._quick_gelu("ViT-B-32", "laion2b_s34b_b79k")
    assert not encoders._quick_gelu("ViT-B-32", None)


# --- CSD ------------------------------------------------------------------------------------------------------------


def test_csd_is_the_style_head_on_clip_without_its_projection(saved, photo):
    from open_clip.transformer import QuickGELU, VisionTransformer

    encoder = load_encoder(saved.csd)
    assert encoder.preprocess.crop == encoder.preprocess.resize == 28
    table = csd._tensors(Path(path_of(saved.csd)))
    net = VisionTransformer(28, 14, 64, 2, 1, 4.0, act_layer=QuickGELU)
    net.proj = None
    net.load_state_dict({k[len("module.backbone.") :]: v for k, v in table.items() if "backbone" in k})
    with torch.no_grad():
        style = net.eval()(encoder.preprocess(tensor(photo))) @ table["module.last_layer_style"]
    torch.testing.assert_close(encoder.image(tensor(photo)), torch.nn.functional.normalize(style, dim=1))


def test_csd_from_safetensors_is_the_same(saved, tmp_path):
    from safetensors.torch import save_file

    table = csd._tensors(Path(path_of(saved.csd)))
    save_file({k.removeprefix("module."): v for k, v in table.items()}, tmp_path / "model.safetensors")
    assert load_encoder(f"csd:{tmp_path}").digest == load_encoder(saved.csd).digest


def test_a_pickle_s_code_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({"model_state_dict": Evil()}, tmp_path / "checkpoint.pth")
    with pytest.raises(LitmusError, match="cannot load the encoder csd:"):
        load_encoder(f"csd:{tmp_path}")
    assert not (tmp_path / "ran").exists()


def test_other_weights_are_no_csd(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(LitmusError, match="no CSD weights in"):
        load_encoder(f"csd:{tmp_path}")
    save_file({"conv.weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    with pytest.raises(LitmusError, match=r"holds no CSD weights \(conv\.weight\)"):
        load_encoder(f"csd:{tmp_path}")


# --- DreamSim -------------------------------------------------------------------------------------------------------


def test_dreamsim_where_it_is_installed(monkeypatch, photo):
    class Net(torch.nn.Linear):
        def embed(self, x):
            return self(x.mean(dim=(2, 3)))

    asked = {}

    def dreamsim(**options):
        asked.update(options)
        return Net(3, 4), None

    module = types.ModuleType("dreamsim")
    module.dreamsim = dreamsim  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "dreamsim", module)
    encoder = load_encoder("dreamsim:dino_vitb16")
    assert asked["dreamsim_type"] == "dino_vitb16"
    assert encoder.preprocess(tensor(photo)).shape == (1, 3, 224, 224)
    assert encoder.image(tensor(photo)).shape == (1, 4)


def test_a_library_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "dreamsim", None)
    with pytest.raises(LitmusError, match=r"dreamsim:ensemble needs the library dreamsim: pip install dreamsim"):
        load_encoder("dreamsim:ensemble")


# --- names, digests, preprocessing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("dinov3:vitl14", "unknown family of encoders 'dinov3': did you mean 'dinov2'"),
        ("dino:vits15", "unknown encoder 'dino:vits15': did you mean 'dino:vits16'"),
        ("openclip:ViT-B-33/openai", "unknown open_clip model 'ViT-B-33'"),
        ("openclip:ViT-B-32/opneai", "unknown weights of ViT-B-32 'opneai': did you mean 'openai'"),
        (
            "timm:vit_smal_patch16_224.dino",
            "unknown timm model 'vit_smal_patch16_224': did you mean 'vit_small_patch16",
        ),
        ("timm:", "unknown encoder 'timm:'"),
    ],
)
def test_mistakes_are_one_line(spec, line):
    with pytest.raises(LitmusError, match=line) as fault:
        load_encoder(spec)
    assert "\n" not in str(fault.value)


def test_weights_that_cannot_be_had_are_one_line(monkeypatch):
    import timm

    def offline(*args, **options):
        raise OSError("We couldn't connect to the hub.\nSecond line")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(LitmusError, match=r"cannot load the encoder dino:vits16 \(We couldn't .*timm:FOLDER") as fault:
        load_encoder("dino:vits16")
    assert "\n" not in str(fault.value)


def test_dino_is_prepared_as_dreambooth_s_metric_is(monkeypatch, saved):
    import timm

    monkeypatch.setattr(timm, "create_model", lambda *a, make=timm.create_model, **o: make(f"local-dir:{path}", **o))
    path = path_of(saved.timm)
    preprocess = load_encoder("dino:vits16").preprocess
    assert (preprocess.resize, preprocess.crop, preprocess.mean) == (256, 224, (0.485, 0.456, 0.406))


def test_the_digest_is_the_weights_and_the_preprocessing(saved, tmp_path):
    encoder = load_encoder(saved.hf)
    assert encoder.facts()["model"] == "dinov2"  # not the path
    shutil.copytree(path_of(saved.hf), tmp_path / "elsewhere")
    assert load_encoder(f"hf:{tmp_path / 'elsewhere'}").digest == encoder.digest
    config = tmp_path / "elsewhere" / "preprocessor_config.json"
    config.write_text(config.read_text().replace("0.4", "0.45"))
    encoders._load.cache_clear()
    other = load_encoder(f"hf:{tmp_path / 'elsewhere'}")
    assert other.digest != encoder.digest
    assert other.weights == encoder.weights


def test_the_weights_hash_knows_values_not_names():
    torch.manual_seed(0)
    one, inner = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    two = torch.nn.Sequential(inner)
    two.load_state_dict({f"0.{k}": v for k, v in one.state_dict().items()})
    assert hash_weights(one) == hash_weights(two)
    with torch.no_grad():
        inner.bias[0] += 1e-6
    assert hash_weights(one) != hash_weights(two)


def test_preprocessing_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="interpolation 'lanczos' is none of"):
        Preprocess(32, 32, (0, 0, 0), (1, 1, 1), "lanczos")
    with pytest.raises(ValueError, match="crop 33 is not in 1 to resize"):
        Preprocess(32, 33, (0, 0, 0), (1, 1, 1))
    white = Preprocess(16, 8, (0.5,) * 3, (0.5,) * 3)(torch.ones(2, 3, 20, 40))
    torch.testing.assert_close(white, torch.ones(2, 3, 8, 8))
