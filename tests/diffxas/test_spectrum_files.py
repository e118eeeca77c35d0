"""Readers agree with independent readings of the shared files, and refuse what they must."""

import csv
import gzip
import hashlib
import math

import numpy as np
import pytest

from diffxas.errors import InputError
from diffxas.spectrum import Spectrum
from diffxas.spectrum_files import read_spectrum

ENERGY = np.linspace(270.0, 320.0, 51)
MU = 0.1 + 1.0 / (1.0 + np.exp(-(ENERGY - 285.0)))


def plain_columns(path, comment="#"):
    """Numbers of a blank-separated file, read without the code under test."""
    rows = [line.split() for line in path.read_text().splitlines()
            if line.strip() and not line.startswith(comment)]
    return np.array(rows, dtype=float).T


def film(shared_data):
    with (shared_data / "experimental/dlc_c_k_nexafs.csv").open(encoding="utf-8-sig") as file:
        rows = list(csv.reader(file))[1:]
    return np.array(rows, dtype=float).T


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def table(*columns, separator=",", header="", decimal="."):
    rows = [separator.join(f"{v:.6f}".replace(".", decimal) for v in row)
            for row in zip(*columns, strict=True)]
    return header + "\n".join(rows) + "\n"


# ---------------------------------------------------------------- shared files


def test_csv_with_byte_order_mark_is_read_in_full(shared_data):
    path = shared_data / "experimental/dlc_c_k_nexafs.csv"
    spectrum = read_spectrum(path, edge="C:K")
    energy, mu = film(shared_data)
    assert np.array_equal(spectrum.energy, energy) and np.array_equal(spectrum.mu, mu)
    assert (spectrum.element, spectrum.edge) == ("C", "K")
    assert spectrum.meta["hash"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert "PE/eV (column 1)" in spectrum.meta["columns"]


def test_emsa_is_the_csv_within_its_rounding(shared_data):
    spectrum = read_spectrum(shared_data / "formats/dlc_c_k.msa")
    energy, mu = film(shared_data)
    assert np.allclose(spectrum.energy, energy, rtol=0, atol=1e-9)
    assert np.abs(spectrum.mu - mu).max() <= 0.5e-6 + 1e-12  # six decimals
    assert spectrum.meta["header"]["signaltype"] == "ELS"


def test_beamline_file_is_drain_over_mesh_as_its_header_says(shared_data):
    path = shared_data / "formats/beamline_multicolumn.dat"
    spectrum = read_spectrum(path)
    energy, drain, mesh, *_ = plain_columns(path)
    assert np.array_equal(spectrum.energy, energy)
    assert np.allclose(spectrum.mu, drain / mesh, rtol=1e-15)
    assert spectrum.meta["columns_flag"] == "energy=1,signal=2,i0=3"
    assert "drain/A (column 2) / mesh/A (column 3)" in spectrum.meta["columns"]
    assert "pfy/counts left aside" in spectrum.meta["columns"]
    mu = film(shared_data)[1]
    ratio = spectrum.mu / mu  # the same film up to one factor and the rounding of 7 digits
    assert ratio.std() / ratio.mean() < 2e-6


@pytest.mark.parametrize(("name", "whose", "expected"), [
    ("cu_metal_rt.xdi", "Cu", lambda c: np.log(c[1] / c[2])),
    ("CuO_tenorite_13K_01.xdi", "Cu", lambda c: np.log(c[1] / c[2])),
    ("CaSO4_rt_01.xdi", "S", lambda c: c[1] / c[2]),
])
def test_xdi_absorption_from_its_intensities(shared_data, name, whose, expected):
    path = shared_data / "formats" / name
    spectrum = read_spectrum(path)
    columns = plain_columns(path)
    assert np.array_equal(spectrum.energy, columns[0])
    assert np.allclose(spectrum.mu, expected(columns), atol=1e-6)  # mutrans has 7 decimals
    assert (spectrum.element, spectrum.edge) == (whose, "K")
    assert spectrum.meta["header"]["sample.name"]


def test_xdi_transmission_by_flag_is_the_logarithm(shared_data):
    path = shared_data / "formats/cu_metal_rt.xdi"
    spectrum = read_spectrum(path, columns="energy=energy,i0=i0,itrans=ITRANS")
    _, i0, itrans, _ = plain_columns(path)
    assert np.allclose(spectrum.mu, [math.log(a / b) for a, b in zip(i0, itrans, strict=True)])
    assert spectrum.meta["columns_flag"] == "energy=1,i0=2,itrans=3"


def test_the_flag_reproduces_the_choice(shared_data):
    for name in ("CuO_tenorite_13K_01.xdi", "beamline_multicolumn.dat", "dlc_c_k.msa",
                 "MnO_bv.prj", "feff/nep_104_7/xmu.dat"):
        by_name = read_spectrum(shared_data / "formats" / name)
        by_flag = read_spectrum(shared_data / "formats" / name,
                                columns=by_name.meta["columns_flag"])
        assert np.array_equal(by_name.mu, by_flag.mu)


def test_athena_single_group_with_its_edge(shared_data):
    spectrum = read_spectrum(shared_data / "formats/MnO_bv.prj")
    text = gzip.decompress((shared_data / "formats/MnO_bv.prj").read_bytes()).decode("latin-1")
    x = next(line for line in text.splitlines() if line.startswith("@x = "))
    expected = [float(v.strip("'")) for v in x[len("@x = ("):-2].split(",")]
    assert np.array_equal(spectrum.energy, expected)
    assert (spectrum.element, spectrum.edge) == ("Mn", "K")


def test_athena_groups_that_differ_must_be_chosen(shared_data):
    path = shared_data / "formats/cu_ex.prj"
    with pytest.raises(InputError, match=r"1 cu10k\.dat, 2 cu150k\.dat.*--columns group=1"):
        read_spectrum(path)
    by_number, by_label = (read_spectrum(path, columns=f"group={g}") for g in (2, "cu150k.dat"))
    assert np.array_equal(by_number.mu, by_label.mu)
    assert by_number.energy[0] == pytest.approx(8774.104 + 0.010)  # Athena's energy shift
    with pytest.raises(InputError, match=r"received 'cu20k\.dat'"):
        read_spectrum(path, columns="group=cu20k.dat")


def test_athena_groups_of_one_measurement_need_no_choice(shared_data):
    path = shared_data / "formats/MoO3-tutorial.prj"
    spectrum = read_spectrum(path)
    assert (spectrum.element, spectrum.edge, len(spectrum)) == ("Mo", "K", 387)
    assert "same data" in spectrum.meta["columns"]
    with pytest.raises(InputError, match=r"chi\(k\)"):
        read_spectrum(path, columns="group=4")


def test_athena_as_plain_text(shared_data, tmp_path):
    packed = shared_data / "formats/cu_ex.prj"
    plain = tmp_path / "cu.prj"
    plain.write_bytes(gzip.decompress(packed.read_bytes()))
    assert np.array_equal(read_spectrum(plain, columns="group=1").mu,
                          read_spectrum(packed, columns="group=1").mu)


def test_feff_energy_is_the_absolute_one(shared_data):
    path = shared_data / "formats/feff/nep_104_7/xmu.dat"
    spectrum = read_spectrum(path)
    omega, _, _, mu, *_ = plain_columns(path)
    assert np.array_equal(spectrum.energy, omega) and np.array_equal(spectrum.mu, mu)


@pytest.mark.parametrize("name", ["README.md", "LICENSE.xraylarch", "feff",
                                  "feff/nep_104_8/feff.inp"])
def test_shared_files_that_are_no_spectra(shared_data, name):
    with pytest.raises(InputError):
        read_spectrum(shared_data / "formats" / name)


# ---------------------------------------------------------------- text in many hands


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", ", "  ", " ; "])
@pytest.mark.parametrize("header", ["", "energy,mu\n", "# a film\n# energy  mu\n", "% a comment\n",
                                    "// note\n", "Scan of a film\n51\n", "\ufeffEnergy (eV);mu\n"])
def test_two_columns_in_any_dress(tmp_path, separator, header):
    path = write(tmp_path / "film.txt", table(ENERGY, MU, separator=separator, header=header))
    spectrum = Spectrum.read(path)
    assert np.allclose(spectrum.energy, ENERGY) and np.allclose(spectrum.mu, MU, atol=1e-6)


@pytest.mark.parametrize("separator", [";", "\t", " "])
def test_decimal_commas(tmp_path, separator):
    text = table(ENERGY, MU, separator=separator, decimal=",", header=f"Energie{separator}mu\r\n")
    spectrum = read_spectrum(write(tmp_path / "film.csv", text.replace("\n", "\r\n")))
    assert np.allclose(spectrum.energy, ENERGY) and np.allclose(spectrum.mu, MU, atol=1e-6)


def test_quoted_decimal_commas(tmp_path):
    rows = "".join(f'"{e:.2f}","{m:.6f}"\n'.replace(".", ",")
                   for e, m in zip(ENERGY, MU, strict=True))
    spectrum = read_spectrum(write(tmp_path / "film.csv", '"energy","mu"\n' + rows))
    assert np.allclose(spectrum.mu, MU, atol=1e-6)


def test_latin_1_header(tmp_path):
    path = write(tmp_path / "film.txt", table(ENERGY, MU, header="# Probe für 300 °C\n"), "latin-1")
    assert len(read_spectrum(path)) == 51


def test_exponents_of_fortran_and_trailing_separators(tmp_path):
    rows = "".join(f"{e:.3f}, {m:.8E},\n".replace("E", "D")
                   for e, m in zip(ENERGY, MU, strict=True))
    assert np.allclose(read_spectrum(write(tmp_path / "a.csv", rows)).mu, MU, atol=1e-8)


def test_kilo_electron_volts_become_electron_volts(tmp_path):
    path = write(tmp_path / "a.csv", table(ENERGY / 1000, MU, header="Energy (keV),mu\n"))
    spectrum = read_spectrum(path)
    assert np.allclose(spectrum.energy, ENERGY, atol=2e-3)
    assert "keV" in spectrum.meta["columns"]


def test_emsa_pairs_in_kev(tmp_path):
    head = ("#FORMAT : EMSA/MAS Spectral Data File\n#VERSION : 1.0\n#NPOINTS : 51\n"
            "#XUNITS : keV\n#DATATYPE : XY\n#SIGNALTYPE : ELS\n#SPECTRUM :\n")
    text = head + "".join(f"{e / 1000:.6f}, {m:.6f}\n" for e, m in zip(ENERGY, MU, strict=True))
    path = write(tmp_path / "a.msa", text + "#ENDOFDATA :\n")
    spectrum = read_spectrum(path)
    assert np.allclose(spectrum.energy, ENERGY) and np.allclose(spectrum.mu, MU, atol=1e-6)


TEY, PFY, I0 = MU * 2e-9, MU * 50, np.linspace(1.0, 0.8, 51)


@pytest.mark.parametrize(("header", "columns", "mu", "flag"), [
    ("energy,TEY,I0", (ENERGY, TEY, I0), TEY / I0, "energy=1,signal=2,i0=3"),
    ("# I0  drain/A  Energy/eV", (I0, TEY, ENERGY), TEY / I0, "energy=3,signal=2,i0=1"),
    ("energy i0 itrans", (ENERGY, I0, np.exp(-MU)), np.log(I0) + MU, "energy=1,i0=2,itrans=3"),
    ("energy,I0,I1,I2", (ENERGY, I0, np.exp(-MU), I0), np.log(I0) + MU, "energy=1,i0=2,itrans=3"),
    ("e i0 ifluor", (ENERGY, I0, PFY), PFY / I0, "energy=1,signal=3,i0=2"),
    ("energy xmu i0", (ENERGY, MU, I0), MU, "energy=1,mu=2"),
    ("energy,mu,norm,flat", (ENERGY, MU, MU / 2, MU / 3), MU, "energy=1,mu=2"),
    ("energy,norm,time", (ENERGY, MU, I0), MU, "energy=1,mu=2"),
    ("energy,TEY/I0,I0", (ENERGY, MU, I0), MU, "energy=1,mu=2"),
    ("energy,ch3,I0", (ENERGY, PFY, I0), PFY / I0, "energy=1,signal=2,i0=3"),
    (",energy,mu", (np.arange(51.0), ENERGY, MU), MU, "energy=2,mu=3"),
    ("#L Energy (eV)  I0  TEY", (ENERGY, I0, TEY), TEY / I0, "energy=1,signal=3,i0=2"),
    ("energy,mu\neV,arb", (ENERGY, MU), MU, "energy=1,mu=2"),
])
def test_columns_are_known_by_name(tmp_path, header, columns, mu, flag):
    text = header + "\n" + "\n".join(
        ",".join(f"{v:.12g}" for v in row) for row in zip(*columns, strict=True))
    spectrum = read_spectrum(write(tmp_path / "scan.csv", text))
    assert np.allclose(spectrum.mu, mu, rtol=1e-9) and np.allclose(spectrum.energy, ENERGY)
    assert spectrum.meta["columns_flag"] == flag


@pytest.mark.parametrize(("header", "n_columns"), [
    ("energy,TEY,PFY,I0", 4), ("energy,i0,itrans,ifluor", 4), ("energy,ifluor,ifluor,i0", 4),
    ("energy,ch1,ch2", 3), ("", 3), ("energy,mu,mu", 3),
])
def test_ambiguous_columns_are_refused_with_the_remedy(tmp_path, header, n_columns):
    columns = (ENERGY, *(MU + i for i in range(1, n_columns)))
    path = write(tmp_path / "scan.csv", table(*columns, header=header + "\n" if header else ""))
    with pytest.raises(InputError, match=r"--columns energy=1,\w+=\d.* or --columns") as caught:
        read_spectrum(path)
    for remedy in str(caught.value).split("--columns ")[1:]:  # each remedy is one that works
        read_spectrum(path, columns=remedy.split()[0])
    by_flag = read_spectrum(path, columns="energy=1,signal=2,i0=3")
    assert np.allclose(by_flag.mu, (MU + 1) / (MU + 2), atol=1e-5)


def test_the_prose_of_a_header_decides_between_channels(tmp_path):
    text = table(ENERGY, MU, MU + 1, MU + 2, header="# total yield: TEY\n# energy,TEY,PFY,I0\n")
    spectrum = read_spectrum(write(tmp_path / "scan.csv", text))
    assert np.allclose(spectrum.mu, MU / (MU + 2), atol=1e-5)


@pytest.mark.parametrize("columns", [
    "energy=1,signal=9", "energy=1,signal=0", "energy=1,colour=2", "energy=1", "energy=1,signal=",
    "energy=1,signal=nothing", "energy=1,itrans=2", "energy=1,mu=2,i0=3", "energy=1,signal=1",
    "energy=1,signal=2,signal=3", "energy=1,signal=2,itrans=3", "1,2", "group=1",
])
def test_wrong_columns_flags_are_refused(tmp_path, columns):
    path = write(tmp_path / "scan.csv", table(ENERGY, MU, MU + 1, header="energy,TEY,I0\n"))
    with pytest.raises(InputError, match="received"):
        read_spectrum(path, columns=columns)


# ---------------------------------------------------------------- bad input


def spoiled(row, value, column=1):
    values = [[f"{e:.3f}", f"{m:.6f}"] for e, m in zip(ENERGY, MU, strict=True)]
    values[row][column] = value
    return "energy,mu\n" + "".join(",".join(v) + "\n" for v in values)


BAD = {
    "empty": ("", "empty"),
    "blank": (" \n\n", "empty"),
    "prose": ("This is a letter.\nIt holds no spectrum.\n", "received none"),
    "only comments": ("# energy mu\n# 1 2\n", "received none"),
    "one column": ("\n".join(f"{m:.4f}" for m in MU), "received one"),
    "too few points": (table(ENERGY[:19], MU[:19]), "at least 20 points, received 19"),
    "one row": ("285.0,1.0\n", "at least 20 points"),
    "nan": (spoiled(7, "NaN"), "finite, received 277.0 and nan"),
    "missing": (spoiled(7, ""), "finite"),
    "infinite": (spoiled(7, "inf"), "finite"),
    "energy missing": (spoiled(7, "nan", 0), "finite"),
    "word": (spoiled(7, "bad"), "line 9 .*277.000,bad"),
    "ragged": (spoiled(7, "1.0,2.0"), "line 9 .* 2 numbers"),
    "decreasing": (table(ENERGY[::-1], MU), "increase, received 320 then 319 .*decrease"),
    "unsorted": (spoiled(7, "290.0", 0), "increase"),
    "duplicate": (spoiled(7, "276.000", 0), "repeat"),
    "flat": (table(ENERGY, np.full(51, 0.5)), "flat curve of 0.5"),
    "two scans": (table(ENERGY, MU) + table(ENERGY, MU), "received 320 then 270"),
    "i0 zero": (table(ENERGY, MU, ENERGY - 280.0, header="energy,TEY,I0\n"), "I0 must be"),
    "i0 dies": (table(ENERGY, MU, np.where(ENERGY == 280.0, 0.0, 1.0), header="energy,TEY,I0\n"),
                "I0 must be .*received 0 at 280 eV"),
    "i0 infinite": (table(ENERGY, MU, np.where(ENERGY == 280.0, np.inf, 1.0),
                          header="energy,TEY,I0\n"), "I0 must be finite, received inf at 280"),
    "log of negative": (table(ENERGY, np.ones(51), MU - 0.5, header="energy,i0,itrans\n"),
                        "itrans must be above 0 .*received -0.4"),
    "decimal commas with commas": (table(ENERGY, MU, decimal=",", header="energy,mu\n"),
                                   "--columns"),
    "thousands": ("".join(f"8,{i:03d}.5;1.{i}\n" for i in range(100, 150)), "received none"),
    "xdi angle": ("# XDI/1.0\n# Column.1: angle degrees\n# Column.2: mu\n#---\n# angle mu\n"
                  + table(ENERGY, MU, separator=" "), "angle"),
    "emsa cut off": ("#FORMAT : EMSA/MAS Spectral Data File\n#NPOINTS : 99\n#OFFSET : 270\n"
                     "#XPERCHAN : 1\n#SPECTRUM :\n" + "".join(f"{m:.4f},\n" for m in MU), "99"),
    "emsa x-rays": ("#FORMAT : EMSA/MAS Spectral Data File\n#SIGNALTYPE : EDS\n#SPECTRUM :\n1,\n",
                    "EDS"),
    "emsa without axis": ("#FORMAT : EMSA/MAS Spectral Data File\n#SPECTRUM :\n1,\n2,\n",
                          "XPERCHAN"),
    "athena without data": ("# Athena project file\n$old_group = 'a';\n@args = ('label','a');\n",
                            "as many energies"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_in_one_line(tmp_path, case):
    text, message = BAD[case]
    path = write(tmp_path / "bad.txt", text)
    with pytest.raises(InputError, match=message) as caught:
        read_spectrum(path)
    assert "\n" not in str(caught.value) and "received" in str(caught.value)
    assert str(path) in str(caught.value) or "--columns" in str(caught.value)


@pytest.mark.parametrize("content", [bytes(range(256)) * 9, b"\x89PNG\r\n\x1a\n\0\0\0",
                                     b"\x1f\x8b\x08\x00truncated"])
def test_binary_junk(tmp_path, content):
    path = tmp_path / "junk.dat"
    path.write_bytes(content)
    with pytest.raises(InputError, match="received"):
        read_spectrum(path)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match="existing file"):
        read_spectrum(tmp_path / "none.csv")
    with pytest.raises(InputError, match="folder"):
        read_spectrum(tmp_path)


def test_wrong_edge_is_refused_before_the_file_is_opened(tmp_path):
    with pytest.raises(InputError, match="ELEMENT:EDGE"):
        read_spectrum(tmp_path / "none.csv", edge="Xx:K")
