import numpy as np

from diffxas.plots import plot_spectra


def test_energies_left_out_are_grey_within_the_window():
    energy = np.arange(280.0, 305.0, 0.5)
    curves = {"as sampled": {"sample 0": energy}}
    figure = plot_spectra(energy, energy, curves, window=(282.0, 300.0), exclude=((286.5, 289.0),))
    plain = plot_spectra(energy, energy, curves, window=(282.0, 300.0))
    for axis, without in zip(figure.axes, plain.axes, strict=True):
        assert len(axis.patches) == len(without.patches) + 1
        extents = [patch.get_extents().transformed(axis.transData.inverted())
                   for patch in axis.patches]
        assert any(np.allclose([e.x0, e.x1], [286.5, 289.0], atol=0.05) for e in extents)
