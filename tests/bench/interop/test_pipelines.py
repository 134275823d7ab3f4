"""The merged pipeline of the pocket base and of other tools' files; test_chain.py has every family."""

from __future__ import annotations

import importlib

import pytest
import torch

from bench.core.errors import LitmusError
from bench.interop import pipelines
from bench.interop.adapters import export, put
from bench.method import Network


@pytest.fixture
def sd15(tmp_path):
    from bench.bases import load_base, tiny

    return load_base(f"{tiny.write('sd15', tmp_path / 'sd15')}?dtype=fp32")


def test_another_tool_s_file_is_merged_too(sd15, trained, kept, answer, tmp_path):
    tuned, method = trained(sd15, "lokr")
    file, _ = export(put(sd15, kept(sd15, tuned, method)), "kohya", tmp_path / "x.safetensors")
    folder, _ = export(put(sd15, kept(sd15, tuned, method)), "peft", tmp_path / "x")
    for path in (file, folder):
        net = put(sd15, path).merged()
        assert net.denoiser.state_dict().keys() == sd15.net.denoiser.state_dict().keys()
        torch.testing.assert_close(answer(net), answer(tuned.net), atol=2e-5, rtol=1e-4)


def test_nothing_is_written_over(sd15, trained, kept, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("")
    tuned, method = trained(sd15, "lora")
    with pytest.raises(LitmusError, match="is there already"):
        pipelines.merge(put(sd15, kept(sd15, tuned, method)), tmp_path / "full")


def test_the_pocket_base_is_merged_into_its_own_pipeline(trained, kept, answer, tmp_path):
    from bench.bases import load_base

    pocket = load_base("pocket")
    tuned, method = trained(pocket, "lora")
    out = pipelines.merge(put(pocket, kept(pocket, tuned, method)), tmp_path / "out", "fp16")
    diffusers = importlib.import_module("diffusers")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(str(out))
    wanted = answer(tuned.net)
    assert (answer(Network(pipe.unet)) - wanted).abs().max() < 0.02 * wanted.abs().max()  # fp16 on the disk
