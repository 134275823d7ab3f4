"""Names of kohya-ss and LyCORIS: what is written is read back, by diffusers too, and means what LyCORIS computes."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from bench.interop import files, names
from bench.interop.adapters import export, put
from bench.interop.changes import Hadamard, Kronecker, LowRank
from bench.method import Network

SPECS = ("lora[rank=2,alpha=6]", "lora[rank=2,targets=conv]", "dora[rank=2]", "loha[rank=2,alpha=6]", "lokr[alpha=6.0]",
         "lokr[rank=16,alpha=6.0]", "loha[rank=2,targets=attn+conv]")  # fmt: skip


@pytest.mark.parametrize("spec", SPECS)
def test_what_is_written_is_read_back(toy_base, trained, kept, answer, tmp_path, spec):
    tuned, method = trained(toy_base, spec, by=0.2)
    file, _ = export(put(toy_base, kept(toy_base, tuned, method)), "kohya", tmp_path / "out.safetensors")
    tensors, header = files.read(file)
    assert all(key.startswith("lora_unet_") for key in tensors)
    assert header["ss_network_module"] == ("networks.lora" if "lora" in spec or "dora" in spec else "lycoris.kohya")
    back = put(toy_base, file)
    wanted = answer(tuned.net)
    assert (wanted - answer(toy_base.net)).abs().max() > 1e-3
    torch.testing.assert_close(answer(back.base.net), wanted, atol=3e-5, rtol=1e-4)
    assert back.facts.method == method.name


def test_diffusers_reads_it(trained, kept, answer, tmp_path):
    from bench.bases import hub, load_base, tiny

    base = load_base(f"{tiny.write('sd15', tmp_path / 'sd15')}?dtype=fp32")
    tuned, method = trained(base, "lora[rank=2,alpha=6]")
    file, _ = export(put(base, kept(base, tuned, method)), "kohya", tmp_path / "out.safetensors")
    name = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"
    tensors, _ = files.read(file)
    assert tensors[f"{name}.alpha"] == 6
    assert tensors[f"{name}.lora_down.weight"].shape[0] == 2
    pipe = hub.pipeline(base)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pipe.load_lora_weights(str(file))
    torch.testing.assert_close(answer(Network(pipe.unet)), answer(tuned.net), atol=1e-5, rtol=1e-4)


def test_a_transformer_s_names_are_lycoris_s(trained, kept, answer, tmp_path):
    from bench.bases import load_base, tiny

    base = load_base(f"{tiny.write('flux1', tmp_path / 'flux')}?dtype=fp32")
    tuned, method = trained(base, "loha[rank=2]", by=0.2)
    file, _ = export(put(base, kept(base, tuned, method)), "kohya", tmp_path / "out.safetensors")
    assert all(key.startswith("lycoris_") for key in files.read(file)[0])
    torch.testing.assert_close(answer(put(base, file).base.net), answer(tuned.net), atol=3e-5, rtol=1e-4)


def test_changes_are_what_lycoris_computes():
    """Entry by entry, from the sums of arXiv:2309.14859, section 3, and of Tucker's form."""
    g = torch.Generator().manual_seed(0)

    def r(*shape):
        return torch.randn(*shape, generator=g)

    a1, b1, a2, b2 = r(6, 2), r(2, 4), r(6, 2), r(2, 4)
    delta = Hadamard(None, (a1, b1, a2, b2), 0.5).delta(torch.Size((6, 4)))
    assert delta[5, 3] == pytest.approx(float(0.5 * (a1[5] @ b1[:, 3]) * (a2[5] @ b2[:, 3])), rel=1e-5)
    left, u, v = r(2, 2), r(3, 1), r(1, 2)
    delta = Kronecker(None, (left,), (u, v), 3.0).delta(torch.Size((6, 4)))
    assert delta[4, 3] == pytest.approx(float(3 * left[1, 1] * (u @ v)[1, 1]), rel=1e-5)
    whole = r(3, 2, 3, 3)
    delta = Kronecker(None, (left,), (whole,), 1.0).delta(torch.Size((6, 4, 3, 3)))
    assert delta[4, 3, 2, 0] == pytest.approx(float(left[1, 1] * whole[1, 1, 2, 0]), rel=1e-5)
    core, down, up = r(2, 2, 3, 3), r(2, 4, 1, 1), r(6, 2, 1, 1)
    delta = LowRank(None, down, up, 2.0, core).delta(torch.Size((6, 4, 3, 3)))
    by_hand = 2 * sum(up[5, i, 0, 0] * core[i, j, 1, 2] * down[j, 3, 0, 0] for i in range(2) for j in range(2))
    assert delta[5, 3, 1, 2] == pytest.approx(float(by_hand), rel=1e-5)
    ta, tb = (r(2, 6), r(2, 6)), (r(2, 4), r(2, 4))
    cores = r(2, 2, 3, 3), r(2, 2, 3, 3)
    delta = Hadamard(None, (ta[0], tb[0], ta[1], tb[1]), 1.0, cores).delta(torch.Size((6, 4, 3, 3)))
    both = [
        sum(t[i, j, 0, 1] * a[i, 5] * b[j, 2] for i in range(2) for j in range(2))
        for t, a, b in zip(cores, ta, tb, strict=True)
    ]
    assert delta[5, 2, 0, 1] == pytest.approx(float(both[0] * both[1]), rel=1e-5)


def test_the_magnitude_is_dora_s():
    w, m = torch.randn(3, 4), torch.rand(3) + 1
    new = LowRank(m, torch.randn(1, 4), torch.randn(3, 1), 1.0).weight(w)
    torch.testing.assert_close(new.norm(dim=1), m)


def test_stability_s_names_of_sdxl_are_understood():
    unet = type("UNet2DConditionModel", (torch.nn.Module,), {"config": SimpleNamespace(layers_per_block=2)})()
    old = {
        "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_q.alpha": torch.tensor(1.0),
        "lora_unet_middle_block_1_proj_in.alpha": torch.tensor(1.0),
        "lora_unet_output_blocks_0_0_in_layers_2.alpha": torch.tensor(1.0),
        "lora_unet_input_blocks_3_0_op.alpha": torch.tensor(1.0),
    }
    assert sorted(names.respelled(old, unet, "x")) == [
        "lora_unet_down_blocks_0_downsamplers_0_conv.alpha",
        "lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q.alpha",
        "lora_unet_mid_block_attentions_0_proj_in.alpha",
        "lora_unet_up_blocks_0_resnets_0_conv1.alpha",
    ]
