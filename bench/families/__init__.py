"""Families of denoisers, one file each: how it is called, its layers by role, its prompts, noise levels and models.

The class to derive from and the registry are those of bench.network.family; pieces.py has what toys and tiny pipelines
are made of. docs/adding-a-base.md shows a family contributed from outside.
"""

from bench.network.family import FAMILIES, Architecture, Family, Roles, Small, Tiny

__all__ = ["FAMILIES", "Architecture", "Family", "Roles", "Small", "Tiny"]
