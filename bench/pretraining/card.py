"""The card of the pocket base and its evaluators: every bar measured, written to docs/pocket-base.md with sample
sheets."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from bench.metrics.kid import kid, null_band
from bench.pretraining.data import LABELS, UNKNOWN, base_sample, draw_many
from bench.world.render import Scene, plain_thing, render
from bench.world.scenes import SCENES
from bench.world.show import sheet
from bench.world.subjects import SUBJECTS, random_thing
from bench.world.tasks import _generator

if TYPE_CHECKING:
    from bench.bases.base import Base
    from bench.extractors.base import Extractors

BARS: dict[str, float] = {  # issue "From a clean clone to a leaderboard", items 3 and 4
    "base class": 0.85,
    "base colour": 0.85,
    "base scene": 0.95,
    "base style": 0.9,
    "vae dB": 27.0,
    "identity AUROC": 0.95,
    "style AUROC": 0.95,
    "retrieval R@1": 0.8,
    "truth class": 0.95,
    "truth colour": 0.95,
    "truth scene": 0.95,
    "truth style": 0.95,
}
Images = np.ndarray  # uint8 (n, 64, 64, 3)


def to_tensor(images: Images) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float() / 255


def to_uint8(images: Tensor) -> Images:
    return (images.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Probability that a positive score is above a negative one (Mann–Whitney), ties half."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    return float((ranks.sum() - len(positive) * (len(positive) + 1) / 2) / (len(positive) * len(negative)))


def through(base: Base, images: Tensor) -> Tensor:
    """Pictures as the autoencoder gives them back."""
    return base.decode(base.encode(images))


def _pairs(anchors: Tensor, same: Tensor, other: Tensor) -> tuple[np.ndarray, np.ndarray]:
    return (same @ anchors.T).flatten().numpy(), (other @ anchors.T).flatten().numpy()


def identity_auroc(base: Base, ex: Extractors, seed: int = 0) -> dict[str, float]:
    """Clean reference pictures against decoded ones: same subject, other identities of its class, other subjects."""
    positive, hard, easy = [], [], []
    feats = {}
    for s in SUBJECTS:
        rng = _generator("card", seed, s.name)
        scenes = [list(SCENES)[i] for i in rng.permutation(10)]
        refs = to_tensor(np.stack([render(Scene((s.thing,), scenes[i]), rng) for i in range(4)]))
        same = to_tensor(np.stack([render(Scene((s.thing,), scenes[4 + i % 6]), rng) for i in range(6)]))
        rivals = [random_thing(rng, s.thing.cls) if i % 2 else plain_thing(rng, s.thing.cls) for i in range(8)]
        other = to_tensor(np.stack([render(Scene((t,), scenes[i % 10]), rng) for i, t in enumerate(rivals)]))
        feats[s.name] = [ex.identity(refs), ex.identity(through(base, same)), ex.identity(through(base, other))]
    for name, (refs, same, other) in feats.items():
        p, h = _pairs(refs, same, other)
        positive.append(p)
        hard.append(h)
        easy += [(feats[o][1] @ refs.T).flatten().numpy() for o in feats if o != name]
    p, h, e = np.concatenate(positive), np.concatenate(hard), np.concatenate(easy)
    return {
        "identity AUROC": auroc(p, np.concatenate([h, e])),
        "identity AUROC, rivals of the same class": auroc(p, h),
        "identity AUROC, other subjects": auroc(p, e),
        "identity cosine, same": float(p.mean()),
        "identity cosine, same class": float(h.mean()),
    }


def style_auroc(base: Base, ex: Extractors, seed: int = 0) -> dict[str, float]:
    """Clean reference pictures against decoded ones of the same held-out style, other held-out styles and the
    base's own."""
    from bench.world.styles import HELD_OUT, PRETRAIN

    feats: dict[str, list[Tensor]] = {}
    for name, held in [*HELD_OUT.items(), *PRETRAIN.items()]:
        rng = _generator("card", seed, "style", name)
        pictures = [render(Scene((plain_thing(rng),), list(SCENES)[i % 10], held.fn), rng) for i in range(10)]
        x = to_tensor(np.stack(pictures))
        feats[name] = [ex.style(x[:4]), ex.style(through(base, x[4:]))]
    p = np.concatenate([(feats[n][1] @ feats[n][0].T).flatten().numpy() for n in HELD_OUT])
    q = np.concatenate([(feats[o][1] @ feats[n][0].T).flatten().numpy() for n in HELD_OUT for o in feats if o != n])
    return {"style AUROC": auroc(p, q), "style cosine, same": float(p.mean()), "style cosine, other": float(q.mean())}


def accuracy(ex: Extractors, images: Tensor, labels: np.ndarray) -> dict[str, tuple[float, int]]:
    """Share of right answers of each attribute classifier, where the picture shows the attribute; with its n."""
    logits, out = ex.attributes(images), {}
    for j, name in enumerate(LABELS):
        known = labels[:, j] != UNKNOWN
        right = logits[name].argmax(1).numpy()[known] == labels[known, j]
        out[name] = (float(right.mean()), int(known.sum()))
    return out


def retrieval(ex: Extractors, images: Tensor, captions: list[str], size: int = 64, seed: int = 0) -> float:
    """Share of pictures whose own caption is the nearest among `size` distinct ones; mean over disjoint sets."""
    first = {c: i for i, c in enumerate(captions)}
    index = np.random.default_rng(seed).permutation(sorted(first.values()))
    sets = [index[i : i + size] for i in range(0, len(index) - size + 1, size)]
    hits = []
    for s in sets:
        sim = ex.image(images[s]) @ ex.text([captions[i] for i in s]).T
        hits.append((sim.argmax(1).numpy() == np.arange(size)).mean())
    return float(np.mean(hits))


def vae_error(base: Base) -> dict[str, float]:
    """PSNR in dB of every truth picture of the committed tasks through the autoencoder: mean over tasks' mean
    errors."""
    from bench.core.paths import datasets
    from bench.tasks import load

    errors: dict[str, list[float]] = {"subject": [], "style": []}
    for folder in sorted((datasets() / "pocket").iterdir()):
        if (folder / "task.toml").exists():
            task = load(f"pocket/{folder.name}")
            x = torch.cat(list(task.truth_images))
            errors[task.kind].append(float((through(base, x) - x).square().mean()))
    both = errors["subject"] + errors["style"]
    values = {"vae dB": both, "vae dB, subjects": errors["subject"], "vae dB, styles": errors["style"]}
    out = {k: float(-10 * np.log10(np.mean(v))) for k, v in values.items()}
    out["vae dB, worst style"] = float(-10 * np.log10(np.max(errors["style"])))
    return out


def single(rng: np.random.Generator):
    return base_sample(rng, full=True, pairs=0.0)


def measure(
    n: int = 512, seed: int = 0, guidance: float = 4.0, steps: int = 20, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """All figures of the card. `n` pictures are sampled from the base and as many drawn by the world."""
    from bench.bases import load_base
    from bench.evaluation.sampler import sample
    from bench.extractors import load_extractors
    from bench.protocol.models import Sample

    base, ex = load_base("pocket"), load_extractors("pocket")
    out: dict[str, Any] = {"n": n, "guidance": guidance, "steps": steps, "seed": seed, "digest": base.digest}
    images, captions, labels = draw_many(single, n, seed + 991)
    truth = to_tensor(images)
    decoded = through(base, truth)
    say("sampling")
    made = sample(base, captions, Sample(steps=steps, guidance=guidance), "card", seed).flatten(0, 1)
    for name, x in (("truth", truth), ("decoded", decoded), ("base", made)):
        for key, (share, count) in accuracy(ex, x, labels).items():
            out[f"{name} {key}"], out[f"{name} {key} n"] = share, count
    out["retrieval R@1"] = retrieval(ex, decoded, captions)
    out["retrieval R@1, clean"] = retrieval(ex, truth, captions)
    out["retrieval R@1, base samples"] = retrieval(ex, made, captions)
    say("identities and styles")
    out |= identity_auroc(base, ex, seed) | style_auroc(base, ex, seed)
    say("autoencoder")
    out |= vae_error(base)
    again, _, _ = draw_many(single, n, seed + 992)
    a, b, c = (ex.image(x).numpy() for x in (made, decoded, through(base, to_tensor(again))))
    out["KID of samples"], out["KID of truth with truth"] = kid(a, b), kid(c, b)
    out["KID null band"] = null_band(c, b, np.random.default_rng(seed))
    out["sheet"] = [to_uint8(made[:48]), images[:48], captions[:48]]
    return out


def table(figures: dict[str, Any]) -> str:
    """Markdown table of the bars and what was measured."""
    rows = ["| what | measured | bar | |", "| --- | --- | --- | --- |"]
    for key, bar in BARS.items():
        value = figures[key]
        rows.append(f"| {key} | {value:.3f} | ≥ {bar:g} | {'passes' if value >= bar else '**missed**'} |")
    return "\n".join(rows)


def passes(figures: dict[str, Any]) -> bool:
    return all(figures[key] >= bar for key, bar in BARS.items())


TEXT = """# The pocket base and its evaluators

Written by `litmus pocket card` (n = {n} captions, seed {seed}, {steps} guided steps, guidance {guidance:g}); do not
edit.
Weights: digest `{digest}`. U-Net {unet:,} parameters, autoencoder {vae:,}, text encoder {text:,}; {mb:.1f} MB in fp16;
evaluators {evaluators_mb:.1f} MB.

{table}

Accuracies are shares of right answers of the attribute classifiers: on pictures drawn by the world (`truth`), the same
through the autoencoder (`decoded`), and pictures sampled by the base for the same captions (`base`).

| attribute | truth | decoded | base samples | n |
| --- | --- | --- | --- | --- |
{attributes}

Same or different, held-out subjects and styles, a clean reference against a picture through the autoencoder:

| pairs | AUROC or mean cosine |
| --- | --- |
{pairs}

- Caption retrieval among 64 distinct captions, R@1: decoded {r_decoded:.3f}, clean {r_clean:.3f}, base samples
{r_base:.3f}.
- Unbiased KID in the text–image model's features: base samples {kid:.4f}, fresh truth {kid_truth:.4f}, 95 % null band
  {null:.4f}. A value inside the band says nothing.
- Autoencoder on all truth pictures of the tasks: {db:.2f} dB (subjects {db_subject:.2f}, styles {db_style:.2f},
worst style
  {db_worst:.2f}).

![base samples above, truth below](pocket-base.png)

Rows in pairs: a row of base samples, then the world's own pictures for the same captions. The captions, in order:

{captions}

Seen in training: {seen}
"""


def _megabytes(folder: Path) -> float:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 1e6


def main(out: Path, n: int = 512, seed: int = 0, say: Callable[[str], None] = print) -> bool:
    """Measure, write `out`/pocket-base.md, .png and .json; True where every bar is met."""
    from bench.bases import load_base
    from bench.pretraining.pretrain import evaluators_folder, weights_folder

    f = measure(n, seed, say=say)
    base = load_base("pocket")

    def size(net: Any) -> int:
        return sum(p.numel() for p in net.parameters())

    made, truth, captions = f.pop("sheet")
    rows = [p for i in range(0, len(made), 12) for p in (*made[i : i + 12], *truth[i : i + 12])]
    out.mkdir(parents=True, exist_ok=True)
    sheet(rows).save(out / "pocket-base.png", optimize=True)
    names = [k for k in f if "cosine" in k or "AUROC" in k]
    notes = weights_folder() / "pocket.json"
    seen = json.loads(notes.read_text(encoding="utf-8")).get("training", "see docs/log.md")
    text = TEXT.format(
        **{k: f[k] for k in ("n", "seed", "steps", "guidance")},
        digest=f["digest"][:16],
        unet=size(base.net.denoiser),
        vae=size(base.vae),
        text=size(base.net.text),
        mb=_megabytes(weights_folder()),
        evaluators_mb=_megabytes(evaluators_folder()),
        table=table(f),
        attributes="\n".join(
            f"| {k} | {f[f'truth {k}']:.3f} | {f[f'decoded {k}']:.3f} | {f[f'base {k}']:.3f} | {f[f'base {k} n']} |"
            for k in LABELS
        ),
        pairs="\n".join(f"| {k} | {f[k]:.3f} |" for k in names),
        r_decoded=f["retrieval R@1"],
        r_clean=f["retrieval R@1, clean"],
        r_base=f["retrieval R@1, base samples"],
        kid=f["KID of samples"],
        kid_truth=f["KID of truth with truth"],
        null=f["KID null band"],
        db=f["vae dB"],
        db_subject=f["vae dB, subjects"],
        db_style=f["vae dB, styles"],
        db_worst=f["vae dB, worst style"],
        captions="\n".join(f"{i + 1}. {c}" for i, c in enumerate(captions)),
        seen=seen,
    )
    (out / "pocket-base.md").write_text(text, encoding="utf-8")
    (out / "pocket-base.json").write_text(json.dumps(f, indent=1) + "\n", encoding="utf-8")
    say(table(f))
    return passes(f)
