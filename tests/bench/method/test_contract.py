from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from bench.core.rng import rng
from bench.method import (
    METHODS,
    Figures,
    LitmusError,
    Method,
    Network,
    attached,
    contract,
    figures,
    fit_budget,
    load_file,
    load_plugins,
    load_state,
    make,
    register,
    state,
)

load_plugins()


class Denoiser(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(6, 6)  # 42 scalars
        self.register_buffer("table", torch.zeros(5))


def network() -> Network:
    return Network(Denoiser()).requires_grad_(False)


@dataclass(frozen=True)
class Toy(Method):
    """Adds `rank` trained vectors (6,) and one frozen one."""

    name = "toy"
    paper = "none"
    size_field = "rank"
    rank: int = 2

    def attach(self, net: Any, rng):
        inner = net.denoiser.inner
        inner.added = nn.Parameter(torch.randn(self.rank, 6, generator=rng).to(inner.weight.device))
        inner.register_buffer("frozen", inner.weight.new_zeros(6))
        inner.bias.requires_grad_(True)

    def count(self, net):
        return 6 * self.rank + 6


@pytest.fixture(autouse=True)
def registry():
    """What a test registers is forgotten after it."""
    with METHODS.kept():
        yield METHODS


# --- network and state


def test_network_calls_its_denoiser():
    class Net(nn.Module):
        def forward(self, x, t, encoder_hidden_states):
            return type("Out", (), {"sample": x + t[:, None] + encoder_hidden_states.sum()})()

    out = Network(Net())(torch.zeros(2, 3), torch.tensor([1, 2]), torch.ones(1))
    assert out.tolist() == [[2.0] * 3, [3.0] * 3]


def test_attached_freezes_first_and_hands_back_the_same_network():
    net = network().requires_grad_(True)
    assert attached(Toy(), net, rng("a")) is net
    assert set(state(net)) == {"denoiser.inner.added", "denoiser.inner.bias"}


def test_state_goes_into_another_network():
    one, two = (attached(Toy(), network(), rng("a", i)) for i in range(2))
    assert not state(one)["denoiser.inner.added"].equal(state(two)["denoiser.inner.added"])
    load_state(two, {k: v.double() for k, v in state(one).items()})
    assert all(state(two)[k].equal(v) and state(two)[k].dtype == torch.float32 for k, v in state(one).items())
    assert all(p.requires_grad for k, p in two.named_parameters() if k in state(one))


def test_state_of_other_settings_is_refused():
    net = attached(Toy(), network(), rng("a"))
    tensors = state(net)
    with pytest.raises(LitmusError, match=r"inner.added has the shape \(3, 6\), the network \(2, 6\)"):
        load_state(net, {**tensors, "denoiser.inner.added": torch.zeros(3, 6)})
    with pytest.raises(LitmusError, match=r"lack denoiser.inner.added \(1 differ\)"):
        load_state(net, {"denoiser.inner.bias": tensors["denoiser.inner.bias"]})
    with pytest.raises(LitmusError, match="have, which the network does not train, zzz"):
        load_state(net, {**tensors, "zzz": torch.zeros(1)})


# --- figures and budget


def test_figures_are_four_numbers():
    net = network()
    before = net.state_dict().keys()
    # trained: 12 added + 6 of the base's own; active: 12 added + 6 frozen
    assert figures(Toy(), net) == Figures(trainable=18, stored=18, active=18, buffers=6)
    assert net.state_dict().keys() == before


def test_figures_on_the_meta_device():
    with torch.device("meta"):
        assert figures(Toy(rank=3), network()) == Figures(24, 24, 24, 6)


@pytest.mark.parametrize(
    ("scalars", "rank"), [(0, 1), (12, 1), (15, 1), (16, 2), (606, 100), (608, 100), (6_000_006, 10**6)]
)
def test_budget_takes_the_nearest_size(scalars, rank):
    assert fit_budget(Toy(), network(), scalars) == Toy(rank=rank)


def test_budget_of_a_size_that_saturates():
    class Capped(Toy):
        def count(self, net):
            return 10 * min(self.rank, 6)

    assert fit_budget(Capped(), network(), 45).rank in (4, 5)  # type: ignore[attr-defined]
    assert fit_budget(Capped(), network(), 10_000).count(network()) == 60


def test_budget_needs_a_size():
    with pytest.raises(LitmusError, match="full has no size"):
        fit_budget(make("full"), network(), 10)


# --- registry


def test_make():
    assert make("lora").hyper() == {"rank": 4, "alpha": None, "targets": "attn"}
    assert make("lora", rank=8, alpha=16).hyper() == {"rank": 8, "alpha": 16.0, "targets": "attn"}
    assert type(make("lora", alpha=16).hyper()["alpha"]) is float


@pytest.mark.parametrize(
    ("name", "hyper", "line"),
    [
        ("lroa", {}, r"^unknown method 'lroa': did you mean 'lora'\? \(litmus methods lists them\)$"),
        ("lora", {"rnak": 8}, r"^unknown hyperparameter of lora 'rnak': did you mean 'rank'\?"),
        ("lora", {"rank": "big"}, "^lora: rank is a whole number, not 'big'$"),
        ("lora", {"rank": 1.5}, "^lora: rank is a whole number, not 1.5$"),
        ("lora", {"rank": True}, "^lora: rank is a whole number, not True$"),
        ("lora", {"alpha": "x"}, "^lora: alpha is a number or none, not 'x'$"),
        ("difffit", {"attention_scales": 1}, "^difffit: attention_scales is true or false, not 1$"),
        ("adapter", {"source": 3}, "^adapter: source is text, not 3$"),
    ],
)
def test_make_refuses_with_the_remedy(name, hyper, line):
    with pytest.raises(LitmusError, match=line):
        make(name, **hyper)


def test_two_methods_of_one_name(registry):
    register(Toy)
    register(Toy)

    class Other(Toy):
        pass

    with pytest.raises(LitmusError, match="two methods are called 'toy': rename Other"):
        register(Other)


def test_register_asks_for_name_and_paper():
    class Nameless(Method):
        paper = "none"

    with pytest.raises(LitmusError, match="Nameless has no name: add name = "):
        register(Nameless)


def test_a_method_without_attach_or_count_says_what_to_write():
    for call in ("attach", "count"):
        with pytest.raises(NotImplementedError, match=f"write {call}"):
            getattr(Method(), call)(*([network(), rng("a")] if call == "attach" else [network()]))


# --- plug-ins

FILE = """
from __future__ import annotations
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch
from bench.method import Method, register

@register
@dataclass(frozen=True)
class Mine(Method):
    name = "{name}"
    paper = "none"
    size: int = 1
"""


def test_load_file(tmp_path, registry):
    file = tmp_path / "mine.py"
    file.write_text(FILE.format(name="mine"))
    (cls,) = load_file(file)
    assert registry["mine"] is cls
    assert load_file(str(file)) == [cls], "loading again gives the same class"
    assert make("mine", size=3).hyper() == {"size": 3}


def test_a_plugin_s_digest_follows_its_source(tmp_path, registry):
    assert contract.source_digest(registry["lora"]) == ""
    digests = set()
    for i in range(2):
        file = tmp_path / f"d{i}.py"
        file.write_text(FILE.format(name=f"d{i}"))
        digests.add(contract.source_digest(load_file(file)[0]))
    assert len(digests) == 2
    assert all(len(d) == 16 for d in digests)


def test_two_files_of_one_name(tmp_path, registry):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine.py").write_text(FILE.format(name=name))
        load_file(tmp_path / name / "mine.py")
    assert {"one", "two"} <= registry.keys()


def test_a_file_may_also_be_imported(tmp_path, monkeypatch):
    (tmp_path / "mine_too.py").write_text(FILE.format(name="mine_too"))
    load_file(tmp_path / "mine_too.py")
    monkeypatch.syspath_prepend(tmp_path)
    import mine_too  # type: ignore[import-not-found]

    assert METHODS["mine_too"] is mine_too.Mine
    del sys.modules["mine_too"]


def test_files_of_the_environment(tmp_path, monkeypatch, registry):
    files = []
    for name in ("env_a", "env_b"):
        files.append(tmp_path / f"{name}.py")
        files[-1].write_text(FILE.format(name=name))
    monkeypatch.setenv("LITMUS_METHODS", ":".join(map(str, files)))
    monkeypatch.setattr("os.pathsep", ":")
    load_plugins()
    assert {"env_a", "env_b"} <= registry.keys()
    monkeypatch.setenv("LITMUS_METHODS", str(tmp_path / "gone.py"))
    with pytest.raises(LitmusError, match=r"no file .*gone\.py"):
        load_plugins()


class Entry:
    def __init__(self, name, load):
        self.name, self.value, self.load = name, f"{name}:Method", load


def test_installed_plugins(monkeypatch, registry):
    class Undecorated(Toy):
        name = "undecorated"

    def broken():
        raise ImportError("no module named gone")

    entries = [Entry("broken", broken), Entry("fine", lambda: Undecorated)]
    found = {"litmus.methods": entries}
    monkeypatch.setattr("bench.plugin.registry.entry_points", lambda group: found.get(group, []))
    with pytest.warns(UserWarning, match="left out the plug-in broken = broken:Method: ImportError: no module"):
        METHODS._load_installed()
    assert registry["undecorated"] is Undecorated
    assert "lora" in registry
