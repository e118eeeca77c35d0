"""Tables of flat rows that need not have the same columns."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffxas.files import replacing

Line = dict[str, Any]


def write_lines(path: Path, lines: Sequence[Line]) -> None:
    """CSV, atomically; what a row has not is empty."""
    header = dict.fromkeys(key for line in lines for key in line)
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(header), restval="")
        writer.writeheader()
        writer.writerows({key: _word(value) for key, value in line.items()} for line in lines)


def _word(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return f"{value:.8g}" if math.isfinite(value) else ""
    return "" if value is None else value
