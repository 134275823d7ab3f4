"""Any adapter on a base: Litmus's own, peft's, diffusers', kohya-ss's. What does not fit is refused in one line."""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from bench.core.errors import LitmusError
from bench.interop import facts as about
from bench.interop import files, foreign, names, peft_files, saved
from bench.interop.changes import Change, Changes, LowRank, by_difference, of_layers
from bench.interop.facts import Facts
from bench.interop.foreign import Parts

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.method import Method, Network

TEXT = ("lora_te", "text_encoder")  # begins the names of a text encoder's layers


@dataclass(frozen=True)
class Tuned:
    """A base with an adapter on its network.

    base    a copy, whose network computes what the adapter makes of it
    frozen  the base as it was
    file    where the adapter came from, and kind its format
    facts   what the file says about itself; empty where another tool wrote it
    method  whose adapter it is, None for another tool's
    parts   the changes that the file holds, None where it does not hold changes
    """

    base: Base
    frozen: Base
    file: Path
    kind: str
    facts: Facts
    method: Method | None = None
    parts: Parts | None = None

    def changes(self, rank: int | None = None) -> tuple[Parts, float]:
        """(LoRA, LoHa or LoKr changes, the largest share of a layer's change that they leave out, 0 in general).

        From the file, or from peft's layers, else from the merged network: by_difference, which says what `rank` does.
        """
        if self.parts is not None:
            return self.parts, 0.0
        ours, theirs = _parts(self.base.net), _parts(self.frozen.net)
        out: Parts = {part: change for part in ours if (change := of_layers(ours[part], theirs[part])) is not None}
        worst = 0.0
        if len(out) < len(ours) or rank is not None:
            merged = _parts(self.merged(torch.float64))
            for part in ours:
                out[part], error = by_difference(merged[part], theirs[part], rank)
                worst = max(worst, error)
        out = {part: changes for part, changes in out.items() if changes}
        if not out:
            raise LitmusError(f"{self.file} changes nothing in {self.frozen.name}")
        return out, worst

    def merged(self, dtype: torch.dtype | None = None) -> Network:
        """A network of the base's own names and shapes, with the adapter folded in, computed in `dtype`.

        LitmusError where the method is not one of those that can be.
        """
        net = copy.deepcopy(self.base.net).to(dtype)
        if self.method is None:
            for part in _parts(net).values():
                peft_files.fold(part)
            return net
        if not self.method.mergeable:
            raise LitmusError(f"{self.method.name} cannot be merged into the base's weights")
        self.method.merge(net)
        return net


def _parts(net: Any) -> dict[str, nn.Module]:
    return {"denoiser": net.denoiser} | ({} if net.text is None else {"text": net.text})


def put(base: Base, path: Path, any_base: bool = False) -> Tuned:
    """`base` with the adapter at `path` on it. `base` itself is left as it is.

    Where the file says of which base it is, that must be this one, unless `any_base`. LitmusError for what does not
    fit: another base, a layer that is not there, a tensor missing, left over or of another shape.
    """
    kind, path = files.locate(path)
    if kind == "peft":
        tuned = base.fork()
        header = peft_files.put(tuned.net.denoiser, path)
        facts = _checked_facts(header, path, base, any_base)
        return Tuned(tuned, base, path, kind, facts)
    tensors, header = files.read(path)
    facts = _checked_facts(header, path, base, any_base)
    if kind == "litmus":
        tuned, method = saved.restore(base, tensors, facts, path)
        return Tuned(tuned, base, path, kind, facts, method)
    if any(key.startswith(TEXT) for key in tensors):
        with suppress(LitmusError):  # where it cannot, its layers are refused by name
            base = base.with_text()
    tuned = base.fork()
    if kind == "kohya":
        parts = foreign.read_kohya(tensors, tuned.net, path)
    else:
        if kind == "unknown":
            tensors = names.by_pipeline(tensors, tuned.net.denoiser, path)
        parts = foreign.read_diffusers(tensors, header, tuned.net, path)
    put_changes(tuned.net, parts, path)
    return Tuned(tuned, base, path, "diffusers" if kind == "unknown" else kind, facts, parts=parts)


def _checked_facts(header: dict[str, str], path: Path, base: Base, any_base: bool) -> Facts:
    facts = about.read(header, path) or Facts()
    if facts.base_digest and not any_base and not _is_of(facts, base):
        raise LitmusError(
            f"{path} was trained on {facts.base} ({facts.base_digest[:12]}), not on {base.name} ({base.digest[:12]}): "
            "give that --base, or --any-base if you know that they are alike"
        )
    return facts


def _is_of(facts: Facts, base: Base) -> bool:
    """Trained on this base, in whatever dtype and resolution; by the whole digest where the file says no more."""
    if facts.base_digest == base.digest:
        return True
    return bool(facts.base_weights) and facts.base_weights == about.weights(base, "text" in facts.base_weights)


@torch.no_grad()
def put_changes(net: Any, parts: Parts, file: object) -> None:
    """Put changes on a network, in place: LoRA as peft's layers, as in diffusers, others into the weight."""
    for part, changes in parts.items():
        module = _parts(net)[part]
        fitted = {path: _fitted(module.get_submodule(path), change, path, file) for path, change in changes.items()}
        plain: Any = {path: c for path, c in fitted.items() if isinstance(c, LowRank) and c.mid is None}
        for sized in (False, True):
            if some := {path: c for path, c in plain.items() if (c.size is not None) == sized}:
                _inject(module, some)
        for path, change in fitted.items():
            if path not in plain:
                weight: Any = module.get_submodule(path).weight
                weight.copy_(change.weight(weight))


def _fitted(layer: Any, change: Change, path: str, file: object) -> Change:
    """The change in the layer's own form. LitmusError where it is of another shape."""
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        raise LitmusError(
            f"{file} does not fit this base: {path} is a {type(layer).__name__} in it, which takes no LoRA"
        )
    shape = layer.weight.shape
    if change.size is not None and change.size.numel() != shape[0]:
        raise LitmusError(_misfit(file, path, shape, f"a magnitude of {change.size.numel()} rows"))
    if isinstance(change, LowRank) and change.mid is None:
        made = (change.up.shape[0], change.down[0].numel())
        if made != (shape[0], shape[1:].numel()) or change.up.flatten(1).shape[1] != change.rank:
            raise LitmusError(
                _misfit(file, path, shape, f"factors {tuple(change.down.shape)}, {tuple(change.up.shape)}")
            )
        down = change.down.reshape(change.rank, *shape[1:])
        up = change.up.reshape(shape[0], change.rank, *(1 for _ in shape[2:]))
        return LowRank(change.size, down, up, change.scale)
    try:
        change.delta(shape)
    except RuntimeError:
        raise LitmusError(_misfit(file, path, shape, "factors of another size")) from None
    return change


def _misfit(file: object, path: str, shape: torch.Size, actual: str) -> str:
    return f"{file} does not fit this base: {path} has the shape {tuple(shape)} in it, and the file {actual}"


def _inject(module: nn.Module, changes: Changes) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    settings = foreign.lora_settings(changes)
    settings["target_modules"] = peft_files.pattern(changes)
    config = LoraConfig(**settings)
    with torch.random.fork_rng(devices=[]):  # peft draws a start, which is overwritten here
        inject_adapter_in_model(config, module)
    vars(module)["peft_parts"] = (*vars(module).get("peft_parts", ()), config)
    for path, change in changes.items():
        assert isinstance(change, LowRank)
        layer: Any = module.get_submodule(path)
        layer.lora_A[peft_files.ADAPTER].weight.copy_(change.down)
        layer.lora_B[peft_files.ADAPTER].weight.copy_(change.up)
        if change.size is not None:
            layer.lora_magnitude_vector[peft_files.ADAPTER].weight.copy_(change.size)
        layer.eval()


def export(tuned: Tuned, form: str, out: Path, rank: int | None = None) -> tuple[Path, str]:
    """Write the adapter in another format; returns where it is, and what it is in words.

    "diffusers" and "peft" are folders, "kohya" one file. LitmusError where the format has no way to say it.
    """
    if form == "diffusers":
        _refuse_deaf(tuned.frozen)
    net, facts = tuned.frozen.net, tuned.facts.model_copy(update={"kind": form})
    if form == "peft":
        if rank is None and tuned.parts is None and peft_files.holds(tuned.base.net.denoiser):
            where = peft_files.write(out, tuned.base.net.denoiser, net.denoiser, facts)
            n = len(peft_files.part_folders(where))
            return where, "a peft checkpoint" if n == 1 else f"{n} peft checkpoints, to be loaded one after another"
        parts, error = tuned.changes(rank)
        if "text" in parts:
            raise LitmusError("this adapter changes the text encoder too, and a peft checkpoint is of one network")
        return peft_files.write_lora(out, parts["denoiser"], facts), foreign.describe(parts) + _left_out(error)
    parts, error = tuned.changes(rank)
    if form == "kohya":
        tensors, more = foreign.write_kohya(parts, net)
        if out.exists():
            raise LitmusError(f"{out} is there already: choose another --out, or remove it")
        where = files.write(out, tensors, about.header(facts, **more))
    else:
        tensors, more = foreign.write_diffusers(parts, net)
        with files.new_folder(out) as folder:
            files.write(folder / files.DIFFUSERS_NAME, tensors, about.header(facts, **more))
        where = out
    return where, foreign.describe(parts) + _left_out(error)


def _refuse_deaf(base: Base) -> None:
    """LitmusError where the base's pipeline has no way to load a LoRA: the folder would be of no use."""
    if base.source is None:
        return
    import diffusers

    if not hasattr(getattr(diffusers, base.source.pipeline), "load_lora_weights"):
        raise LitmusError(
            f"{base.source.pipeline} of diffusers loads no LoRA: take --format peft, or litmus merge for the whole "
            "pipeline"
        )


def _left_out(error: float) -> str:
    return f"; {error:.1%} of a layer's change is left out at most" if error else ""


def sizes(tensors: dict[str, Tensor]) -> str:
    """`128 tensors, 66,304 scalars, 265 KB`."""
    scalars = sum(x.numel() for x in tensors.values())
    kilobytes = sum(x.numel() * x.element_size() for x in tensors.values()) / 1000
    return f"{len(tensors)} tensors, {scalars:,} scalars, {kilobytes:,.0f} KB"
