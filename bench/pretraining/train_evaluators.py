"""Trains the evaluators on the world, never on the 24 subjects or 12 styles of the tasks.

Half of what they see went through the autoencoder, with noise on its latents, or was softened: an encoder trained
on clean
drawings alone puts even true pictures, once decoded, below the floor (docs/log.md).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.extractors.pocket_nets import Evaluators, clip_config
from bench.pretraining import nets
from bench.pretraining.data import LABELS, UNKNOWN, Sample, base_sample, choose_style, draw_many
from bench.pretraining.muon import Muon
from bench.pretraining.train_vae import to_float
from bench.world.captions import caption, noun
from bench.world.pen import COLOURS
from bench.world.random_styles import random_style
from bench.world.render import Scene, plain_thing, render
from bench.world.scenes import SCENES
from bench.world.subjects import random_thing

VIEWS = 8  # pictures of each training identity and style


def _scene(rng: np.random.Generator) -> str:
    return list(SCENES)[rng.integers(len(SCENES))]


def full_sample(rng: np.random.Generator) -> Sample:
    return base_sample(rng, full=True)


def odd_sample(rng: np.random.Generator) -> Sample:
    """Contents under unknown looks, captioned by what a prompt may ask: class and scene (and colour where it shows)."""
    if rng.random() < 0.5:
        thing, style, colour = random_thing(rng), choose_style(rng, 0.75), None
    else:
        thing, style, colour = plain_thing(rng), random_style(int(rng.integers(1_000_000))), None
    scene, words = _scene(rng), [noun(thing.cls, colour)]
    things = [thing]
    if rng.random() < 0.15:
        other = plain_thing(rng)
        things.append(other)
        words.append(noun(other.cls, other.colour_word if style == "photo" else None))
    text = caption(words, scene, style if isinstance(style, str) else "photo")
    labels = np.full(len(LABELS), UNKNOWN)
    if len(things) == 1:
        labels[0] = LABELS["class"].index(thing.cls)
    labels[3] = list(SCENES).index(scene)
    if isinstance(style, str):
        labels[4] = LABELS["style"].index(style)
    return Sample(render(Scene(tuple(things), scene, style), rng), text, labels)


@dataclass(frozen=True)
class IdentityViews:
    """Picklable drawer of one picture of a random identity; labels[0] = identity, labels[1] = class."""

    count: int

    def __call__(self, rng: np.random.Generator) -> Sample:
        i = int(rng.integers(self.count))
        thing = random_thing(np.random.default_rng(77_000 + i))
        things = (thing, plain_thing(rng)) if rng.random() < 0.12 else (thing,)
        labels = np.full(len(LABELS), UNKNOWN)
        labels[:2] = i, LABELS["class"].index(thing.cls)
        return Sample(render(Scene(things, _scene(rng), choose_style(rng, 0.85)), rng), "", labels)


@dataclass(frozen=True)
class StyleViews:
    """One picture in a random style; labels[0] = style. The first eight styles are the base's own."""

    count: int

    def __call__(self, rng: np.random.Generator) -> Sample:
        i = int(rng.integers(self.count))
        style = LABELS["style"][i] if i < len(LABELS["style"]) else random_style(1_000_000 + i)
        things = (plain_thing(rng),) if rng.random() < 0.85 else (plain_thing(rng), plain_thing(rng))
        labels = np.full(len(LABELS), UNKNOWN)
        labels[0] = i
        return Sample(render(Scene(things, _scene(rng), style), rng), "", labels)


class Pool:
    """Pictures of which every other one went through the autoencoder; `batch` softens or noises some. In [-1, 1]."""

    def __init__(self, vae: Any, images: np.ndarray, seed: int):
        self.images = images.copy()
        gen = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for i in range(0, len(images), 128):
                z = vae.encode(to_float(images[i : i + 128 : 2])).latent_dist.mean
                # latents of samples are a little off the data's: a third of a deviation is the worst of them
                level = 0.3 * torch.rand((len(z), 1, 1, 1), generator=gen)
                y = vae.decode(z + level * torch.randn(z.shape, generator=gen)).sample
                y = (y.clamp(-1, 1) + 1).mul_(127.5).round_().byte().permute(0, 2, 3, 1)
                self.images[i : i + 128 : 2] = y.numpy()

    def batch(self, index: np.ndarray, rng: np.random.Generator) -> Tensor:
        x = to_float(self.images[index])
        n = len(index)
        soft = torch.from_numpy((rng.random(n) * (rng.random(n) < 0.4)).astype(np.float32))[:, None, None, None]
        x = x + soft * (F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1) - x)
        noise = torch.from_numpy((0.1 * rng.random(n) * (rng.random(n) < 0.3)).astype(np.float32))[:, None, None, None]
        x = x + noise * torch.from_numpy(rng.standard_normal(x.shape, dtype=np.float32))
        gain = torch.from_numpy(rng.uniform(0.92, 1.08, n).astype(np.float32))[:, None, None, None]
        flip = torch.from_numpy(rng.random(n) < 0.5)[:, None, None, None]
        return torch.where(flip, x.flip(-1), x) * gain


def contrastive(z: Tensor, labels: Tensor, temperature: float = 0.1) -> Tensor:
    """Supervised contrastive loss (Khosla et al., arXiv:2004.11362, equation 2) of unit vectors z (B, D)."""
    sim = z @ z.T / temperature
    self_mask = torch.eye(len(z), dtype=torch.bool)
    same = (labels[:, None] == labels[None]) & ~self_mask
    log_p = sim - sim.masked_fill(self_mask, -1e9).logsumexp(1, keepdim=True)
    return -(log_p * same).sum(1).div(same.sum(1).clamp(min=1)).mean()


def _optimise(net: nn.Module, steps: int, lr: float, loss_of, name: str) -> None:
    net.train()
    opt = Muon(net, lr, skip=("embed", "positional"))
    start, mean = time.time(), None
    for i in range(steps):
        for group in opt.param_groups:
            group["lr"] = lr * min(1, (i + 1) / 30) * min(1.0, 2 * (1 - i / steps))
        loss = loss_of(i)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        opt.step()
        mean = loss.item() if mean is None else mean + 0.03 * (loss.item() - mean)
        if (i + 1) % 50 == 0:
            print(f"{name} {i + 1}/{steps} loss {mean:.3f} {time.time() - start:.0f} s", flush=True)
    net.eval().requires_grad_(False)


def train(work: Path, scale: float = 1.0, seed: int = 0, only: str | None = None) -> None:
    """Train all four (or `only` one) and save them in `work/evaluators`; `scale` multiplies pool sizes and steps."""
    from diffusers import AutoencoderKL

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vae = AutoencoderKL.from_pretrained(work / "vae").eval().requires_grad_(False)
    tokenizer = nets.tokenizer(work / "tokenizer")
    evaluators = Evaluators(LABELS, clip_config(len(tokenizer), tokenizer.model_max_length), tokenizer)
    n_ids = max(120, int(1300 * scale))  # 24 classes, and a batch asks for several of one class

    def want(name: str) -> bool:
        return only in (None, name) and not (only is None and (work / "evaluators" / f"{name}.done").exists())

    def done(name: str) -> None:
        from safetensors.torch import save_file

        (work / "evaluators").mkdir(parents=True, exist_ok=True)
        save_file(
            {k: v.contiguous() for k, v in evaluators.nets[name].state_dict().items()},
            work / "evaluators" / f"{name}.full",
        )
        (work / "evaluators" / f"{name}.done").touch()

    for name, drawer in (("identity", IdentityViews(n_ids)), ("style", StyleViews(n_ids))):
        if not want(name):
            continue
        images, _, labels = draw_many(drawer, n_ids * VIEWS, seed + 11 + len(name))
        pool, ids = Pool(vae, images, seed), labels[:, 0]
        groups = np.array([labels[np.argmax(ids == i), 1] if (ids == i).any() else -1 for i in range(n_ids)])
        members = [np.flatnonzero(ids == i) for i in range(n_ids)]
        usable = np.array([i for i in range(n_ids) if len(members[i]) >= 4])

        def loss_of(_: int, name=name, pool=pool, ids=ids, groups=groups, members=members, usable=usable) -> Tensor:
            if name == "identity":
                # few classes a batch, so that most negatives share the class: traits must tell, not the class
                classes = rng.choice(24, 4, replace=False)
                chosen = usable[np.isin(groups[usable], classes)]
                chosen = rng.choice(chosen, min(28, len(chosen)), replace=False)
            else:
                chosen = rng.choice(usable, 28, replace=False)
            index = np.concatenate([rng.choice(members[i], 4, replace=False) for i in chosen])
            return contrastive(evaluators.nets[name](pool.batch(index, rng)), torch.from_numpy(ids[index]))

        _optimise(evaluators.nets[name], max(3, int((650 if name == "identity" else 330) * scale)), 3e-3, loss_of, name)
        done(name)

    if want("attributes") or want("clip"):
        base = draw_many(full_sample, max(200, int(16000 * scale)), seed + 31)
        odd = draw_many(odd_sample, max(100, int(10000 * scale)), seed + 32)
        images, captions, labels = (
            np.concatenate([base[0], odd[0]]),
            base[1] + odd[1],
            np.concatenate([base[2], odd[2]]),
        )
        pool, target = Pool(vae, images, seed), torch.from_numpy(labels)
        tokens = evaluators.ids(captions)

        def attribute_loss(_: int) -> Tensor:
            index = rng.integers(0, len(images), 64)
            logits = evaluators.nets["attributes"](pool.batch(index, rng))
            losses = [F.cross_entropy(logits[k], target[index, j], ignore_index=UNKNOWN) for j, k in enumerate(LABELS)]
            return torch.stack(losses).nan_to_num().sum()

        def clip_loss(_: int) -> Tensor:
            index = rng.integers(0, len(images), 64)
            net = evaluators.nets["clip"]
            image = net.encode_image(pool.batch(index, rng), normalize=True)  # type: ignore[operator]
            text = net.encode_text(tokens[index], normalize=True)  # type: ignore[operator]
            logits = net.logit_scale.exp().clamp(max=100) * image @ text.T  # type: ignore[operator]
            same = (tokens[index][:, None] == tokens[index][None]).all(-1).float()  # equal captions are no negatives
            goal = same / same.sum(1, keepdim=True)
            return (F.cross_entropy(logits, goal) + F.cross_entropy(logits.T, goal)) / 2

        if want("attributes"):
            _optimise(evaluators.nets["attributes"], max(3, int(1000 * scale)), 3e-3, attribute_loss, "attributes")
            done("attributes")
        if want("clip"):
            _optimise(evaluators.nets["clip"], max(3, int(1000 * scale)), 3e-3, clip_loss, "clip")
            done("clip")

    from safetensors.torch import load_file

    for name, net in evaluators.nets.items():
        net.load_state_dict(load_file(work / "evaluators" / f"{name}.full"))
        net.eval()
    evaluators.save(work / "evaluators")


__all__ = ["COLOURS", "Pool", "contrastive", "train"]
