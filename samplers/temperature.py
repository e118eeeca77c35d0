"""The knob of guidance by a spectrum; see :mod:`samplers.guides.spectrum`."""

TEMPERATURE = 0.1
"""By which the log-likelihood of a spectrum is divided; 1 is the posterior."""
