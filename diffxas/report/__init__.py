"""The report: one HTML file that opens from disk, without a network.

Figures stand in it as PNG, structures as numbers, and the viewer that turns them (3Dmol.js, BSD-3;
N. Rego and D. Koes, "3Dmol.js: molecular visualization with WebGL", Bioinformatics 31, 1322 (2015))
as the JavaScript file of this package. :mod:`diffxas.report.document` knows tables, figures and
structures; :mod:`diffxas.report.generated` says what a run of ``generate`` shows.
"""

from diffxas.report.document import Document, FigureBlock, Section, Table, View, write_document
from diffxas.report.generated import (
    DensityPreference,
    NuisanceRow,
    ReportContent,
    SampleContent,
    UnguidedContent,
    report_figures,
    write_report,
)

__all__ = ["DensityPreference", "Document", "FigureBlock", "NuisanceRow", "ReportContent",
           "SampleContent", "Section", "Table", "UnguidedContent", "View", "report_figures",
           "write_document", "write_report"]
