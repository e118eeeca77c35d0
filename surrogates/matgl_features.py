"""Site features of a pretrained potential of matgl, differentiable in positions and cell.

A graph potential turns the surroundings of every atom into numbers from which it reads the atom's
energy. Trained on millions of atoms, these numbers know chemistry, and small heads can be trained
on them (OmniXAS, arXiv:2409.19552, on M3GNet's last node state). The potential stays as it is.

``last`` features are what its own readout sees: M3GNet's last node state (64 numbers in the
published model; C. Chen, S. P. Ong, Nat. Comput. Sci. 2, 718 (2022)), TensorNet's scalars before
its readout (128; G. Simeon, G. de Fabritiis, arXiv:2306.06482, equation 16). ``all`` features are
the invariants of every layer side by side: M3GNet's node states, TensorNet's norms of the scalar,
skew and traceless parts, log(1 + x).

The model is a folder on disk; it is known again by the SHA-256 of its ``state.pt``. matgl reads it
by torch's restricted unpickler (tensors and plain values only); nothing is downloaded.
"""

from __future__ import annotations

import copy
import functools
import hashlib
import json
import logging
import os
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from diffxas.denoiser import species_indices
from diffxas.errors import InputError
from diffxas.graph import build_graph
from diffxas.structure import Structure
from surrogates.base import placed

VARIABLE = "DIFFXAS_MATGL"
"""Environment variable: a matgl model's folder, or a folder of such folders."""
BESIDE = "matgl"
"""Sub-folder of a surrogate, or beside it, in which model folders are looked for."""
SOURCE = "github.com/materialsvirtuallab/matgl, folder pretrained_models"
FILES = ("model.json", "model.pt", "state.pt")
NEAREST = 1e-3
"""angstrom; pairs nearer than this are no edges: the networks divide by their distance."""
LAYERS = ("last", "all")
ARCHITECTURES = ("M3GNet", "TensorNet")


class SiteFeatures:
    """Structure -> features of its atoms by one pretrained model.

    Attributes
    ----------
    name : the folder's name
    sha256 : of the folder's ``state.pt``
    elements : chemical symbols that the model knows
    layers : ``last`` or ``all``
    """

    def __init__(self, model: Any, name: str, sha256: str, layers: str = "last") -> None:
        if layers not in LAYERS:
            raise InputError(f"features.layers must be one of {', '.join(LAYERS)}, received "
                             f"{layers!r}: correct [features]")
        if type(model).__name__ not in ARCHITECTURES:
            raise InputError(f"features must be of {' or '.join(ARCHITECTURES)}, received a "
                             f"{type(model).__name__} in {name}: choose another matgl model")
        self.model, self.name, self.sha256, self.layers = model, name, sha256, layers
        self.elements = tuple(str(symbol) for symbol in model.element_types)

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the model."""
        dtype: torch.dtype = next(self.model.parameters()).dtype
        return dtype

    @property
    def reach(self) -> float:
        """How far off an atom may still change a site's features, angstrom.

        Embedding and each layer, or each block with its triples, hear from a cutoff further.
        """
        layers = (self.model.num_layers if type(self.model).__name__ == "TensorNet"
                  else self.model.n_blocks)
        return float(self.model.cutoff) * (1 + layers)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        device: torch.device = next(self.model.parameters()).device
        return device

    def to(self, *, dtype: torch.dtype | None = None,
           device: torch.device | str | None = None) -> SiteFeatures:
        """The same features in another precision or place; this one stays as it is."""
        model = copy.deepcopy(self.model).to(device=device, dtype=dtype)
        return SiteFeatures(model, self.name, self.sha256, self.layers)

    def __call__(self, positions: Tensor, structure: Structure,
                 cell: Tensor | None = None) -> Tensor:
        """Features of every atom, (n_atoms, n_features).

        Parameters
        ----------
        positions : (n_atoms, 3), angstrom; ``cell`` (3, 3) if a gradient with respect to it is
            wanted, otherwise the structure's
        """
        species = species_indices(structure.symbols, self.elements, f"matgl model {self.name}")
        graph = build_graph(placed(structure, positions, cell), float(self.model.cutoff),
                            dtype=self.dtype, device=self.device)
        lattice = graph.cells[0] if cell is None else cell.to(self.device, self.dtype)
        with torch.no_grad():  # two atoms on one spot have no direction
            apart = graph.vectors(positions.to(self.device, self.dtype),
                                  lattice[None]).norm(dim=1) > NEAREST
        # M3GNet counts triples by runs of edges of one centre.
        order = torch.argsort(graph.center, stable=True)
        order = order[apart[order]]
        atoms = SimpleNamespace(
            node_type=species.to(self.device), pos=positions.to(self.device, self.dtype),
            edge_index=torch.stack([graph.center[order], graph.neighbor[order]]),
            pbc_offshift=graph.shift[order] @ lattice)
        features = (self._tensornet if type(self.model).__name__ == "TensorNet"
                    else self._m3gnet)(atoms)
        assert features.ndim == 2 and len(features) == len(structure)
        return features

    def _tensornet(self, atoms: SimpleNamespace) -> Tensor:
        from matgl.utils.maths import decompose_tensor, tensor_norm

        found = self.model.forward_features(atoms)
        last: Tensor = found["readout"]
        if self.layers == "last":
            return last
        names = ["embedding", *(f"gc_{k + 1}" for k in range(self.model.num_layers))]
        norms = [tensor_norm(part) for name in names for part in decompose_tensor(found[name])]
        return torch.cat([torch.log1p(torch.cat(norms, 1)), last], 1)

    def _m3gnet(self, atoms: SimpleNamespace) -> Tensor:
        self.model(atoms)
        found = self.model.feature_dict
        self.model.feature_dict = {}
        nodes: list[Tensor] = [found[f"gc_{k + 1}"]["node_feat"]
                               for k in range(self.model.n_blocks)]
        return nodes[-1] if self.layers == "last" else torch.cat(nodes, 1)


def is_matgl_folder(folder: Path) -> bool:
    """Whether the files of a matgl model lie in the folder."""
    return all((folder / name).is_file() for name in FILES)


def state_hash(folder: Path) -> str:
    """SHA-256 of the model's ``state.pt``."""
    return hashlib.sha256((folder / "state.pt").read_bytes()).hexdigest()


def load_features(folder: Path | str, layers: str = "last") -> SiteFeatures:
    """The features of the matgl model in ``folder``.

    Raises
    ------
    InputError
        If the folder holds no matgl model, or none of a kind whose features are known.
    """
    path = Path(folder).expanduser()
    if not is_matgl_folder(path):
        raise InputError(f"features.path must be a folder with {', '.join(FILES)} of a matgl "
                         f"model, received {folder}: check the path (models: {SOURCE})")
    path = path.resolve()
    found = state_hash(path)
    return SiteFeatures(_load(str(path), found), path.name, found, layers)


@functools.lru_cache(maxsize=2)
def _load(folder: str, sha256: str) -> Any:
    """The graph network of a matgl model or potential, frozen; loaded once a process and hash."""
    logging.getLogger("matgl").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import matgl

        try:
            kind = json.loads((Path(folder) / "model.json").read_text(encoding="utf-8"))["@class"]
            loaded = matgl.load_model(folder)
        except (RuntimeError, ValueError, OSError, KeyError, TypeError) as error:
            raise InputError(f"features.path must be a model that matgl {matgl.__version__} loads, "
                             f"received {folder} ({error.__cause__ or error}): use another model "
                             f"or matgl version") from error
    network = loaded.model if kind == "Potential" else loaded
    network.requires_grad_(False)
    return network.eval()


def find_features(record: dict[str, Any], beside: Path) -> SiteFeatures:
    """The features that a surrogate was trained on.

    Looked for in this order: :data:`VARIABLE`; ``features.path`` of the surrogate's config, as it
    is and from the surrogate's folder; ``matgl/NAME`` in the surrogate's folder and beside it. The
    first whose hash is the recorded one is taken.

    Parameters
    ----------
    record : ``features`` of the surrogate's config: ``name``, ``sha256``, ``layers``, ``path``
    beside : the surrogate's folder

    Raises
    ------
    InputError
        If there is none, or only ones with other weights.
    """
    name, wanted = str(record["name"]), str(record["sha256"])
    others = []
    tried = _candidates(name, str(record.get("path", "")), beside)
    for folder in tried:
        if not is_matgl_folder(folder):
            continue
        found = state_hash(folder)
        if found == wanted:
            return load_features(folder, str(record["layers"]))
        others.append(f"{folder} with {found[:12]}...")
    if others:
        raise InputError(f"the matgl model {name} must have the weights that the surrogate was "
                         f"trained on (state.pt of SHA-256 {wanted[:12]}...), received "
                         f"{'; '.join(others)}: get that version of the model and name its folder "
                         f"by {VARIABLE}, or train the surrogate anew on this one")
    raise InputError(f"the surrogate needs the matgl model {name} (state.pt of SHA-256 "
                     f"{wanted[:12]}...), received none in {', '.join(map(str, tried))}: set "
                     f"{VARIABLE} to its folder or to a folder that holds it (models: {SOURCE})")


def _candidates(name: str, path: str, beside: Path) -> list[Path]:
    """Folders that may hold the model, in order, each once."""
    found: list[Path] = []
    if os.environ.get(VARIABLE):
        given = Path(os.environ[VARIABLE]).expanduser()
        found += [given, given / name]
    if path:
        found += [Path(path).expanduser(), beside / path]
    found += [beside / BESIDE / name, beside.parent / BESIDE / name]
    return list(dict.fromkeys(found))
