"""The contract that a fine-tuning method keeps, and what its author may use."""

from bench.method.contract import *  # noqa: F403
