"""Layers and positions by role, under the name that authors of methods know; they live in bench.network.sites."""

from bench.network.sites import *  # noqa: F403
