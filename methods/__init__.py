"""The competitors: one file each, imported here so that they register themselves."""

from methods import adapter, base, bias, difffit, full, lora

__all__ = ["adapter", "base", "bias", "difffit", "full", "lora"]
