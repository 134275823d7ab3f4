"""Every tuner of Hugging Face's peft that can train a denoiser, as methods; what cannot, with the reason.

The entries are in methods/_hub_*.py by family, and the way that a tuner becomes a method in methods/_peft.py. Written
against peft 0.21; a tuner that the installed release lacks fails with peft's own error when it is attached.
"""

from __future__ import annotations

from methods import _hub_lora, _hub_product, _hub_rotate, _hub_shared, _hub_sparse, _hub_vector

__all__ = ["_hub_lora", "_hub_product", "_hub_rotate", "_hub_shared", "_hub_sparse", "_hub_vector"]
