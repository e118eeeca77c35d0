r"""A user's own function as a guide: ``MODULE:FUNCTION`` or ``FILE.py:FUNCTION``.

    f(positions: Tensor, structure) -> scalar tensor      differentiable
    f(structure) -> float                                 without a gradient

told apart by the number of parameters. ``positions`` is (n_atoms, 3) in angstrom; ``structure`` is
a :class:`diffxas.structure.Structure`, with the positions of the moment. Without a value the
function returns a log-likelihood. With one (``MODULE:FUNCTION=V`` and the other forms) it returns a
quantity, and S is :data:`SHARE` of V (of the interval's width), where none is given.

Before sampling the function is tried on a probe: the atoms of the system on a jittered grid.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffxas.errors import InputError
from diffxas.structure import Structure
from samplers.guides.asked import Asked, split_asked
from samplers.guides.base import Guide
from samplers.guides.quantity import QuantityGuide

SHARE = 0.05
"""S of a quantity, as a share of the value asked or of the interval's width."""
FORM = re.compile(r"(?P<module>[^:=]+):(?P<function>[A-Za-z_]\w*)(?P<value>=.*)?", re.DOTALL)
EXAMPLE = "such as mine.py:hardness=>100, with `def hardness(positions, structure)` in mine.py"

Function = Callable[..., Any]


class OwnGuide(Guide):
    """A function that returns the log-likelihood itself."""

    def __init__(self, function: Function, system: Structure, label: str) -> None:
        self.function, self.system, self.label = function, system, label
        self.differentiable = takes_positions(function, label)

    def at(self, system: Structure) -> OwnGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return OwnGuide(self.function, system, self.label)

    def __call__(self, x_0: Tensor, sigma: float) -> Tensor:
        """See :class:`samplers.guides.base.Guide`."""
        return called(self.function, x_0, self.system, self.differentiable)

    def reached(self, structure: Structure) -> Mapping[str, float]:
        """The log-likelihood."""
        with torch.no_grad():
            value = self.at(structure)(torch.tensor(structure.positions), 0.0)
        return {"log_likelihood": float(value)}


class OwnQuantityGuide(QuantityGuide):
    """A function that returns a quantity of which a value is asked."""

    def __init__(self, function: Function, request: Asked, system: Structure, label: str) -> None:
        super().__init__(split_asked(label)[0], request, system, label)
        self.function = function
        self.differentiable = takes_positions(function, label)

    def at(self, system: Structure) -> OwnQuantityGuide:
        """See :class:`samplers.guides.base.Guide`."""
        return OwnQuantityGuide(self.function, self.request, system, self.label)

    def sites(self, x: Tensor) -> Tensor:
        """The quantity, (1, 1)."""
        return called(self.function, x, self.system, self.differentiable).reshape(1, 1)


def called(function: Function, x: Tensor, system: Structure, positions: bool) -> Tensor:
    """The function's value, a scalar tensor of the precision of ``x``."""
    structure = system.with_positions(x.detach().cpu().double().numpy())
    value = function(x, structure) if positions else function(structure.wrapped())
    if not isinstance(value, Tensor):
        value = torch.tensor(float(value))
    return value.reshape(()).to(x.device, x.dtype)


def takes_positions(function: Function, label: str) -> bool:
    """Whether the function is one of positions and a structure.

    Raises
    ------
    InputError
        If it takes neither two parameters nor one.
    """
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [one for one in inspect.signature(function).parameters.values()
              if one.kind in kinds and one.default is inspect.Parameter.empty]
    if len(needed) not in (1, 2):
        raise InputError(f"a guide's function must be f(positions, structure) or f(structure), "
                         f"received {label} with {len(needed)} parameters: {EXAMPLE}")
    return len(needed) == 2


def module_of(name: str) -> ModuleType | None:
    """The module of a name or a file, the current folder included; None if there is none."""
    if name.endswith(".py"):
        path = Path(name).expanduser()
        if not path.is_file():
            return None
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
        return None
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        if importlib.util.find_spec(name) is None:
            return None
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.startswith(error.name):
            return None
        raise
    finally:
        sys.path.remove(here)


def own_guide(text: str, system: Structure) -> Guide | None:
    """The guide of ``MODULE:FUNCTION[=VALUE]``, tried once; None if there is no such module.

    Raises
    ------
    InputError
        If the module cannot be imported, has no such function, or the function fails on the probe.
    """
    found = FORM.fullmatch(text)
    if found is None:
        return None
    try:
        module = module_of(found["module"])
    except Exception as error:
        raise InputError(f"the module of a guide must be importable, received {found['module']!r} "
                         f"({type(error).__name__}: {error}): correct it") from error
    if module is None:
        return None
    function = getattr(module, found["function"], None)
    if not callable(function):
        raise InputError(f"a guide must name a function of its module, received {text!r}, where "
                         f"{found['module']} has no function {found['function']}: {EXAMPLE}")
    guide: OwnGuide | OwnQuantityGuide
    if found["value"]:
        request = Asked.parse(found["value"], 1.0, text)
        if "+-" not in found["value"]:
            request = Asked.parse(found["value"], default_deviation(request), text)
        guide = OwnQuantityGuide(function, request, system, text)
    else:
        guide = OwnGuide(function, system, text)
    try_out(guide)
    return guide


def default_deviation(request: Asked) -> float:
    """S of a quantity whose scale only the request tells."""
    ends = [abs(end) for end in (request.low, request.high) if math.isfinite(end)]
    scale = request.high - request.low
    scale = scale if 0 < scale < math.inf else max(ends)
    return SHARE * scale if scale > 0 else SHARE


def probe_of(system: Structure) -> Structure:
    """The atoms of a system on a grid, moved by a tenth of its spacing."""
    n = len(system)
    side = math.ceil(n ** (1 / 3))
    grid = np.stack(np.meshgrid(*[np.arange(side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    chosen = np.random.default_rng(0).permutation(len(grid))[:n]
    jitter = np.random.default_rng(1).uniform(-0.1, 0.1, (n, 3))
    return system.with_positions((grid[chosen] + 0.5 + jitter) / side @ system.cell)


def try_out(guide: OwnGuide | OwnQuantityGuide) -> None:
    """Call a guide of a user's function once.

    Raises
    ------
    InputError
        On an exception, a value that is no finite number, or positions without a gradient.
    """
    from samplers.algorithms import without_gradient

    probe = probe_of(guide.system)
    x = torch.tensor(probe.positions, requires_grad=guide.differentiable)
    try:
        value = (guide.function(x, probe) if guide.differentiable else guide.function(probe))
    except Exception as error:
        raise InputError(f"a guide's function must work on the atoms that are generated, received "
                         f"{type(error).__name__} from {guide.label} ({error}): correct "
                         f"it") from error
    tensor = value if isinstance(value, Tensor) else None
    shape = tuple(np.shape(value.detach() if tensor is not None else value))
    number = tensor is not None or isinstance(value, int | float | np.number | np.ndarray)
    if not number or int(np.prod(shape)) != 1:
        raise InputError(f"a guide's function must return one number, received "
                         f"{type(value).__name__} of shape {shape} from {guide.label}: take a "
                         f"mean or a sum")
    if not math.isfinite(float(value.detach() if tensor is not None else value)):
        raise InputError(f"a guide's function must return a finite number, received "
                         f"{float(value):g} from {guide.label} on a jittered grid: bound it")
    if not guide.differentiable:
        return
    others = without_gradient()
    remedy = ("return a tensor computed from positions by torch, or write f(structure)" + (
        f" and choose --algorithm {' or '.join(others)}" if others else ""))
    if tensor is None or not tensor.requires_grad:
        raise InputError(f"a guide's function of positions must have a gradient in them, received "
                         f"none from {guide.label}: {remedy}")
    (gradient,) = torch.autograd.grad(tensor.reshape(()), x, allow_unused=True)
    if gradient is None or not torch.isfinite(gradient).all():
        kind = "none" if gradient is None else "NaN or infinity"
        raise InputError(f"a guide's function of positions must have a finite gradient in them, "
                         f"received {kind} from {guide.label} on a jittered grid: {remedy}")
