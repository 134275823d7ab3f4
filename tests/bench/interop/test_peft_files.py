"""peft's own loader makes of our checkpoints what we trained, for every tuner; and its checkpoints load here."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch

from bench.core.errors import LitmusError
from bench.interop import peft_files
from bench.interop.adapters import export, put
from bench.method import METHODS, load_plugins

load_plugins()
TUNERS = [*sorted(name for name, cls in METHODS.items() if hasattr(cls, "config")), "lora"]
MANY = {"bdlora", "frod", "velora"}  # not to be said in one configuration
# One of each way in which configurations are joined or shared; the others are marked slow.
QUICK = {"lora", "pissa", "loha", "ia3", "osf", "c3a", "fourierft", "vera", "vblora", "tinylora", "frod", "lily"}
CASES = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in TUNERS if n != "adamss"]


def through_peft(denoiser, folder):
    """The denoiser with the checkpoint on it, by peft alone."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for place in peft_files.part_folders(folder):
            whole: Any = PeftModel.from_pretrained(denoiser, str(place))
            denoiser = whole.base_model.model
    return denoiser


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # by peft's own FRoD layers
@pytest.mark.parametrize("name", CASES)
def test_peft_loads_what_we_write(toy_base, trained, kept, answer, tmp_path, name):
    tuned, method = trained(toy_base, name)
    wanted, before = answer(tuned.net), answer(toy_base.net)
    assert (wanted - before).abs().max() > 1e-3
    ours = put(toy_base, kept(toy_base, tuned, method))
    torch.testing.assert_close(answer(ours.base.net), wanted)
    folder, _ = export(ours, "peft", tmp_path / "peft")
    assert len(peft_files.part_folders(folder)) > 1 if name in MANY else (folder / "adapter_config.json").is_file()
    net = toy_base.fork().net
    net.denoiser = through_peft(net.denoiser, folder)
    scale = (wanted - before).abs().max().item()
    torch.testing.assert_close(answer(net), wanted, atol=1e-4 * scale + 2e-6, rtol=1e-4)
    back = put(toy_base, folder)
    torch.testing.assert_close(answer(back.base.net), wanted, atol=1e-4 * scale + 2e-6, rtol=1e-4)
    assert back.facts.key == "0123456789abcdef"
    assert back.facts.kind == "peft"


def test_adamss_is_refused_with_its_reason(toy_base, trained, kept, tmp_path):
    tuned, method = trained(toy_base, "adamss")
    with pytest.raises(LitmusError, match="scikit-learn"):
        export(put(toy_base, kept(toy_base, tuned, method)), "peft", tmp_path / "x")
    assert not (tmp_path / "x").exists()
