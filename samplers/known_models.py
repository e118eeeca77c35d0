"""Which shipped models know an element or an edge: what is told where one of two is missing."""

from __future__ import annotations

from collections.abc import Sequence

from diffxas.errors import InputError
from diffxas.spectrum import parse_edge

MOST_NAMED = 10
"""Elements that a sentence names; more are counted."""


def priors_of(element: str) -> list[str]:
    """Names of the shipped priors that know an element."""
    from diffxas.prior import SHIPPED
    from diffxas.weights import read_config, shipped_names

    return [name for name in shipped_names(SHIPPED)
            if element in read_config(SHIPPED / name)["elements"]]


def surrogate_of_target(edge: str | None) -> str:
    """The shipped surrogate of a target's edge, such as ``C:K``; the default one for None.

    Raises
    ------
    InputError
        If there is none: with the edges that there are, what prior knows the element, and the
        remedy.
    """
    from diffxas.weights import read_config, shipped_names
    from surrogates.loading import SHIPPED, model_edges, surrogate_name

    wanted = None if edge is None else ":".join(parse_edge(edge))
    known = sorted({one for name in shipped_names(SHIPPED)
                    for one in model_edges(read_config(SHIPPED / name))})
    if wanted is None or wanted in known:
        return surrogate_name(edge)
    element = wanted.partition(":")[0]
    priors = priors_of(element)
    fact = (f"the prior {' and '.join(priors)} knows {element}, but no shipped surrogate predicts "
            f"its spectrum" if len(priors) == 1 else
            f"the priors {', '.join(priors)} know {element}, but no shipped surrogate predicts its "
            f"spectrum" if priors else f"no shipped prior knows {element} either")
    sample = (f"; `--prior {priors[0]} --no-guidance` without TARGET samples structures alone"
              if priors else "")
    raise InputError(f"the edge must be that of a shipped surrogate, {' or '.join(known)}, "
                     f"received {wanted}; {fact}: train one with `diffxas train surrogate DATA "
                     f"--out DIR` (labels: `diffxas decks`, `diffxas collect`) and give "
                     f"--surrogate DIR{sample}")


def elements_text(elements: Sequence[str]) -> str:
    """The symbols, or their number where they are many."""
    return (", ".join(elements) if len(elements) <= MOST_NAMED else f"{len(elements)} elements")
