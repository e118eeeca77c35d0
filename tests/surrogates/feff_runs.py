"""Made-up FEFF runs: an input as FEFF takes it, a table as FEFF writes it."""

from pathlib import Path

import numpy as np

CARDS = {"EDGE": "K", "S02": "1.0", "SCF": "3.0 0 100 0.2", "COREHOLE": "FSR",
         "XANES": "3.6 0.07 0.2", "FMS": "4.2 0", "EXCHANGE": "0 0.0 0.0"}
HEADER = ("# # aC                                                           FEFF 10.0.0\n"
          "#  xsedge+ 50, used to normalize mu           6.8393E-03\n"
          "#  omega    e    k    mu    mu0     chi     @#\n")


def write_input(folder: Path, positions: np.ndarray, **changed: str) -> Path:
    """A cluster of carbon, the first position the absorber."""
    folder.mkdir(parents=True, exist_ok=True)
    cards = "".join(f"{name} {text}\n" for name, text in {**CARDS, **changed}.items())
    atoms = "".join(f"{x:.5f} {y:.5f} {z:.5f} {min(k, 1)}\n"
                    for k, (x, y, z) in enumerate(positions - positions[0]))
    (folder / "feff.inp").write_text(f"TITLE aC\n{cards}\nPOTENTIALS\n0 6 C 2 2\n1 6 C 2 2 100\n"
                                     f"ATOMS\n{atoms}END\n")
    return folder


def curve(energy: np.ndarray, seed: int) -> np.ndarray:
    """An edge with two peaks of other height for each seed."""
    a, b = np.random.default_rng(seed).random(2)
    edge = 1 / (1 + np.exp(-2 * (energy - 279)))
    return edge * (1 + (1 + a) * np.exp(-0.5 * ((energy - 280) / 1.0) ** 2)
                   + (2 + b) * np.exp(-0.5 * ((energy - 290) / 3.0) ** 2))


def write_xmu(folder: Path, seed: int = 0, shift: float = 0.0, last: float = 3.6) -> Path:
    """60 energies from 8 eV below to 48 above the Fermi level, k from -1.4 to ``last``."""
    k = np.arange(-1.4, last - 1e-6, 0.07)
    energy = 278.2 + shift + np.sign(k) * 3.81 * k**2 + 0.01 * k
    mu = curve(energy, seed)
    rows = "".join("".join(f"{value:20.10E}" for value in row) + "\n" for row in zip(
        energy, energy - 289, k, mu, np.ones_like(mu), mu - 1, strict=True))
    path = folder / "xmu.dat"
    path.write_text(HEADER + rows)
    return path


def write_log(folder: Path, converged: bool = True) -> None:
    """What FEFF says of the potentials."""
    end = "Convergence reached in    6 iterations." if converged else "Done."
    (folder / "log1.dat").write_text(f"SCF ITERATION NUMBER  1\n{end}\n")
