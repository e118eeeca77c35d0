"""Errors that teach: "must be X, received Y", then the remedy, in one line.

The command line turns :class:`InputError` into exit code 2 and :class:`RunError` into exit code 1,
both without a traceback; any other exception is a defect of ours and shows its traceback.
"""


class InputError(ValueError):
    """What the user gave cannot be used; nothing was computed and nothing was written."""


class RunError(RuntimeError):
    """A computation failed while it ran; what it had finished is valid and stays."""
