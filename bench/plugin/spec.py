"""How a part is written in protocols and on the command line: `lora`, `lora[rank=8]`, `prior[weight=0.5]`.

Pure text, without torch, so that a plan can be read and keyed before anything heavy is loaded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from bench.core.errors import LitmusError

Value = int | float | bool | str | None

SHAPE = re.compile(r"\s*([A-Za-z_][\w.-]*)\s*(?:\[(.*)\])?\s*", re.DOTALL)
PART = re.compile(r"""\s*(\w+)\s*=\s*("(?:[^"\\]|\\.)*"|[^,"\[\]]*?)\s*(?:,|$)""", re.DOTALL)
PRESET = re.compile(r"\s*([A-Za-z_]\w*)\s*(?:,|$)")  # a word alone, in the first place
WORDS: dict[str, Value] = {"true": True, "false": False, "none": None}


def parse_spec(spec: str) -> tuple[str, dict[str, Value]]:
    """Name and hyperparameters of a part: "lora[rank=8]" -> ("lora", {"rank": 8}).

    A value is a whole number, a number, true, false, none, or text; text that looks like one of the others, or that
    holds a comma, a quote or a bracket, is quoted as in JSON. A word alone in the first place names a preset of the
    method: "adapter[paper]" -> ("adapter", {"preset": "paper"}). Raises LitmusError for anything else.
    """
    found = SHAPE.fullmatch(spec)
    if not found:
        raise LitmusError(f"cannot read {spec!r}: write a name, or one with settings as in lora[rank=8,alpha=16]")
    name, inside = found.groups()
    hyper: dict[str, Value] = {}
    at = 0
    if preset := PRESET.match(inside or ""):
        hyper["preset"] = preset.group(1)
        at = preset.end()
    while inside and at < len(inside):
        part = PART.match(inside, at)
        if not part or part.group(2) == "":
            raise LitmusError(f"cannot read '{inside[at:].strip()}' in {spec!r}: write key=value, separated by commas")
        key, text = part.groups()
        if key in hyper:
            raise LitmusError(f"{key} is given twice in {spec!r}: keep one")
        hyper[key] = _value(text, spec)
        at = part.end()
    return name, hyper


def label(name: str, hyper: Mapping[str, Value]) -> str:
    """The inverse of `parse_spec`; keys keep their order."""
    parts = [str(v) if k == "preset" else f"{k}={_text(v)}" for k, v in hyper.items()]
    return name + ("[" + ",".join(parts) + "]" if parts else "")


def _value(text: str, spec: str) -> Value:
    if text.startswith('"'):
        try:
            return json.loads(text)
        except ValueError:
            raise LitmusError(f"cannot read the quoted value {text} in {spec!r}: quote text as JSON does") from None
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def _text(value: Value) -> str:
    if isinstance(value, str):
        plain = value == value.strip() and value != "" and not re.search(r'[,"\[\]\n]', value)
        return value if plain and isinstance(_value(value, value), str) else json.dumps(value)
    return str(value).lower() if value is None or isinstance(value, bool) else repr(value)
