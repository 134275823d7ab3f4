"""How a base of one's own is written, and what is said of a mistake."""

from __future__ import annotations

import pytest

from bench.bases.spec import Spec, is_spec, parse, with_options
from bench.core.errors import LitmusError
from bench.runner.single import protocol


def test_a_hub_id_with_everything():
    spec = parse("owner/some-name.v1@main?resolution=768x512&dtype=fp32&quantise=nf4&tokens=128&variant=fp16")
    assert spec == Spec("owner/some-name.v1", "main", (512, 768), "fp32", "nf4", 128, "fp16")
    assert parse(str(spec)) == spec
    assert str(parse("owner/name")) == "owner/name?dtype=bf16"
    assert parse("owner/name?resolution=512").resolution == (512, 512)


def test_a_folder_is_made_absolute(tmp_path, monkeypatch):
    (tmp_path / "mine@home").mkdir()
    monkeypatch.chdir(tmp_path)
    spec = parse("mine@home?dtype=fp32")
    assert spec == Spec(str((tmp_path / "mine@home").resolve()), dtype="fp32")
    assert is_spec("mine@home")
    assert is_spec("owner/name")
    assert not is_spec("pocket")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("owner/name?dtpye=bf16", ["option of a base 'dtpye'", "'dtype'"]),
        ("owner/name?dtype=fp61", ["dtype 'fp61'", "fp32"]),
        ("owner/name?quantise=nf8", ["quantise 'nf8'", "nf4"]),
        ("owner/name?resolution=big", ["resolution 'big'", "768x512"]),
        ("owner/name?tokens=-3", ["tokens", "'-3'"]),
        ("owner/name/more", ["no folder owner/name/more", "owner/name", "model_index.json"]),
        ("./nowhere", ["no folder ./nowhere"]),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy(text, words):
    with pytest.raises(LitmusError) as error:
        parse(text)
    assert all(word in str(error.value) for word in words), error.value
    assert "\n" not in str(error.value)


def test_options_are_laid_over_those_that_are_there():
    assert with_options("owner/name", dtype=None) == "owner/name"
    assert with_options("owner/name?dtype=fp32&tokens=64", dtype="bf16") == "owner/name?dtype=bf16&tokens=64"


def test_the_command_s_options_end_up_in_the_base_s_name_and_in_the_budget():
    rules = protocol("mine", ["t"], ["lora"], "0", base="owner/name@v1", dtype="fp32", resolution="512",
                     training={"checkpointing": True, "min_snr": 5.0}, sampling={"steps": 7})  # fmt: skip
    assert rules.base == "owner/name@v1?dtype=fp32&resolution=512"
    assert (rules.train.dtype, rules.train.checkpointing, rules.train.min_snr) == ("fp32", True, 5.0)
    assert (rules.sample.steps, rules.limits.workers) == (7, 1)
    assert protocol("mine", ["t"], ["lora"], "0", base="owner/name").train.dtype == "bf16"
    pocket = protocol("mine", ["t"], ["lora"], "0", dtype="bf16")
    assert (pocket.base, pocket.train.dtype, pocket.limits.workers) == ("pocket", "bf16", 0)
    with pytest.raises(LitmusError, match="--resolution and --quantise are for a base from a folder or the hub"):
        protocol("mine", ["t"], ["lora"], "0", base="pocket", resolution="512")
