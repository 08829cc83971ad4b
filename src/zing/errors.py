"""The error tree. A docstring is the default message; no HTTP number lives here.

ZingError
├── Refused             the user's turn: nothing was started, nothing is charged
│   ├── BadPrompt
│   ├── BadSize
│   ├── BadSeed
│   ├── BadSteps
│   ├── BadFile         a file to read or write that cannot be
│   ├── BadSetting
│   ├── UnknownModel
│   └── BadCheckpoint   a model folder that is not what it should be
└── Failed              our turn: it was accepted and did not work
    ├── BadPicture
    └── OutOfMemory
"""

import inspect


class ZingError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (inspect.getdoc(type(self)) or "").splitlines()[0])


class Refused(ZingError):
    """The request cannot be taken as it is."""


class BadPrompt(Refused):
    """The prompt cannot be used."""


class BadSize(Refused):
    """The size cannot be used."""


class BadSeed(Refused):
    """The seed cannot be used."""


class BadSteps(Refused):
    """The number of steps cannot be used."""


class BadFile(Refused):
    """The file cannot be used."""


class BadSetting(Refused):
    """The setting cannot be used."""


class UnknownModel(Refused):
    """There is no model of this name."""


class BadCheckpoint(Refused):
    """The checkpoint cannot be loaded."""


class Failed(ZingError):
    """The work was accepted and did not succeed."""


class OutOfMemory(Failed):
    """There is not enough memory for this model or this size; try a smaller size or model."""


class BadPicture(Failed):
    """The model gave values that are no picture; nothing was kept."""
