"""Make the compact copies in this folder from the project's shared data folder.

    python experiments/data/make.py ../shared/data

Positions and spectra are kept to float32; of the structures relaxed to 0 K positions are kept to
1e-4 angstrom.
"""

import sys
from pathlib import Path

import ase.io
import numpy as np

HERE = Path(__file__).parent


def dft(source: Path) -> None:
    """21 DFT cells as one extxyz, their site spectra as one npz; parent names the bond network."""
    frames, spectra = [], []
    for path in sorted((source / "poscar").glob("*.vasp")):
        atoms = ase.io.read(path)
        density = atoms.get_masses().sum() / atoms.get_volume() * 1.66053906660
        network = f"dft_{round(density * 2) / 2:.1f}"  # cells of one density share one network
        atoms.info = {"name": path.stem, "density": round(density, 4), "parent": network,
                      "kind": "DFT"}
        frames.append(atoms)
        spectra.append(np.loadtxt(source / "xanes" / f"{path.stem}.txt"))
    ase.io.write(HERE / "a-C-K-edge" / "dft_cells.extxyz", frames)
    np.savez_compressed(HERE / "a-C-K-edge" / "xanes.npz", mu=np.float32(spectra),
                        name=np.array([a.info["name"] for a in frames]))


def relaxed(source: Path) -> None:
    """Networks and their descendants relaxed to 0 K, with their energies, as one extxyz."""
    frames = [atoms for name in ("networks", "variants")
              for atoms in ase.io.read(source / f"{name}.extxyz", index=":")]
    lines = []
    for atoms in frames:
        side = atoms.cell[0, 0]
        assert (atoms.cell.array == side * np.eye(3)).all() and set(atoms.numbers) == {6}
        info = " ".join(f"{key}={atoms.info[key]}" for key in
                        ("name", "parent", "density", "energy_eV_per_atom") if key in atoms.info)
        lines += [str(len(atoms)), f'Lattice="{side:.6f} 0 0 0 {side:.6f} 0 0 0 {side:.6f}" '
                  f'Properties=species:S:1:pos:R:3 {info} pbc="T T T"']
        lines += [f"C {x:.4f} {y:.4f} {z:.4f}" for x, y, z in atoms.positions]
    (HERE / "a-C-energies" / "relaxed.extxyz").write_text("\n".join(lines) + "\n")


def copies(source: Path) -> None:
    """Files that are already compact."""
    for name in ("a-C-NEP/networks_300K.extxyz", "a-C-NEP/variants_300K.extxyz",
                 "a-C-NEP/pairs.extxyz", "a-C-NEP/heldout.txt", "a-C-NEP/README.md",
                 "a-C-FEFF/feff_c_k.npz", "a-C-FEFF/README.md", "a-C-K-edge/README.md",
                 "experimental/dlc_c_k_nexafs.csv", "experimental/README.md"):
        (HERE / name).write_bytes((source / name).read_bytes())


if __name__ == "__main__":
    dft(Path(sys.argv[1]) / "a-C-K-edge")
    relaxed(Path(sys.argv[1]) / "a-C-NEP")
    copies(Path(sys.argv[1]))
