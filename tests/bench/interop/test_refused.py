"""An adapter that does not match its base is refused with one line, never loaded in part."""

from __future__ import annotations

import json
import pickle

import pytest
import torch

from bench.core.errors import LitmusError
from bench.interop import files
from bench.interop.adapters import export, put


@pytest.fixture
def exported(toy_base, trained, kept, tmp_path):
    """A function: exported("kohya", change) -> the path of an adapter whose tensors went through `change`."""

    def write(form: str, change, spec: str = "lora[rank=2]"):
        tuned, method = trained(toy_base, spec)
        out = tmp_path / ("x.safetensors" if form == "kohya" else "x")
        path, _ = export(put(toy_base, kept(toy_base, tuned, method)), form, out)
        name = {"kohya": "", "diffusers": files.DIFFUSERS_NAME, "peft": files.PEFT_NAME}[form]
        file = path / name if name else path
        tensors, header = files.read(file)
        files.write(file, change(tensors), header)
        return path

    return write


def renamed(old: str, new: str):
    return lambda tensors: {key.replace(old, new): x for key, x in tensors.items()}


def cut(tensors):
    gone = next(key for key in tensors if not key.endswith("alpha"))
    return {key: x for key, x in tensors.items() if key != gone}


def narrow(tensors):
    """The first factor of the inputs, one input short."""
    key = next(k for k in tensors if "lora_A" in k or "lora_down" in k)
    return tensors | {key: tensors[key][:, :-1]}


def strange(tensors):
    """One more pair, for a layer that no base has."""
    return tensors | {k.replace("mid_block", "far_block"): x for k, x in tensors.items() if "mid_block" in k}


@pytest.mark.parametrize("form", ["kohya", "diffusers", "peft"])
@pytest.mark.parametrize("change", [cut, narrow, strange])
def test_what_does_not_fit_is_refused(toy_base, exported, form, change):
    before = {key: x.clone() for key, x in toy_base.net.state_dict().items()}
    with pytest.raises(LitmusError) as caught:
        put(toy_base, exported(form, change))
    line = str(caught.value)
    assert "\n" not in line
    assert {"cut": "", "narrow": "does not fit", "strange": "does not fit"}[change.__name__] in line
    assert change is not strange or "far_block" in line
    assert all(x.equal(before[key]) for key, x in toy_base.net.state_dict().items())


def test_an_adapter_of_another_base_is_refused_by_its_digest(toy_base, trained, kept, tmp_path):
    from bench.bases.toy import toy_base as another

    other = another(seed=1)
    tuned, method = trained(toy_base, "lora[rank=2]")
    file = kept(toy_base, tuned, method)
    with pytest.raises(LitmusError, match="was trained on toy .* not on toy .*--any-base"):
        put(other, file)
    assert put(other, file, any_base=True).facts.method == "lora"
    folder, _ = export(put(toy_base, file), "diffusers", tmp_path / "x")
    with pytest.raises(LitmusError, match="--any-base"):
        put(other, folder)


def test_the_same_weights_at_another_dtype_or_resolution_are_the_same_base(tiny_base, trained, kept, answer):
    from bench.bases import load_base, tiny

    folder = tiny_base("sd15")
    base = load_base(f"{folder}?dtype=fp32&resolution=64")
    tuned, method = trained(base, "lora[rank=2]")
    file = kept(base, tuned, method)
    large = load_base(f"{folder}?dtype=fp32&resolution=128")
    assert large.digest != base.digest
    torch.testing.assert_close(answer(put(large, file).base.net), answer(tuned.net))
    assert put(load_base(f"{folder}?dtype=bf16&resolution=64"), file).facts.method == "lora"
    tensors, header = files.read(file)
    table = json.loads(header["litmus"])
    assert table["base_weights"].keys() == {"denoiser"}
    files.write(file, tensors, header | {"litmus": json.dumps(table | {"base_weights": {}})})  # as older files are
    assert put(base, file).facts.method == "lora"
    with pytest.raises(LitmusError, match="--any-base"):
        put(large, file)
    files.write(file, tensors, header)
    other = load_base(f"{tiny.write('sd15', file.parent / 'other', seed=1)}?dtype=fp32&resolution=64")
    with pytest.raises(LitmusError, match="--any-base"):
        put(other, file)


def test_the_text_encoder_s_part_is_not_dropped_in_silence(toy_base, exported):
    path = exported("kohya", renamed("lora_unet_mid_block", "lora_te2_text_model_encoder"))
    with pytest.raises(LitmusError, match="text encoder that this base does not keep"):
        put(toy_base, path)


def test_a_saved_run_with_other_settings_is_refused(toy_base, trained, kept):
    tuned, method = trained(toy_base, "lora[rank=2]")
    file = kept(toy_base, tuned, method)
    tensors, header = files.read(file)
    table = json.loads(header["litmus"])
    table["hyper"]["rank"] = 3
    files.write(file, tensors, header | {"litmus": json.dumps(table)})
    with pytest.raises(LitmusError, match="does not fit the base toy: .* has the shape"):
        put(toy_base, file)
    files.write(file, tensors, header | {"litmus": "{"})
    with pytest.raises(LitmusError, match="broken entry"):
        put(toy_base, file)
    files.write(file, tensors, header | {"litmus": json.dumps(table | {"format": 99})})
    with pytest.raises(LitmusError, match="newer litmus"):
        put(toy_base, file)


def test_files_that_are_no_adapter(toy_base, tmp_path):
    bad = tmp_path / "x.bin"
    bad.write_bytes(pickle.dumps({"a": 1}))
    (tmp_path / "y.safetensors").write_bytes(b"not one")
    files.write(tmp_path / "z.safetensors", {"some.weight": torch.zeros(1)}, {})
    (tmp_path / "empty").mkdir()
    (tmp_path / "pipe").mkdir()
    (tmp_path / "pipe" / "model_index.json").write_text("{}")
    (tmp_path / "r.json").write_text('{"files": {}}')
    for name, reason in (
        ("x.bin", "not opened here"),
        ("y.safetensors", "cannot read"),
        ("z.safetensors", "is no adapter of StableDiffusionPipeline|some.weight"),
        ("empty", "no .safetensors file"),
        ("pipe", "a whole pipeline"),
        ("none", "no adapter"),
        ("r.json", "--save"),
    ):
        with pytest.raises(LitmusError, match=reason):
            put(toy_base, tmp_path / name)
