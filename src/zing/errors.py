"""The error tree. A docstring is the default message; no HTTP number lives here.

ZingError
├── Refused                 the caller's turn: nothing was started, nothing is charged
│   ├── BadInput            a field of the request; `field` names it in the caller's words
│   │   ├── BadPrompt
│   │   ├── BadSize
│   │   ├── BadSeed
│   │   ├── BadSteps
│   │   ├── BadField        any other field
│   │   ├── BadCallback     a callback URL that will never be called
│   │   └── UnknownModel
│   ├── BadBody             not the JSON or the form that it should be
│   ├── BadContentType
│   ├── BodyTooLarge
│   ├── UnknownRoute
│   ├── WrongMethod
│   ├── BadKey              none, or none that is known here
│   ├── KeyEnded            expired or revoked
│   ├── KeyDisabled
│   ├── KeyDenied           the key may not do this, or not by this API
│   ├── ModelDenied         the key may not use this model
│   ├── InsufficientCredits
│   ├── KeyCapReached
│   ├── KeyDailyCapReached
│   ├── RateLimited
│   ├── QueueFull
│   ├── Unavailable         maintenance, or no engine that may do this
│   ├── SwitchedOff         the operator takes no new tasks by this API
│   ├── UnknownTask         also another account's
│   ├── NotCancellable
│   ├── IdempotencyInFlight
│   ├── IdempotencyConflict
│   ├── BadFile             a file to read or write that cannot be
│   ├── BadSetting
│   ├── UnknownAccount
│   ├── UnknownKey
│   ├── LastKey             without this key nobody could administer from elsewhere
│   ├── BadCheckpoint       a model folder that is not what it should be
│   └── Forbidden           an address that nothing is sent to
└── Failed                  our turn: it was accepted and did not work; nothing is charged
    ├── Blocked             safety
    ├── Unreadable          what was asked for is kept in a form that this version cannot read
    ├── BadPicture          no picture came out
    ├── WrongSize           one came out, of another size
    ├── NotEncoded
    ├── StorageFull
    ├── OutOfMemory
    ├── TimedOut
    ├── EngineFailed
    ├── EngineLost          its worker died, again and again
    ├── ModelGone           nobody draws with its model any more
    ├── Cancelled
    ├── Unreachable         another server did not answer as it should
    └── Internal
"""

import inspect


class ZingError(Exception):
    """Something went wrong."""

    def __init__(
        self, message: str | None = None, *, field: str = "", retry_after_s: int = 0
    ) -> None:
        super().__init__(message or (inspect.getdoc(type(self)) or "").splitlines()[0])
        self.field = field
        self.retry_after_s = retry_after_s


class Refused(ZingError):
    """The request cannot be taken as it is."""


class BadInput(Refused):
    """A field of the request cannot be used."""


class BadPrompt(BadInput):
    """The prompt cannot be used."""


class BadSize(BadInput):
    """The size cannot be used."""


class BadSeed(BadInput):
    """The seed cannot be used."""


class BadSteps(BadInput):
    """The number of steps cannot be used."""


class BadField(BadInput):
    """The field cannot be used."""


class BadCallback(BadInput):
    """The callback URL cannot be used."""


class UnknownModel(BadInput):
    """There is no model of this name."""


class BadBody(Refused):
    """The body is not what this address reads."""


class BadContentType(Refused):
    """The Content-Type is not one that this address reads."""


class BodyTooLarge(Refused):
    """The body is too large."""


class UnknownRoute(Refused):
    """There is nothing at this address."""


class WrongMethod(Refused):
    """This address does not take this method."""


class BadKey(Refused):
    """The API key is missing or not known."""


class KeyEnded(Refused):
    """The API key has expired or was revoked."""


class KeyDisabled(Refused):
    """The API key is disabled."""


class KeyDenied(Refused):
    """The API key may not do this."""


class ModelDenied(Refused):
    """The API key may not use this model."""


class InsufficientCredits(Refused):
    """The balance does not cover this task."""


class KeyCapReached(Refused):
    """The API key has spent all it may spend."""


class KeyDailyCapReached(Refused):
    """The API key has spent all it may spend today."""


class RateLimited(Refused):
    """Too many requests; try again later."""

    def __init__(
        self,
        message: str | None = None,
        *,
        field: str = "",
        retry_after_s: int = 0,
        count: int = 0,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(message, field=field, retry_after_s=retry_after_s)
        # The rate that was passed, where it is one: so many in so many seconds.
        self.count = count
        self.seconds = seconds


class QueueFull(Refused):
    """The queue is full; try again later."""


class Unavailable(Refused):
    """The service cannot take this now."""


class SwitchedOff(Refused):
    """This API takes no new tasks here."""


class UnknownTask(Refused):
    """There is no task of this id."""


class NotCancellable(Refused):
    """The task has ended and cannot be cancelled."""


class IdempotencyInFlight(Refused):
    """The first request with this idempotency key is not finished yet."""


class IdempotencyConflict(Refused):
    """This idempotency key came with another request before."""


class BadFile(Refused):
    """The file cannot be used."""


class BadSetting(Refused):
    """The setting cannot be used."""


class UnknownAccount(Refused):
    """There is no account of this id."""


class UnknownKey(Refused):
    """There is no key of this id."""


class LastKey(Refused):
    """No active key with the scope admin would be left; make another one first."""


class BadCheckpoint(Refused):
    """The checkpoint cannot be loaded."""


class Forbidden(Refused):
    """Nothing is sent to this address."""


class Failed(ZingError):
    """The work was accepted and did not succeed."""


class Blocked(Failed):
    """The request was blocked by the safety filter."""


class Unreadable(Failed):
    """What was asked for cannot be read; nothing was charged."""


class BadPicture(Failed):
    """The model gave values that are no picture; nothing was kept."""


class WrongSize(Failed):
    """The model gave a picture of another size; nothing was kept."""


class NotEncoded(Failed):
    """The picture could not be written in its format; nothing was charged."""


class StorageFull(Failed):
    """There is no room to keep the picture; nothing was charged."""


class OutOfMemory(Failed):
    """There is not enough memory for this model or this size; try a smaller size or model."""


class TimedOut(Failed):
    """The task took longer than it may."""


class EngineFailed(Failed):
    """The engine failed; nothing was charged."""


class EngineLost(Failed):
    """The engine stopped each time it drew this; nothing was charged."""


class ModelGone(Failed):
    """The model that this was asked of is no longer served; nothing was charged."""


class Cancelled(Failed):
    """The task was cancelled."""


class Unreachable(Failed):
    """The other server did not answer as it should."""


class Internal(Failed):
    """Something went wrong inside; nothing was charged."""


def leaves(root: type[ZingError] = ZingError) -> list[type[ZingError]]:
    """Every error below `root` that has none below itself, in the order of the tree."""
    below = root.__subclasses__()
    return [leaf for each in below for leaf in leaves(each)] if below else [root]


def named(name: str) -> type[ZingError]:
    """The error class of this name; Internal where a name is none of the tree's."""
    return next((leaf for leaf in leaves() if leaf.__name__ == name), Internal)
