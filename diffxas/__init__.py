"""diffxas: from a measured X-ray absorption spectrum to three-dimensional atomic structures.

``from diffxas import Spectrum, Structure`` are the two things that everything else exchanges.
"""

__version__ = "0.1.0"

from diffxas.errors import InputError, RunError
from diffxas.spectrum import Spectrum
from diffxas.structure import Structure

__all__ = ["InputError", "RunError", "Spectrum", "Structure", "__version__"]
