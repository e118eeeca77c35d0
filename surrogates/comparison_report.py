"""Figures and page of a comparison: one HTML file that opens from disk without a network."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from surrogates.observation import Fit, Observation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from surrogates.comparison import ComparisonRow

DRAWN = 8
"""Curves in the figure of spectra; more cannot be told apart."""
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#6a3d9a", "#8c6d31")

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Structures against a spectrum</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1050px; margin: 2em auto; padding: 0 1em;
       color: #222 }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em }
img { max-width: 100% }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #ddd }
td.text, th.text { text-align: left }
td.notes { white-space: normal; min-width: 16em; text-align: left }
</style></head><body>
<h1>Structures against a spectrum</h1>
<p>{{ s.reason }} Surrogate {{ s.surrogate }}, edge {{ s.edge }}; window
{{ "%g"|format(s.window[0]) }} to {{ "%g"|format(s.window[1]) }} eV
{%- for low, high in s.exclude %}, without {{ "%g"|format(low) }} to {{ "%g"|format(high) }} eV
{%- endfor %}. The residual is the root mean square of target minus prediction over the window,
{% if s.target_kind == "measured" -%}
in edge steps, after shift, stretch, broadening, scale and a smooth envelope were fitted to each
structure.
{%- else -%} in the surrogate's units; nothing was fitted. {%- endif %}
The target itself varies by {{ "%.3f"|format(s.target_spread) }} (standard deviation).</p>
<img alt="Target and predicted spectra" src="data:image/png;base64,{{ images["spectra.png"] }}">
<h2>Ranking</h2>
<div class="wide"><table><tr><th>rank</th><th class="text">structure</th><th>residual</th>
<th>Δ ln posterior</th><th>g/cm³</th>
{%- for key in ("2", "3", "4") %}<th>{{ key }}-fold, %</th>{% endfor %}
{%- for name in rows[0].nuisances %}<th>{{ name }}</th>{% endfor %}
{%- if notes %}<th class="text">notes</th>{% endif %}</tr>
{%- for row in rows %}
<tr><td>{{ row.rank }}</td><td class="text">{{ row.label }}</td>
<td>{{ "%.4f"|format(row.residual) }}</td><td>{{ "%.1f"|format(row.delta_log_posterior) }}</td>
<td>{{ "%.2f"|format(row.density) }}</td>
{%- for key in ("2", "3", "4") %}<td>{{ "%.1f"|format(100 * row.coordination[key]) }}</td>
{%- endfor %}
{%- for name, value in row.nuisances.items() %}
<td>{{ "%.3f"|format(value) }} ± {{ "%.3f"|format(row.nuisances_sigma[name]) }}</td>{% endfor %}
{%- if notes %}<td class="notes">{{ row.notes | join("; ") }}</td>{% endif %}</tr>
{%- endfor %}</table></div>
<img alt="Residual against density" src="data:image/png;base64,{{ images["residuals.png"] }}">
{% if s.priors %}<h2>What the experiment does not fix</h2>
<p>Nuisances have Gaussian priors within bounds; their uncertainties count prior and data.
{%- if s.reference %} Reference: {{ s.reference }}.{% endif %}</p>
<table><tr><th class="text">nuisance</th><th>prior</th><th>bounds</th><th class="text">unit</th>
</tr>{% for n in s.priors %}<tr><td class="text">{{ n.name }}</td>
<td>{{ "%.3f"|format(n.mean) }} ± {{ "%.3f"|format(n.width) }}</td>
<td>{{ "%.3f"|format(n.lower) }} to {{ "%.3f"|format(n.upper) }}</td>
<td class="text">{{ n.unit }}</td></tr>{% endfor %}</table>{% endif %}
{% if s.pi_star %}<h2>Classical π* estimate</h2>
<p>Share of π* ({{ "%g"|format(s.pi_star.pi_star[0]) }} to
{{ "%g"|format(s.pi_star.pi_star[1]) }} eV) in the absorption up to
{{ "%g"|format(s.pi_star.total[1]) }} eV: {{ "%.3f"|format(s.pi_star.share) }} against
{{ "%.3f"|format(s.pi_star.reference_share) }} of the reference ({{ s.pi_star.reference }}, through
the best structure's nuisances): <b>sp² {{ "%.2f"|format(s.pi_star.fraction) }}</b>. Two-fold atoms
carry two π* orbitals and count twice, so it may exceed one.</p>{% endif %}
</body></html>
"""


def draw_spectra(observation: Observation, rows: list[ComparisonRow],
                 fits: Mapping[str, Fit]) -> Figure:
    """Target in black, the best structures in colour, the window shaded."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axis = figure.subplots()
    axis.axvspan(*observation.window, color="0.94", lw=0)
    for low, high in observation.exclude:
        axis.axvspan(low, high, color="white", lw=0)
    for row, colour in zip(rows[:DRAWN], COLOURS, strict=False):
        axis.plot(observation.energy, fits[row.label].full_prediction, color=colour, lw=1.4,
                  label=f"{row.label} ({row.residual:.3f})")
    axis.plot(observation.energy, observation.target, color="black", lw=1.8, label="target")
    measured = observation.kind == "measured"
    axis.set(xlabel="energy, eV", xlim=(observation.energy[0], observation.energy[-1]),
             ylabel="absorption, edge steps" if measured else "absorption, surrogate's units")
    more = f" of {len(rows)}" if len(rows) > DRAWN else ""
    axis.legend(frameon=False, fontsize=8,
                title=f"best {min(DRAWN, len(rows))}{more} (residual)")
    return figure


def draw_residuals(observation: Observation, rows: list[ComparisonRow]) -> Figure:
    """Residual against density, with half the target's own spread as the line of failure."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axis = figure.subplots()
    axis.axhline(0.5 * observation.spread, color="0.5", lw=1, ls="--",
                 label="half the target's standard deviation")
    axis.plot([row.density for row in rows], [row.residual for row in rows], "o",
              color=COLOURS[0])
    axis.set(xlabel="density, g/cm³", ylabel="residual, rms", ylim=(0, None))
    axis.legend(frameon=False, fontsize=8)
    return figure


def render(figures: Path, rows: list[ComparisonRow], summary: Mapping[str, Any]) -> str:
    """The page, figures embedded; every user's string is escaped.

    Parameters
    ----------
    figures : folder with spectra.png and residuals.png
    rows : best first
    summary : what compare.json holds
    """
    from jinja2 import Environment

    images = {name: base64.b64encode((figures / name).read_bytes()).decode()
              for name in ("spectra.png", "residuals.png")}
    return Environment(autoescape=True).from_string(PAGE).render(
        s=summary, rows=rows, images=images, notes=any(row.notes for row in rows))
