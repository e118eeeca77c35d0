"""Structure -> spectrum models, and the observation model between them and measured data.

Where to look first:

- what a surrogate is: ``base``, ``protocol``; found by name or path: ``loading``
- families: ``kernel`` (on ``descriptor``, weighed by ``relevance``), ``model`` (equivariant,
  elements by ``element_embedding``), ``committee`` of both, ``frozen`` (heads on
  ``matgl_features``)
- what is trained on: ``datasets``, ``material_sites``, ``feff``, all of them by ``training_data``;
  who is left out: ``splits``, ``left_out``, ``training_split``; the training: ``training``,
  ``site_loss``, ``frozen_training``
- how sure it is: ``calibration`` (deviations), ``domain`` (strangers)
- how good it is: ``metrics``, ``evaluation``
- measured data: ``observation``, ``nuisances``, ``broadening``, ``targets``, ``pi_star``
- commands: ``prediction``, ``comparison``, ``decks`` and ``collection`` (new labels),
  ``description`` (a spectrum without a structure), ``properties`` (other numbers than spectra)
"""
