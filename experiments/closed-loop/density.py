"""Density unknown: what the evidence over a bank of unguided samples says of it."""

from __future__ import annotations

from typing import Any


def density_lines(make: bool = False) -> list[dict[str, Any]]:
    """A line a truth; without ``make`` only what was computed before."""
    return []
