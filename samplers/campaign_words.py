"""Options of ``generate`` in a campaign's file: keys and values of TOML -> words of a command line.

A key is an option without its dashes (``guide-temperature``, or ``guide_temperature``). Flags are
true or false, options of several words are lists, repeatable ones a text or a list.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from diffxas.errors import InputError

NOT_ASKED = ("out", "workers", "scheduler")
"""Options of ``generate`` that the campaign itself sets."""


def options_of(generate: click.Command) -> dict[str, click.Option]:
    """The options of ``generate`` that a file may set, by their names without dashes."""
    return {word.removeprefix("--"): one for one in generate.params
            if isinstance(one, click.Option) and one.name not in NOT_ASKED for word in one.opts}


def words_of(asked: Mapping[str, Any], options: Mapping[str, click.Option],
             where: str) -> list[str]:
    """Options as words of the command line.

    Raises
    ------
    InputError
        For a value that no word can be.
    """
    words = []
    for key, value in asked.items():
        option = options[key]
        if option.is_flag:
            if not isinstance(value, bool):
                raise InputError(f"{key} in {where} must be true or false, received {value!r}: "
                                 f"write {key} = true")
            words += [f"--{key}"] if value else []
        elif option.nargs > 1:
            if not isinstance(value, list) or len(value) != option.nargs:
                raise InputError(f"{key} in {where} must be a list of {option.nargs}, received "
                                 f"{value!r}: write {key} = "
                                 f"[{', '.join(str(option.metavar).split())}]")
            words += [f"--{key}", *(_word(key, one, where) for one in value)]
        elif option.multiple and isinstance(value, list):
            words += [f"--{key}={_word(key, one, where)}" for one in value]
        else:
            words.append(f"--{key}={_word(key, value, where)}")
    return words


def _word(key: str, value: Any, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{key} in {where} must be one number or text, received {value!r}: a list "
                         f"is for options that take several, and for targets, densities, ...")
    return str(value)


def with_dashes(table: Mapping[str, Any], options: Mapping[str, click.Option]) -> dict[str, Any]:
    """Keys as options are written: ``guide_temperature`` becomes ``guide-temperature``."""
    names = {name.replace("-", "_"): name for name in options}
    return {names.get(key, key): value for key, value in table.items()}
