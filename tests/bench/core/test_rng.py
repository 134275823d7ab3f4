from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from bench.core.rng import numpy_rng, rng, seed_of


def draw(*keys):
    return torch.randn(4, generator=rng(*keys))


def test_a_stream_repeats_and_no_two_are_alike():
    keys = [
        ("init", 0),
        ("init", 1),
        ("noise", 0),
        ("init", "0"),
        ("init", 0.0),
        ("init", False),
        ("init",),
        ("init", 0, 0),
    ]
    seeds = [seed_of(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert draw("init", 3).equal(draw("init", 3))
    assert not draw("init", 3).equal(draw("init", 4))


def test_the_seed_is_the_same_in_every_process_and_version():
    # Written down once: published numbers hang on it.
    assert seed_of("noise", "pocket/subject-robot-a", 0) == 5096439555043437858


def test_keys_do_not_run_together():
    assert seed_of("a", "b,c") != seed_of("a", "b", "c")
    assert seed_of("ab", "c") != seed_of("a", "bc")


def test_global_streams_stay_where_they_are():
    torch.manual_seed(5)
    np.random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    draw("x")
    numpy_rng("x").random(3)
    assert torch.get_rng_state().equal(before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # type: ignore[index]


def test_numpy_stream():
    assert (numpy_rng("boot", 1).random(3) == numpy_rng("boot", 1).random(3)).all()
    assert (numpy_rng("boot", 1).random(3) != numpy_rng("boot", 2).random(3)).all()


@pytest.mark.parametrize("key", [object(), torch.zeros(1), [1], ("a",)])
def test_a_key_that_would_not_repeat_is_refused(key):
    with pytest.raises(TypeError, match="text or a number"):
        seed_of("x", key)


def test_the_study_can_draw_without_torch():
    code = "import sys, bench.core.rng; bench.core.rng.numpy_rng('x').random(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
