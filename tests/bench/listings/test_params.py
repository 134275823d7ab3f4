"""`litmus params`: numbers, shares of a budget, refusals, formats."""

from __future__ import annotations

import csv
import io
import json
import time

import pytest

from bench.core.errors import LitmusError
from bench.core.text import refusals, share_of, split
from bench.listings.params import Row, rows, wide, written


def test_a_row_is_count_share_and_bytes():
    (row,) = rows(["lora[rank=8]"], ["sd15"])
    assert row == Row(
        "sd15", "lora[rank=8]", None, 1_594_368, 1_594_368 / 859_520_964, 6_377_472, True, used=1_594_368
    )  # fmt: skip
    assert row.cell() == "1,594,368 · 0.185 % · 6.38 MB"


def test_shares_set_the_size_and_say_what_is_off():
    found = rows(["lora", "adapter", "bias"], ["sd15"], [0.0005, 0.03])
    notes = {(r.method, r.wanted): r.note for r in found}
    assert notes["lora", 0.0005] == "rank 2, -7.25 % off"
    assert notes["lora", 0.03] == "rank 129"
    assert notes["adapter", 0.0005] == "width 17"
    assert notes["bias", 0.0005] == "no size, -20 % off"
    header, body = wide(found)
    assert header[:3] == ["method", "share wanted", "mergeable"]
    assert [line[:3] for line in body[:2]] == [["lora", "0.05 %", "yes"], ["lora", "3 %", "yes"]]


def test_what_does_not_apply_is_a_dash_with_its_reason():
    found = rows(["bias", "full"], ["flux2-klein-4b", "pocket"])
    assert [row.cell() == "–" for row in found] == [True, False, False, False]
    assert refusals(found) == [
        "bias on flux2-klein-4b: Flux2Transformer2DModel has no module with role 'bias'; available: attn1, attn2, ff, "
        "linear, norm, block, attn1i, attn1o, attn2o, attn2c, ffni, ffno, transo"
    ]


def test_formats():
    found = rows(["bias", "adapter"], ["sd15", "flux2-klein-4b"])
    (head, rule, first, second) = written(found, "md").splitlines()
    assert head == "| method | mergeable | SD 1.5 | FLUX.2-klein-4B |"
    assert rule == "| --- | --- | --- | --- |"
    assert first.startswith("| bias | yes | 343,684 · 0.04 % · 1.37 MB | – |")
    assert second.startswith("| adapter | no | ")
    table = list(csv.DictReader(io.StringIO(written(found, "csv"))))
    assert [(r["base"], r["method"], r["scalars"]) for r in table][:2] == [
        ("sd15", "bias", "343684"), ("flux2-klein-4b", "bias", ""),
    ]  # fmt: skip
    assert [r["scalars"] for r in json.loads(written(found, "json"))][:2] == [343_684, None]


@pytest.mark.slow
def test_the_whole_table_is_there_soon():
    start = time.process_time()
    found = rows()
    assert time.process_time() - start < 120
    assert all(row.scalars is not None or row.note for row in found)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, []), ("", []), ("lora", ["lora"]),
        ("lora[rank=8,alpha=4],bias , full", ["lora[rank=8,alpha=4]", "bias", "full"]),
    ],
)  # fmt: skip
def test_names_are_separated_by_commas_outside_brackets(text, names):
    assert split(text) == names


@pytest.mark.parametrize(("text", "share"), [("0.2%", 0.002), ("3 %", 0.03), ("0.002", 0.002)])
def test_shares(text, share):
    assert share_of(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["much", "0", "-1%", "200%", ""])
def test_what_is_no_share(text):
    with pytest.raises(LitmusError, match=r"write 0.2% or 0.002"):
        share_of(text)
