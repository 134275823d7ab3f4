"""Suites of published encoders as extractors, and whether they are the published ones."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from bench import extractors
from bench.core.errors import LitmusError
from bench.extractors import acceptance, extractors_digest, load_extractors, suites
from bench.extractors.encoders import Encoder
from bench.extractors.preprocess import Preprocess
from bench.metrics import measure


@pytest.fixture
def name(saved) -> str:
    return f"identity={saved.timm},style={saved.csd},image={saved.openclip}"


def test_a_suite_gives_unit_features_of_any_size(name):
    ex = load_extractors(name)
    for size in (32, 100):
        images = torch.rand(3, 3, size, size, generator=torch.Generator().manual_seed(0))
        assert ex.identity(images).shape == (3, 32)
        assert ex.style(images).shape == (3, 8)
        torch.testing.assert_close(ex.image(images).norm(dim=1), torch.ones(3))
        assert ex.attributes(images) == {}
    assert ex.text(["a dog"]).shape == (1, 16)
    assert extractors_digest(name) == ex.digest


def test_the_card_says_what_a_reader_needs(name):
    card = load_extractors(name).card
    assert set(card) == {"identity", "style", "image"}
    for facts in card.values():
        assert set(facts) == {"family", "model", "preprocess", "weights", "version"}
        assert len(facts["weights"]) == 64
    assert json.loads(json.dumps(card))["identity"]["preprocess"]["crop"] == 32


def test_a_role_that_is_not_named_is_the_image_encoder_s(saved):
    ex = load_extractors(f"image={saved.openclip}")
    images = torch.rand(2, 3, 40, 40)
    torch.testing.assert_close(ex.identity(images), ex.image(images))
    assert ex.digest != load_extractors(f"identity={saved.timm},image={saved.openclip}").digest


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("dino-clp", "unknown extractors 'dino-clp': did you mean 'dino-clip'"),
        ("image=dino:vits15", "unknown encoder 'dino:vits15'"),
        ("identity=dino:vits16", "add image=openclip:MODEL/WEIGHTS"),
        ("image=csd,image=csd", "image is there twice"),
        ("image=csd,styel=csd", "unknown role of an encoder 'styel': did you mean 'style'"),
    ],
)
def test_mistakes_are_one_line(name, line):
    with pytest.raises(LitmusError, match=line):
        load_extractors(name)


def test_pictures_need_an_encoder_that_reads_prompts(saved):
    with pytest.raises(LitmusError, match="reads no text"):
        load_extractors(f"image={saved.timm}")


def test_pictures_are_scored_by_it(name, toy_task):
    from bench.evaluation.score import look
    from bench.metrics import Features

    ex = load_extractors(name)
    train, cell = look(ex, toy_task.train_images), look(ex, torch.stack(toy_task.truth_images))
    texts = ex.text([p.plain for p in toy_task.prompts]).double().numpy()
    asks = tuple(p.asks for p in toy_task.prompts)
    plain = tuple(p.plain for p in toy_task.prompts)
    values, _ = measure(Features("subject", plain, asks, texts, cell, train, train, cell))
    assert {"identity", "image_similarity", "text"} <= set(values)
    assert "attributes" not in values  # nobody here can tell them


# --- acceptance -----------------------------------------------------------------------------------------------------


def fake(spec: str, similarity: float) -> Encoder:
    """An encoder that turns a grey of 0 and one of 100 into features of this cosine."""
    angle = math.acos(similarity) / (100 / 255)

    def embed(images):
        turn = images.mean(dim=(1, 2, 3)) * angle
        return torch.stack([turn.cos(), turn.sin()], dim=1)

    plain = Preprocess(8, 8, (0.0,) * 3, (1.0,) * 3)
    return Encoder(spec, "fake", spec, plain, f"{similarity}", embed, lambda prompts: torch.ones(len(prompts), 2))


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """Two DreamBooth subjects of two pictures each."""
    root = tmp_path / "dreambooth"
    for subject in ("dog6", "backpack"):
        (root / subject).mkdir(parents=True)
        for i, grey in enumerate((0, 100)):
            Image.new("RGB", (20, 30), (grey,) * 3).save(root / subject / f"{i}.png")
    (root / "prompts_and_classes.txt").write_text("subject_name,class\ndog6,dog\nbackpack,backpack\n\nPrompts\n")
    monkeypatch.setenv("LITMUS_DREAMBOOTH", str(root))
    return root


@pytest.fixture
def evaluator(monkeypatch):
    """A function: evaluator(dino, clip) makes dino-clip of encoders whose real pictures are so similar."""

    def make(dino: float, clip: float) -> None:
        found = {"dino:vits16": fake("dino:vits16", dino)}
        found["openclip:ViT-B-32/openai"] = fake("openclip:ViT-B-32/openai", clip)
        monkeypatch.setattr(suites, "load_encoder", found.__getitem__)
        extractors._load.cache_clear()

    return make


@pytest.mark.parametrize(
    ("dino", "clip", "same"),
    [
        (0.774, 0.885, [True, True]),
        (0.7645, 0.894, [True, True]),
        (0.763, 0.885, [False, True]),
        (0.785, 0.885, [False, True]),
        (0.774, 0.9, [True, False]),
    ],
)
def test_real_pictures_must_be_as_similar_as_published(copy, evaluator, dino, clip, same):
    evaluator(dino, clip)
    groups, doubts = acceptance.pictures()
    verdicts = acceptance.check(load_extractors("dino-clip"), groups)
    assert [v.found for v in verdicts] == pytest.approx([dino, clip], abs=1e-4)
    assert [v.same for v in verdicts] == same
    assert doubts == ["2 of 30 subjects"]


def test_self_pairs_do_not_count_and_subjects_weigh_the_same(copy):
    image = fake("x", 0.5).image
    files = sorted(copy.glob("dog6/*"))
    assert acceptance.self_similarity(image, {"a": files}) == pytest.approx(0.5, abs=1e-4)
    three = {"a": files, "b": [*files, files[0]], "alone": files[:1]}
    assert acceptance.self_similarity(image, three) == pytest.approx((0.5 + (0.5 + 0.5 + 1) / 3) / 2, abs=1e-4)
    with pytest.raises(LitmusError, match="litmus fetch dreambooth"):
        acceptance.self_similarity(image, {"alone": files[:1]})


def test_the_command_judges_and_is_remembered(copy, evaluator, monkeypatch):
    from typer.testing import CliRunner

    from bench.__main__ import app

    def said(*words: str) -> SimpleNamespace:
        done = CliRunner().invoke(app, ["extractors", *words])
        return SimpleNamespace(code=done.exit_code, text=done.output)

    evaluator(0.774, 0.885)
    ex = load_extractors("dino-clip")
    unchecked = "was not held against published values here: litmus extractors check dino-clip"
    assert [unchecked in note for note in acceptance.notes("dino-clip", ex.digest)] == [True]
    done = said("check", "dino-clip")
    assert done.code == 0, done.text
    assert "dino:vits16: DINO 0.774, published 0.774: the published evaluator" in done.text
    assert "note: 2 of 30 subjects" in done.text
    assert acceptance.notes("dino-clip", ex.digest) == []
    assert acceptance.told(ex)["dino:vits16"] == {"found": 0.774, "expected": 0.774, "same": True}

    evaluator(0.8, 0.885)
    other = load_extractors("dino-clip")
    assert other.digest != ex.digest
    assert acceptance.told(other) == {}
    done = said("check", "dino-clip")
    assert done.code == 1
    assert "DINO 0.800, published 0.774: a different evaluator" in done.text
    assert "reported as different" in done.text
    (note,) = acceptance.notes("dino-clip", other.digest)
    assert "its scores do not compare with papers' (judged on: 2 of 30 subjects)" in note
    assert acceptance.told(other)["dino:vits16"]["same"] is False

    done = said("show", "dino-clip")
    assert json.loads(done.text)["digest"] == other.digest
    done = said()
    assert done.code == 0
    assert "dinov2-clip-csd" in done.text


def test_where_all_subjects_are_a_plan_judges_by_itself(copy, evaluator, monkeypatch):
    monkeypatch.setattr(acceptance, "SUBJECTS", 2)
    evaluator(0.8, 0.885)
    ex = load_extractors("dino-clip")
    (note,) = acceptance.notes("dino-clip", ex.digest)
    assert (
        note
        == "dino:vits16: DINO 0.800, published 0.774: a different evaluator: its scores do not compare with papers'"
    )
    assert acceptance.told(ex)["dino:vits16"]["same"] is False
    monkeypatch.setattr(acceptance, "check", None)  # it is remembered
    assert acceptance.notes("dino-clip", ex.digest) == [note]


def test_without_pictures_or_published_values_it_says_so(monkeypatch):
    from typer.testing import CliRunner

    from bench.__main__ import app

    with pytest.raises(LitmusError, match="no DreamBooth pictures here: litmus fetch dreambooth brings them"):
        acceptance.pictures()
    done = CliRunner().invoke(app, ["extractors", "check", "pocket"])
    assert isinstance(done.exception, LitmusError)
    assert "pocket has no published values" in str(done.exception)
    assert acceptance.notes("pocket", "x") == []
    assert acceptance.notes("image=openclip:ViT-L-14/openai", "x") == []


def test_a_record_names_its_encoders_and_its_key_hangs_on_them(name, toy_protocol, tmp_path):
    from bench.protocol.models import load_protocol
    from bench.records.record import read, write
    from bench.runner import run as running
    from bench.runner.plan import expand, key
    from bench.runner.resolve import look_up

    def base_run(*changes):
        running._task.cache_clear()
        protocol = load_protocol(toy_protocol(*changes))
        return next(r for r in expand(protocol, look_up(protocol)).values() if r.method == "base")

    run = base_run(('extractors = "toy"', f'extractors = "{name}"'))
    assert run.extractors_digest == load_extractors(name).digest
    assert key(run) != key(base_run())
    record = running.execute(key(run), run, tmp_path, lambda *_: None)
    assert (record.status, record.error) == ("ok", "")
    assert {"identity", "image_similarity", "text", "drift", "prior_preservation"} <= set(record.scores)
    kept = read(write(record, tmp_path)).encoders
    assert kept["identity"]["weights"] == load_extractors(name).card["identity"]["weights"]
    assert kept["acceptance"] == {}


def test_one_file_of_each_kind_called_as_the_extractors():
    from pathlib import Path

    from bench.extractors import EXTRACTORS, extractors_names, kinds

    files = {p.stem for p in Path(kinds.__file__).parent.glob("[a-z]*.py")}
    assert {name.replace("-", "_") for name in EXTRACTORS.own()} == files
    assert extractors_names() == ["pocket", "toy", "dino-clip", "dino-clip-csd", "dinov2-clip-csd"]
    assert EXTRACTORS.group == "litmus.extractors"


OUTSIDE = """
from dataclasses import dataclass
from bench.extractors import EXTRACTORS, SuiteSource

@EXTRACTORS.register
@dataclass(frozen=True)
class Mine(SuiteSource):
    name = "mine"
    title = "one encoder for all"
    image = {image!r}
"""


def test_a_suite_of_somebody_else_s_is_one_file(saved, tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from bench.__main__ import app
    from bench.extractors import EXTRACTORS

    (tmp_path / "mine.py").write_text(OUTSIDE.format(image=saved.openclip), encoding="utf-8")
    monkeypatch.setenv("LITMUS_PLUGINS", str(tmp_path / "mine.py"))
    with EXTRACTORS.kept():
        ex = load_extractors("mine")
        images = torch.rand(2, 3, 40, 40)
        torch.testing.assert_close(ex.identity(images), ex.image(images))
        assert (ex.name, ex.digest) == ("mine", extractors_digest("mine"))
        assert ex.digest != load_extractors(f"image={saved.openclip}").digest  # it changes with the file
        shown = CliRunner().invoke(app, ["extractors"])
        assert "one encoder for all" in " ".join(shown.output.split())
