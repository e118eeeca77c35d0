"""What config files of many runs (``discover``, ``campaign``) are checked for alike.

Each check raises :class:`diffxas.errors.InputError`; ``where`` is the file, or a table of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffxas.errors import InputError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
LONGEST_NAME = 60
MOST_NAMED = 3
"""Members that a problem names; more are counted."""


def check_known(content: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    """Refuse keys that there are not."""
    unknown = sorted(set(content) - set(keys))
    if unknown:
        raise InputError(f"{where} must hold keys among {', '.join(keys)}, received "
                         f"{', '.join(unknown)}: correct or remove them")


def filled_list(content: Mapping[str, Any], key: str, where: str, example: str) -> list[Any]:
    """A list of one or more entries."""
    value = content.get(key)
    if not isinstance(value, list) or not value:
        received = "none" if value is None else repr(value)
        raise InputError(f"{key} in {where} must be a list of one or more, received {received}: "
                         f"write {key} = {example}")
    return value


def filled_texts(content: Mapping[str, Any], key: str, where: str, example: str) -> list[str]:
    """A list of one or more texts."""
    values = filled_list(content, key, where, example)
    if not all(isinstance(value, str) and value.strip() for value in values):
        raise InputError(f"{key} in {where} must be texts, received {values!r}: write {key} = "
                         f"{example}")
    return values


def check_name(name: Any, where: str) -> None:
    """Refuse what cannot be (part of) a folder's name."""
    if not isinstance(name, str) or not NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise InputError(f"name of {where} must be letters, digits, '.', '_' and '-', at most "
                         f"{LONGEST_NAME}, received {name!r}: it becomes part of a folder's "
                         f"name")


def check_unique(words: Sequence[Any], what: str, where: str) -> None:
    """Refuse a word that is there twice."""
    twice = sorted({str(word) for word in words if words.count(word) > 1})
    if twice:
        raise InputError(f"{what} in {where} must differ, received {', '.join(twice)} more than "
                         f"once: leave one out")


def slug(text: str, longest: int, otherwise: str = "ask") -> str:
    """What a folder may be called; ``otherwise`` where nothing of the text is left."""
    return re.sub(r"[^A-Za-z0-9._+-]+", "-", text).strip("-.")[:longest] or otherwise


@dataclass
class Problems:
    """What is wrong, and with which members, so that all of it is told at once."""

    found: dict[str, list[str]] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        """Keep what the block refuses."""
        try:
            yield
        except InputError as error:
            self.found.setdefault(" ".join(str(error).split()), []).append(name)

    def tell(self, where: Path) -> None:
        """Refuse, if there are any.

        Raises
        ------
        InputError
            Naming every problem with its members.
        """
        if not self.found:
            return
        texts = [f"({number}) {_named(names)}: {text}"
                 for number, (text, names) in enumerate(self.found.items(), 1)]
        raise InputError(f"all members of {where} must be such as generate takes, received "
                         f"{len(texts)} problem{'s' if len(texts) > 1 else ''}: {'; '.join(texts)}")


def _named(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
