"""Models that are built once for many runs: building takes seconds, and sampling changes none.

Only inside :func:`sharing`, lest a training that goes on from a model change it for others.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Built = TypeVar("Built")

_kept: dict[Hashable, Any] = {}
_wanted = 0


@contextmanager
def sharing() -> Iterator[None]:
    """Inside, a model that was built before in this process is given again."""
    global _wanted
    _wanted += 1
    try:
        yield
    finally:
        _wanted -= 1


def built_once(key: Hashable, build: Callable[[], Built]) -> Built:
    """What ``build`` gives; what it gave before under this key where models are shared.

    Parameters
    ----------
    key : kind of model, its folder and the hash of its weights, and how it is loaded
    """
    if not _wanted:
        return build()
    if key not in _kept:
        _kept[key] = build()
    found: Built = _kept[key]
    return found
