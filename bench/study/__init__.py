"""The study: records -> tidy frame -> statistics. Reads records only; imports no torch."""

from __future__ import annotations

from typing import Any

# A pandas.DataFrame. pandas annotates a selection as a union of all that it could be, which no checker can follow.
Frame = Any
