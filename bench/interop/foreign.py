"""Files of kohya-ss, LyCORIS and diffusers as changes of a network's weights, and changes as such files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.core.errors import LitmusError
from bench.interop import names
from bench.interop.changes import Change, Changes, Hadamard, Kronecker, LowRank
from bench.method import Network

Parts = dict[str, Changes]  # "denoiser" and "text": what is changed in each

METADATA = "lora_adapter_metadata"  # the entry of the header in which diffusers keeps ranks and scales
A, B, SIZE = ".lora_A.weight", ".lora_B.weight", ".lora_magnitude_vector"


# --- kohya-ss and LyCORIS -----------------------------------------------------------------------------------------


def read_kohya(tensors: dict[str, Tensor], net: Network, file: object) -> Parts:
    """The changes in a file with names such as lora_unet_mid_block_attentions_0_proj_in.lora_down.weight.

    LitmusError for a layer that the network has not, a tensor that belongs to no change, and a change without some.
    """
    known = names.table(net)
    tensors = names.respelled(tensors, net.denoiser, file)
    layers: dict[str, dict[str, Tensor]] = {}
    for key, x in tensors.items():
        layer, _, what = key.partition(".")
        layers.setdefault(layer, {})[what] = x
    if strange := sorted(layers.keys() - known.keys()):
        if not any(layer in known for layer in layers) and names.component(net.denoiser) == "transformer":
            return read_diffusers(names.by_pipeline(tensors, net.denoiser, file), {}, net, file)
        raise LitmusError(strangers(strange, len(layers), net, file))
    parts: Parts = {}
    for layer, entries in layers.items():
        part, path = known[layer]
        changes = parts.setdefault(part, {})
        if path in changes:
            raise LitmusError(f"{file} changes {path} twice, as {layer} too")
        changes[path] = _change(entries, f"{file}: {layer}")
    return parts


def strangers(strange: list[str], of: int, net: Network, file: object) -> str:
    """The line for names that mean nothing in this network."""
    if any(name.startswith(("lora_te", "text_encoder")) for name in strange):
        why = "changes a text encoder that this base does not keep in its network"
    else:
        why = f"does not fit this base ({type(net.denoiser).__name__})"
    return f"{file} {why}: {strange[0]} is not there ({len(strange)} of {of} layers are not)"


def _change(entries: dict[str, Tensor], where: str) -> Change:
    """One layer's tensors as a change; each is used once."""
    entries = dict(entries)
    alpha = entries.pop("alpha", None)
    size = entries.pop("dora_scale", None)
    keys = frozenset(entries)

    def take(*wanted: str) -> tuple[Tensor, ...]:
        return tuple(entries.pop(key) for key in wanted)

    def scale(rank: int | None) -> float:
        return 1.0 if alpha is None or rank is None else float(alpha) / rank

    change: Change | None = None
    if size is not None:
        if size.numel() != size.shape[0]:
            raise LitmusError(
                f"{where}: its dora_scale is over the inputs, {tuple(size.shape)}: only over outputs is known"
            )
        size = size.flatten()
    if {"lora_down.weight", "lora_up.weight"} <= keys:
        down, up = take("lora_down.weight", "lora_up.weight")
        mid = entries.pop("lora_mid.weight", None)
        change = LowRank(size, down, up, scale(down.shape[0]), mid)
    elif {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"} <= keys:
        a1, b1, a2, b2 = take("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
        cores = take("hada_t1", "hada_t2") if {"hada_t1", "hada_t2"} <= keys else None
        change = Hadamard(size, (a1, b1, a2, b2), scale(b1.shape[0]), cores)  # type: ignore[arg-type]
    elif any(key.startswith("lokr_") for key in keys):
        sides: Any = [_side(entries, side) for side in ("lokr_w1", "lokr_w2")]
        if all(sides):
            pair = next((x for x in (sides[1], sides[0]) if len(x) == 2), None)
            core = entries.pop("lokr_t2", None)
            # LyCORIS takes no scale where both are whole
            change = Kronecker(size, sides[0], sides[1], scale(None if pair is None else pair[1].shape[0]), core)
    if change is None or entries:
        raise LitmusError(
            f"{where} holds {', '.join(sorted(entries or keys))}, which is no LoRA, LoHa or LoKr that is known here"
        )
    return change


def _side(entries: dict[str, Tensor], key: str) -> tuple[Tensor, ...]:
    if key in entries:
        return (entries.pop(key),)
    if {f"{key}_a", f"{key}_b"} <= entries.keys():
        return entries.pop(f"{key}_a"), entries.pop(f"{key}_b")
    return ()


def write_kohya(parts: Parts, net: Network) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, header entries) of a file that kohya-ss, ComfyUI and the web UIs read, LoHa and LoKr as LyCORIS."""
    tensors: dict[str, Tensor] = {}
    for part, changes in parts.items():
        for path, change in changes.items():
            layer = names.prefix(net.denoiser) + names.flat(path)
            if part == "text":
                layer = "lora_te_" + names.flat(names.text_path(path))
            for key, x in _tensors(change).items():
                tensors[f"{layer}.{key}"] = x
    every = [change for changes in parts.values() for change in changes.values()]
    algo = {LowRank: "lora", Hadamard: "loha", Kronecker: "lokr"}[type(every[0])]
    ranks = Counter(rank for change in every if (rank := getattr(change, "rank", None)))
    common = ranks.most_common(1)[0][0] if ranks else 0
    scale = next((c.scale for c in every if getattr(c, "rank", None) == common), 1.0)  # type: ignore[attr-defined]
    about = {
        "ss_network_module": "networks.lora" if algo == "lora" else "lycoris.kohya",
        "ss_network_dim": str(common),
        "ss_network_alpha": f"{scale * common:g}",
        "ss_network_args": json.dumps({} if algo == "lora" else {"algo": algo}),
    }
    return tensors, about


def _tensors(change: Change) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    if isinstance(change, LowRank):
        out |= {"lora_down.weight": change.down, "lora_up.weight": change.up}
        out |= {} if change.mid is None else {"lora_mid.weight": change.mid}
        alpha, dims = change.scale * change.rank, change.down.ndim
    elif isinstance(change, Hadamard):
        out |= dict(zip(("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"), change.factors, strict=True))
        out |= {} if change.cores is None else dict(zip(("hada_t1", "hada_t2"), change.cores, strict=True))
        alpha, dims = change.scale * change.rank, 2 if change.cores is None else 4
    elif isinstance(change, Kronecker):
        # Where both sides are whole LyCORIS takes no scale, so it goes into the left one.
        whole = change.rank is None
        left = (change.left[0] * change.scale,) if whole else change.left
        for key, side in (("lokr_w1", left), ("lokr_w2", change.right)):
            out |= {key: side[0]} if len(side) == 1 else {f"{key}_a": side[0], f"{key}_b": side[1]}
        out |= {} if change.core is None else {"lokr_t2": change.core}
        alpha, dims = 1.0 if whole else change.scale * (change.rank or 1), change.right[0].ndim
    else:
        raise TypeError(type(change).__name__)
    out["alpha"] = torch.tensor(float(alpha))
    if change.size is not None:
        out["dora_scale"] = change.size.view(-1, *(1,) * (max(dims, 2) - 1))
    return out


# --- diffusers ----------------------------------------------------------------------------------------------------


def read_diffusers(tensors: dict[str, Tensor], header: Mapping[str, str], net: Network, file: object) -> Parts:
    """The changes in a file that load_lora_weights reads, in any spelling that diffusers has had.

    LitmusError for a layer that the network has not, half a pair, and a bias.
    """
    component = names.component(net.denoiser)
    settings = _settings(header, file)
    parts: Parts = {}
    rest = dict(tensors)
    for part, prefix in (("denoiser", component), ("text", "text_encoder")):
        mine = {k.removeprefix(f"{prefix}."): rest.pop(k) for k in list(rest) if k.startswith(f"{prefix}.")}
        if not mine:
            continue
        module = net.denoiser if part == "denoiser" else net.text
        mine = _peft_names(mine, part)
        layers = {path.removesuffix(A) for path in mine if path.endswith(A)}
        if part == "text":
            mine = {_inside(key, module): x for key, x in mine.items()}
            layers = {_inside(path, module) for path in layers}
        there = {path for path, _ in module.named_modules()} if module is not None else set()
        if strange := sorted(layers - there):
            raise LitmusError(strangers([f"{prefix}.{path}" for path in strange], len(layers), net, file))
        parts[part] = _pairs(mine, layers, settings.get(prefix, {}), f"{file}: {prefix}")
    if rest:
        raise LitmusError(strangers(sorted(rest), len(tensors), net, file))
    return parts


def _settings(header: Mapping[str, str], file: object) -> dict[str, dict[str, Any]]:
    """{"unet": {"r": 4, "lora_alpha": 8, ...}}: what the header says of each component."""
    try:
        table: dict[str, Any] = json.loads(header.get(METADATA) or "{}")
        out: dict[str, dict[str, Any]] = {}
        for key, value in table.items():
            component, _, name = key.partition(".")
            out.setdefault(component, {})[name] = value
    except (ValueError, AttributeError):
        raise LitmusError(f"{file}: its header has a broken entry '{METADATA}': get it anew") from None
    return out


def _peft_names(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """Older files' names as peft's: to_q_lora.down.weight, to_q.lora.down.weight -> to_q.lora_A.weight."""
    if any(A in key for key in tensors):
        return tensors
    from diffusers.utils import state_dict_utils as converters

    if part == "text":
        return converters.convert_state_dict_to_peft(converters.convert_state_dict_to_diffusers(dict(tensors)))
    return converters.convert_unet_state_dict_to_peft(dict(tensors))


def _inside(path: str, text: Any) -> str:
    return path if hasattr(text, CLIP_MODULE) else path.removeprefix(names.CLIP)


CLIP_MODULE = names.CLIP.rstrip(".")


def _pairs(tensors: dict[str, Tensor], layers: set[str], settings: dict[str, Any], where: str) -> Changes:
    out: Changes = {}
    rest = {key.replace(f"{SIZE}.weight", SIZE): x for key, x in tensors.items()}
    for path in sorted(layers):
        down, up, size = (rest.pop(path + end, None) for end in (A, B, SIZE))
        if up is None or down is None:
            raise LitmusError(f"{where}.{path} has one of its two factors only: the file was cut, get it anew")
        out[path] = LowRank(None if size is None else size.flatten(), down, up, _scale(path, down.shape[0], settings))
    if rest:
        raise LitmusError(f"{where}.{min(rest)} is no LoRA factor that is known here ({len(rest)} tensors are not)")
    return out


def _scale(path: str, rank: int, settings: dict[str, Any]) -> float:
    """What the product is multiplied by: without settings 1, as diffusers has it."""
    from peft.utils.other import get_pattern_key

    alpha = settings.get("lora_alpha")
    if alpha is None:
        return 1.0
    patterns = settings.get("alpha_pattern") or {}
    alpha = patterns.get(get_pattern_key(list(patterns), path), alpha)
    return alpha / (rank**0.5 if settings.get("use_rslora") else rank)


def write_diffusers(parts: Parts, net: Network) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors, header entries) of a file that load_lora_weights reads: scales inside the factors, so that every
    release of diffusers, reading the header or not, gives the same. LitmusError for what is not LoRA.
    """
    tensors: dict[str, Tensor] = {}
    settings: dict[str, Any] = {}
    for part, changes in parts.items():
        prefix = names.component(net.denoiser) if part == "denoiser" else "text_encoder"
        for path, change in changes.items():
            if not isinstance(change, LowRank) or change.mid is not None:
                raise LitmusError(
                    f"{path} is no plain LoRA: diffusers reads none but that (take --format kohya or peft)"
                )
            tensors[f"{prefix}.{path}{A}"] = change.down
            tensors[f"{prefix}.{path}{B}"] = change.up * change.scale
            if change.size is not None:
                tensors[f"{prefix}.{path}{SIZE}"] = change.size
        more = lora_settings({path: plain(change) for path, change in changes.items()})
        settings |= {f"{prefix}.{key}": value for key, value in more.items()}
    return tensors, {METADATA: json.dumps(settings, sort_keys=True)}


def plain(change: Any) -> LowRank:
    """The same change with its scale inside `up`."""
    return LowRank(change.size, change.down, change.up * change.scale, 1.0)


def lora_settings(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords of peft's LoraConfig that make layers for these LoRA changes: the commonest rank and alpha, and the
    exceptions by path. Changes with and without magnitude do not go into one configuration: LitmusError.
    """
    sizes = {change.size is not None for change in changes.values()}
    if len(sizes) > 1:
        raise LitmusError("some layers have DoRA's magnitude and some have not: one peft configuration cannot say that")
    ranks = {path: change.rank for path, change in changes.items()}
    alphas = {path: change.scale * change.rank for path, change in changes.items()}
    r, alpha = (Counter(x.values()).most_common(1)[0][0] for x in (ranks, alphas))
    return {
        "r": r,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{path}": rank for path, rank in ranks.items() if rank != r},
        "alpha_pattern": {f"^{path}": a for path, a in alphas.items() if a != alpha},
        "target_modules": sorted(changes),
        "use_dora": sizes == {True},
    }


def describe(parts: Parts) -> str:
    """`LoRA on 64 layers, rank 4`."""
    every = [change for changes in parts.values() for change in changes.values()]
    kinds = {LowRank: "LoRA", Hadamard: "LoHa", Kronecker: "LoKr"}
    named = "+".join(sorted({kinds[type(change)] for change in every}))
    if any(change.size is not None for change in every):
        named += " with DoRA's magnitude"
    ranks = sorted({rank for change in every if (rank := getattr(change, "rank", None))})
    ranks_text = f", rank {'-'.join(map(str, dict.fromkeys((ranks[0], ranks[-1]))))}" if ranks else ""
    return f"{named} on {len(every)} layers{ranks_text}"
