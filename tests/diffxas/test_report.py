"""The report: parses, loads nothing, holds every sample, escapes what users wrote."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk

from diffxas import plots
from diffxas.report import (
    DensityPreference,
    NuisanceRow,
    ReportContent,
    SampleContent,
    UnguidedContent,
    document,
    report_figures,
    slices,
    write_document,
    write_report,
)
from diffxas.report.document import format_cell
from diffxas.structure import Structure

VOID = {"meta", "link", "img", "br", "hr", "input"}
NASTY = "film </script><script>alert(1)</script>"


class Page(HTMLParser):
    """Open tags, addresses that would be loaded, scripts and text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.loads, self.ids = [], [], []
        self.scripts: list[str] = []
        self.text = ""
        self.payload = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag not in VOID:
            self.open.append((tag, attributes))
        self.ids.append(attributes.get("id"))
        self.loads += [attributes[name] for name in ("src", "href", "data", "action", "srcset")
                       if name in attributes]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attributes = self.open[-1] if self.open else ("", {})
        if tag == "script":
            self.scripts[-1] += data
            if attributes.get("id") == "payload":
                self.payload = json.loads(self.scripts[-1])
        else:
            self.text += data


def diamond(repeat: int = 2) -> Structure:
    return Structure.from_atoms(bulk("C", "diamond", a=3.567, cubic=True).repeat(repeat))


def content(n_samples: int = 3, structure: Structure | None = None) -> ReportContent:
    structure = structure or diamond()
    rng = np.random.default_rng(0)
    energy = np.linspace(280, 310, 40)
    target = 1 / (1 + np.exp(285 - energy))
    sigma = np.geomspace(5, 0.02, 12)

    def spectrum():
        return target + rng.normal(0, 0.02, 40)

    samples = tuple(SampleContent(
        number=k, sampled=structure.with_arrays(pi_star=rng.random(len(structure))),
        relaxed=None if k == 1 else structure, answer="sampled" if k == 1 else "relaxed",
        seed=7, residual_sampled=0.02 + 0.01 * k, residual_relaxed=None if k == 1 else 0.5,
        energy_sampled=-6.9, spectrum_sampled=spectrum(), convergence=(sigma, sigma / 10),
        spectrum_relaxed=None if k == 1 else spectrum(),
        note="relaxation failed: lost atoms" if k == 1 else "") for k in range(n_samples))
    return ReportContent(
        title=NASTY, samples=samples, command=f"diffxas generate '{NASTY}'", energy=energy,
        target=target, target_name=NASTY, target_kind="measured", target_reason="other energies",
        window=(282.0, 300.0), target_spread=0.4, warnings=(NASTY,),
        nuisances=(NuisanceRow("shift", "eV", "0 ± 1", tuple(rng.random(n_samples))),),
        shares={"sample 1": {"2": target / 4, "3": target / 2, "4": target / 4,
                             "other": 0 * target}},
        unguided=(UnguidedContent(structure, spectrum(), (sigma, sigma)),),
        reference=structure, reference_name="its own structure",
        density_preference=DensityPreference(np.array([2.0, 3.0]),
                                             (np.array([0.1, 0.2]), np.array([0.3]))))


def page(content: ReportContent, tmp_path: Path) -> Page:
    write_report(content, tmp_path / "report.html", tmp_path / "figures")
    return Page((tmp_path / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> tuple[Page, Path]:
    folder = tmp_path_factory.mktemp("report")
    return page(content(), folder), folder


def test_the_page_loads_nothing_from_elsewhere(full):
    loads = full[0].loads
    assert len(loads) == 6
    assert all(address.startswith("data:image/png;base64,") for address in loads)


def test_what_a_user_wrote_is_shown_and_not_run(full):
    # Title of the window and of the page, target, warning, command.
    assert full[0].text.count("<script>alert(1)</script>") == 5
    assert len(full[0].scripts) == 3
    assert not any(script.lstrip().startswith("alert") for script in full[0].scripts)


def test_every_sample_is_in_tables_and_viewer(full):
    shown = [(view["label"], view["state"]) for view in full[0].payload["views"]]
    assert shown == [("sample 0", "as sampled"), ("sample 0", "relaxed"),
                     ("sample 1", "as sampled"),
                     ("sample 2", "as sampled"), ("sample 2", "relaxed"),
                     ("unguided 0", "as sampled"), ("its own structure", "as given")]
    for number in range(3):
        assert f"sample {number}" in full[0].text
    assert "relaxation failed: lost atoms" in full[0].text


def test_the_best_sample_is_judged_by_the_structure_that_is_its_answer(full):
    """Sample 0 has the smallest residual as sampled, but its answer is its relaxed structure."""
    assert full[0].payload["first"] == ["sample 1", "as sampled"]
    assert "The best fit is sample 1, as sampled: residual 0.03" in full[0].text


def test_the_viewer_gets_atoms_bonds_and_colours(full):
    view = full[0].payload["views"][0]
    assert len(view["xyz"]) == 3 * 64
    assert set(view["coordination"]) == {4}
    assert len(view["pi_star"]) == 64
    positions = np.array(view["xyz"]).reshape(-1, 3)
    ends = np.array(view["bonds"]).reshape(-1, 2)
    assert len(ends) < 2 * 64  # those through the faces are left out
    lengths = np.linalg.norm(positions[ends[:, 0]] - positions[ends[:, 1]], axis=1)
    np.testing.assert_allclose(lengths, 1.545, atol=0.02)


def test_figures_go_to_files_of_the_same_names(full):
    names = {path.stem for path in (full[1] / "figures").iterdir()}
    assert names == {"spectra", "shares", "convergence", "density_preference", "rdf",
                     "coordination"}
    assert names <= set(full[0].ids)
    for path in (full[1] / "figures").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")


def test_without_a_target_its_sections_vanish(tmp_path):
    bare = page(ReportContent("Unguided", (SampleContent(0, diamond()),)), tmp_path)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == {"rdf", "coordination"}
    for word in ("Spectra", "Nuisances", "residual", "Warning", "Relaxed"):
        assert word not in bare.text
    assert "without a target" in bare.text


def test_large_and_many_structures_stay_small_and_say_what_is_cut_out(tmp_path, monkeypatch):
    monkeypatch.setattr(document, "MAXIMUM_ATOMS_SHOWN", 40)
    large = page(content(7, diamond(2)), tmp_path)
    views = large.payload["views"]
    assert all(len(view["symbols"]) == 40 < view["atoms"] == 64 for view in views)
    assert "of more than 40 atoms only a cut-out can be turned" in large.text
    assert "the structure above is a cut-out of 40 of them" in large.text
    assert "mean" in large.text and "largest" in large.text
    assert len(list((tmp_path / "figures").glob("slice_sample_*_relaxed.png"))) == 6


def test_structures_beyond_the_budget_are_left_out_but_not_the_first_shown(monkeypatch):
    views = tuple(document.View(f"sample {k}", "as sampled", diamond(1)) for k in range(6))
    one = document.Document("many", views=views, first_view=("sample 4", "as sampled"))
    whole = Page(document.render(one))
    monkeypatch.setattr(document, "MAXIMUM_BYTES_EMBEDDED", len(json.dumps(whole.payload)) // 2)
    less = Page(document.render(one))
    assert [view["label"] for view in less.payload["views"]] == ["sample 0", "sample 1", "sample 4"]
    assert "3 more structures" in less.text


def test_the_report_of_a_hundred_thousand_atoms_stays_under_20_mb(tmp_path):
    atoms = diamond(23)  # 97,336
    rattled = atoms.with_positions(atoms.positions + np.random.default_rng(0).normal(
        0, 0.05, atoms.positions.shape))
    found = document.Document("large", views=tuple(
        document.View(f"sample {k}", "as sampled", rattled) for k in range(2)))
    write_document(found, tmp_path / "report.html", tmp_path)
    assert (tmp_path / "report.html").stat().st_size < 20e6
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "cut-out of 5,000 of them" in text and "all 97,336 atoms" in text
    views = json.loads(re.search(r'id="payload">(.*?)</script>', text, re.DOTALL)[1])["views"]
    positions = np.array(views[0]["xyz"]).reshape(-1, 3)
    assert len(positions) == 5000
    middle = rattled.cell.sum(axis=0) / 2
    edge = (5000 / len(rattled) * rattled.volume) ** (1 / 3)  # of the cube that holds so many
    np.testing.assert_allclose(np.abs(positions - middle).max(axis=0), edge / 2, rtol=0.05)


def test_a_slice_holds_the_atoms_near_the_middle_plane():
    rng = np.random.default_rng(1)
    cell = np.array([[20.0, 0, 0], [6, 18, 0], [-4, 5, 7]])
    structure = Structure(rng.uniform(0, 1, (900, 3)) @ cell, np.full(900, 6), cell)
    found = slices.slice_of(structure, 2.0)
    height = cell[2, 2]
    assert set(found.atoms) == set(np.flatnonzero(np.abs(structure.positions[:, 2] - height / 2)
                                                  <= 1.0))
    assert (np.diff(found.depth) >= 0).all()
    # An atom in the middle of the cell is in the middle of the drawing.
    centre = structure.with_positions(np.tile(cell.sum(axis=0) / 2, (900, 1)))
    np.testing.assert_allclose(slices.slice_of(centre).places[0],
                               found.outline.mean(axis=0), atol=1e-9)
    # Distances within the plane are kept.
    one, other = structure.positions[found.atoms[[0, -1]], :2]
    assert np.linalg.norm(found.places[0] - found.places[-1]) == pytest.approx(
        np.linalg.norm(one - other))


def test_shares_are_drawn_with_their_sum():
    blocks = {block.name: block for block in report_figures(content())}
    lines = {line.get_label(): line.get_ydata() for line in blocks["shares"].figure.axes[0].lines}
    np.testing.assert_allclose(
        lines["2-coordinated"] + lines["3-coordinated"] + lines["4-coordinated"], lines["sum"])
    assert "other" not in lines


def test_a_sample_has_one_colour_although_another_failed_to_relax():
    x = np.linspace(0, 1, 5)
    figure = plots.plot_curves({"as sampled": {"a": (x, x), "b": (x, x)}, "relaxed": {"b": (x, x)}},
                               "x", "y")
    sampled, relaxed = figure.axes
    assert sampled.lines[1].get_color() == relaxed.lines[0].get_color()
    assert sampled.lines[0].get_color() != sampled.lines[1].get_color()


def test_table_entries_are_short():
    assert format_cell(0.123456) == "0.1235"
    assert format_cell(None) == format_cell(float("nan")) != "None"
    assert format_cell(12345) == "12345"


def test_curves_of_zeros_are_drawn_without_a_warning(tmp_path, recwarn):
    """A cell of one atom has one spectrum: nothing spreads, and no logarithm is to be had."""
    sigma, zeros = np.array([0.1, 1.0]), np.zeros(2)
    plots.save_figure(plots.plot_calibration(sigma, zeros, zeros, 0.0, 0.1), tmp_path / "a.png")
    plots.save_figure(plots.plot_convergence({"0": (sigma, zeros)}), tmp_path / "b.png")
    assert [str(w.message) for w in recwarn] == []
