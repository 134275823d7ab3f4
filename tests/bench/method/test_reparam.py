"""Methods that change a weight, W' = f(W; theta), ours and from outside: two forms agree, merging keeps them."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import nn

from bench.bases.toy import toy_network
from bench.checks import contract as checks
from bench.checks.arena import make_arena, train
from bench.core.rng import rng
from bench.method import METHODS, LitmusError, Network, attached, load_plugins, make, parse_spec, state
from bench.method.reparam import LowRank, Reparam, flat, normal, svd, thetas, unwrap, wrap

load_plugins()
FAMILY = sorted(name for name, cls in METHODS.items() if issubclass(cls, Reparam))
SPECS = [
    *(name for name in FAMILY if name != "petalface"),
    "petalface[gate=constant,q=0.3]",
    "diffusekrona[a1=4,a2=3,terms=2]",
    "bone[rank=5]",
    "bone[rank=5,form=plain]",
    "hydra[branch=parallel]",
    "hydra[branch=sequential,scale=0.5]",
    "dylora[rank=6,use=3]",
    "dsee[sparse=5,prune=0.4,support=magnitude,alpha=8.0]",
    "svfit[rank=3]",
]
LAYERS = {
    "linear": lambda: nn.Linear(12, 20),
    "linear without bias": lambda: nn.Linear(20, 12, bias=False),
    "conv": lambda: nn.Conv2d(6, 8, 3, stride=2, padding=1),
    "conv 1x1": lambda: nn.Conv2d(8, 6, 1),
    "conv in groups": lambda: nn.Conv2d(8, 12, 3, padding=1, groups=2),
    "conv around": lambda: nn.Conv2d(6, 8, 3, padding=1, padding_mode="circular"),
}
INPUT = torch.randn(1, 4, 8, 8, generator=rng("x")), torch.tensor([3]), torch.randn(1, 4, 16, generator=rng("c"))


def of(spec) -> Any:
    name, hyper = parse_spec(spec)
    return make(name, **hyper)


def one_layer(method, kind) -> Any:
    """A layer in float64 with `method` on it, every trained tensor drawn anew."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer: Any = LAYERS[kind]().double().eval().requires_grad_(False)
    w = flat(layer.weight)
    wrap(layer, method, method.init(w, rng("init")), method.fixed(w))
    layer.theta.ranks, layer.theta.share = 1, 0.1  # what the growing ones are given by attach
    stream = rng("theta")
    with torch.no_grad():
        for p in layer.theta.parameters():
            p.copy_(0.3 * torch.randn(p.shape, generator=stream))
    return layer


def feed(layer, n=3):
    shape = (n, layer.in_channels, 7, 7) if isinstance(layer, nn.Conv2d) else (n, 5, layer.in_features)
    return torch.randn(shape, generator=rng("feed")).double()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("spec", SPECS)
def test_weight_form_and_activation_form_are_one_function(spec, kind):
    method = of(spec)
    layer = one_layer(method, kind)
    x = feed(layer)
    mine = layer(x)
    plain = type(layer).forward(layer, x)
    torch.testing.assert_close(mine, Reparam.forward(method, layer, x, layer.theta))
    assert not mine.allclose(plain, atol=1e-3)


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("spec", SPECS)
def test_merge_gives_a_plain_layer_of_the_same_function(spec, kind):
    method = of(spec)
    layer = one_layer(method, kind)
    net = Network(nn.Sequential(layer))
    x = feed(layer)
    before = net.denoiser(x)
    method.merge(net)
    assert "forward" not in layer.__dict__
    assert set(dict(layer.named_parameters())) == {"weight", "bias"}
    torch.testing.assert_close(net.denoiser(x), before)


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("spec", SPECS)
def test_gradients_pack(spec, kind):
    """vmap(grad) over two stacked thetas gives the gradient of each."""
    layer = one_layer(of(spec), kind).train()
    x = feed(layer)
    theta = {k: p.detach() for k, p in layer.named_parameters() if k.startswith("theta.")}
    two = {k: torch.stack([p, 0.5 * p + 0.1]) for k, p in theta.items()}

    def loss(tensors):
        return torch.func.functional_call(layer, tensors, (x,)).square().mean()

    packed = torch.func.vmap(torch.func.grad(loss))(two)
    layer.theta.memory.clear()  # what a method notes of a step under vmap is of no use outside
    for i in range(2):
        alone = torch.func.grad(loss)({k: v[i] for k, v in two.items()})
        for key, g in alone.items():
            torch.testing.assert_close(packed[key][i], g)
    assert sum(g.abs().sum() for g in packed.values()) > 0


@pytest.mark.parametrize("spec", SPECS)
def test_size_is_what_init_makes(spec):
    method = of(spec)
    for out, in_ in ((12, 20), (20, 12), (7, 30), (16, 16)):
        theta = method.init(torch.zeros(out, in_, device="meta"), rng("init"))
        assert sum(p.numel() for p in theta.values()) == method.size(out, in_)


def test_a_copy_in_the_middle_of_a_run_goes_its_own_way():
    method = make("increlora", rank=2)
    place = make_arena()
    net = attached(method, toy_network(), rng("init"))
    net.train()
    train(method, place, net, steps=3)
    ranks = [theta.ranks for _, theta in thetas(net)]
    twin = copy.deepcopy(net)
    assert [theta.ranks for _, theta in thetas(twin)] == ranks
    assert all(not theta.memory for _, theta in thetas(twin))
    layers = dict(net.named_modules())
    assert all(m.forward.__self__ is m for m, _ in thetas(twin))
    assert not {id(m) for m, _ in thetas(twin)} & {id(m) for m in layers.values()}


@pytest.mark.parametrize("shape", [(9, 14), (14, 9), (5, 40), (40, 5), (8, 8)])
def test_decomposition_has_one_sign_and_gives_w_back(shape):
    w = torch.randn(shape, generator=rng("w"))
    u, s, v = svd(w)
    m = min(shape)
    assert (u.shape, s.shape, v.shape) == ((shape[0], m), (m,), (m, shape[1]))
    assert [t.shape for t in svd(w.to("meta"))] == [u.shape, s.shape, v.shape]
    torch.testing.assert_close((u * s) @ v, w)
    torch.testing.assert_close(s, torch.linalg.svdvals(w))
    for basis in (u.T, v):
        torch.testing.assert_close(basis @ basis.T, torch.eye(m), rtol=0, atol=1e-5)
    assert (u.gather(0, u.abs().argmax(0, keepdim=True)) > 0).all()
    for a, b in zip(svd(w.clone()), (u, s, v), strict=True):
        assert a.equal(b)
    torch.testing.assert_close(svd(w.double())[0].float(), u, rtol=1e-3, atol=1e-4)


def test_a_start_in_bf16_is_bit_identical_to_the_base():
    for name in ("svfit", "svdiff", "bone", "diffusekrona"):
        net = toy_network().to(torch.bfloat16)
        x, t, c = INPUT
        before = net(x.bfloat16(), t, c.bfloat16())
        assert attached(make(name), net, rng("init"))(x.bfloat16(), t, c.bfloat16()).equal(before)


def test_merging_in_bf16_rounds_once():
    """W' is computed in float32 from the stored tensors, then rounded."""
    method = make("hydra", rank=3)
    net = attached(method, toy_network().to(torch.bfloat16), rng("init"))
    layer, theta = thetas(net)[0]
    with torch.no_grad():
        for p in theta.parameters():
            p.copy_(torch.randn(p.shape, generator=rng("p")))
    exact = method.weight(layer.weight.float(), copy.deepcopy(theta).float())  # type: ignore[attr-defined]
    method.merge(net)
    assert layer.weight.equal(exact.bfloat16())


def test_a_role_without_matrices_is_refused():
    with pytest.raises(LitmusError, match=r"bone: .* is a .*Norm; choose targets that are Linear or Conv2d"):
        attached(make("bone", targets="norm"), toy_network(), rng("init"))


def test_base_keeps_its_names():
    net = attached(make("hydra"), toy_network(), rng("init"))
    base = toy_network().state_dict().keys()
    assert base < net.state_dict().keys()
    assert set(state(net)) == net.state_dict().keys() - base
    assert all(".theta." in key for key in state(net))


# --- what an author outside writes


@dataclass(frozen=True)
class Outer(Reparam):
    """Add a product of two trained vectors to each weight at `targets`."""

    name = "outer"
    paper = "none: a test"
    lr = 1e-2
    space = {"lr": (1e-3, 1e-1, "log")}

    def init(self, w, rng):
        return {"a": normal((w.shape[1],), 0.1, rng, w), "b": w.new_zeros(len(w))}

    def delta(self, w, theta):
        return torch.outer(theta.b, theta.a)

    def size(self, out, in_):
        return out + in_


@dataclass(frozen=True)
class Turned(Reparam):
    """W' = (I + S) W, no sum of W and a change, and the bias turned with it."""

    name = "turned"
    paper = "none: a test"
    space = {"lr": (1e-3, 1e-1, "log")}

    def init(self, w, rng):
        return {"s": w.new_zeros(len(w), len(w))}

    def weight(self, w, theta):
        return w + (theta.s - theta.s.mT) @ w

    def bias(self, b, theta):
        return b if b is None else b + (theta.s - theta.s.mT) @ b

    def size(self, out, in_):
        return out * out


@pytest.mark.parametrize("method", [Outer(), Outer(targets="attn2+conv"), Turned(targets="attn+conv"), Turned("ff")])
def test_three_short_functions_make_a_method_that_passes_every_check(method):
    place = make_arena()
    results = [checks.attempt(check, method, place) for check in checks.ALL]
    assert [(r.name, r.message) for r in results if not r.ok] == []


@pytest.mark.parametrize("missing", ["init", "delta", "size"])
def test_a_function_that_is_missing_is_named(missing):
    words = {"init": "what it trains", "delta": "what it computes", "size": "how much it trains"}[missing]
    method = type("Half", (Outer,), {missing: getattr(Reparam, missing)})()

    def use():
        net = toy_network()
        method.count(net)
        attached(method, net, rng("init"))(*INPUT)

    with pytest.raises(NotImplementedError, match=rf"Half must say {words}: write {missing}\(self"):
        use()


def test_the_text_side_can_be_adapted_by_its_own_paths():
    from bench.bases.toy import toy_text
    from bench.network.sites import sites

    class OnText(Outer):
        side = "text"

        def layers(self, net: Any):
            return sites(net.text, self.targets)

    net: Any = toy_network()
    net.text = toy_text()
    attached(OnText(), net, rng("init"))
    assert state(net)
    assert all(key.startswith("text.") for key in state(net))


def test_a_layer_is_wrapped_once_and_unwrap_leaves_what_was_there():
    layer: Any = nn.Linear(3, 4)
    method, before = Outer(), set(vars(layer))
    trained = method.init(layer.weight, rng("init"))
    wrap(layer, method, trained)
    with pytest.raises(LitmusError, match="a layer is adapted already: attach a method to a network of its own"):
        wrap(layer, method, trained)
    unwrap(layer)
    assert set(vars(layer)) == before
    assert set(dict(layer.named_parameters())) == {"weight", "bias"}
    assert not thetas(layer)


def test_theta_takes_dtype_mode_and_names_from_the_layer():
    layer: Any = nn.Linear(3, 4, dtype=torch.bfloat16).eval()
    wrap(layer, Outer(), {"a": torch.zeros(3)}, {"place": torch.zeros(2, dtype=torch.long), "scale": torch.ones(2)})
    theta = layer.theta
    assert (theta.a.dtype, theta.place.dtype, theta.scale.dtype) == (torch.bfloat16, torch.int64, torch.bfloat16)
    assert not theta.training
    assert theta.a.requires_grad
    assert set(layer.state_dict()) == {"weight", "bias", "theta.a"}, "what is frozen is not saved"


def test_low_rank_is_lora():
    @dataclass(frozen=True)
    class Mine(LowRank):
        """LoRA."""

        name = "mine"
        paper = "none: a test"

    method = Mine(rank=2, alpha=6.0)
    layer = one_layer(method, "linear")
    w, theta = layer.weight, layer.theta
    torch.testing.assert_close(method.weight(w, theta), w + 3.0 * theta.b @ theta.a)
    with pytest.raises(LitmusError, match="mine: rank is at least 1, not 0"):
        Mine(rank=0)
