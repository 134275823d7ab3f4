"""The world: what it holds, that a seed decides a picture, that captions and tokenizer agree."""

import numpy as np
import pytest

from bench.pretraining.data import LABELS, UNKNOWN, any_sample, base_sample, draw_many
from bench.world.captions import IDENTIFIERS, caption, noun, vocabulary
from bench.world.pen import COLOURS, PATTERNS
from bench.world.random_styles import random_style
from bench.world.render import Scene, plain_thing, render
from bench.world.scenes import SCENES
from bench.world.styles import HELD_OUT, PRETRAIN
from bench.world.subjects import SUBJECTS, random_thing
from bench.world.things import CLASSES


def test_the_world_is_as_large_as_promised():
    assert len(CLASSES) >= 24
    assert len(COLOURS) == 12
    assert len(PATTERNS) == 4
    assert len(SCENES) == 10
    assert len(PRETRAIN) == 8
    assert sorted(s.split for s in SUBJECTS).count("test") == 16
    assert len(SUBJECTS) == 24
    assert [h.split for h in HELD_OUT.values()].count("test") == 8
    assert len(HELD_OUT) == 12


def test_every_subject_has_four_traits_that_no_caption_says():
    words = set(vocabulary())
    for s in SUBJECTS:
        look = s.thing.look
        assert look.second
        assert look.emblem
        assert look.accessory
        assert look.stretch != (1.0, 1.0)
        assert not {look.emblem, look.accessory} & words


def test_training_identities_are_never_the_subjects():
    taken = {(s.thing.cls, s.thing.look.emblem, s.thing.look.accessory) for s in SUBJECTS}
    rng = np.random.default_rng(0)
    things = [random_thing(rng, CLASSES[i % 24]) for i in range(600)]
    assert not taken & {(t.cls, t.look.emblem, t.look.accessory) for t in things}


@pytest.mark.draws
@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_is_drawn_and_the_seed_decides(cls):
    def picture(seed):
        return render(
            Scene((plain_thing(np.random.default_rng(1), cls, "red", "plain"),), "snow"), np.random.default_rng(seed)
        )

    a, b, c = picture(0), picture(0), picture(1)
    assert a.shape == (64, 64, 3)
    assert a.dtype == np.uint8
    assert (a == b).all()
    assert (a != c).any()
    # something red stands in the white scene
    assert ((a[..., 0].astype(int) - a[..., 1] > 60).mean()) > 0.03


@pytest.mark.draws
@pytest.mark.parametrize("style", [*PRETRAIN.values(), *HELD_OUT.values()], ids=lambda s: s.name)
def test_a_style_changes_the_picture_and_only_photo_does_not(style):
    thing = plain_thing(np.random.default_rng(3), "car", "blue", "plain")
    photo = render(Scene((thing,), "beach"), np.random.default_rng(5)).astype(int)
    styled = render(Scene((thing,), "beach", style.fn), np.random.default_rng(5)).astype(int)
    change = np.abs(photo - styled).mean()
    assert change == 0 if style.name == "photo" else change > 6


@pytest.mark.draws
def test_random_styles_are_identities():
    thing = plain_thing(np.random.default_rng(3), "cat", "red", "plain")
    pictures = [
        render(Scene((thing,), "city", random_style(i)), np.random.default_rng(5)).astype(int) for i in (1, 1, 2)
    ]
    assert (pictures[0] == pictures[1]).all()
    assert np.abs(pictures[0] - pictures[2]).mean() > 6


def test_captions():
    assert caption([noun("umbrella")]) == "an umbrella"
    assert caption([noun("car", "red", "striped"), noun("mug", "blue")], "night", "sketch") == (
        "a red striped car next to a blue mug at night in sketch style"
    )
    assert caption([noun("robot", identifier="sks")], "beach") == "a sks robot on the beach"


@pytest.mark.draws
def test_samples_say_only_what_shows():
    rng = np.random.default_rng(0)
    for _ in range(150):
        s = base_sample(rng)
        assert set(s.caption.split()) <= set(vocabulary())
        assert not set(s.caption.split()) & set(IDENTIFIERS)
        style = LABELS["style"][s.labels[4]]
        if not PRETRAIN[style].keeps_colour:
            assert s.labels[1] == UNKNOWN
            assert not set(s.caption.split()) & set(COLOURS)


@pytest.mark.draws
def test_drawing_does_not_depend_on_the_number_of_workers():
    one = draw_many(any_sample, 6, 3, workers=1)
    two = draw_many(any_sample, 6, 3, workers=2)
    assert (one[0] == two[0]).all()
    assert one[1] == two[1]
