"""Why a request is not answered: what is raised anywhere in the service, and shaped where a dialect answers."""

from __future__ import annotations

from minibert.errors import InputError, MinibertError, UnsupportedError


class Refusal(MinibertError):  # noqa: N818 - half of them are no errors, but too much at once
    """A request that is refused.

    Attributes:
        status: of HTTP, where the dialect has none of its own for it.
        code: what clients can tell apart: one of the words that the subclasses have.
        retry_after: seconds after which to ask again; None for never.
        headers: to be sent along, whatever the dialect.
    """

    status = 400
    code = "invalid_request"
    retry_after: int | None = None
    headers: tuple[tuple[bytes, bytes], ...] = ()


class WrongField(Refusal):
    """A field of the body is missing, or is not what it should be.

    Args:
        message: for people.
        field: which one; None for the body itself.
    """

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class TooMuch(Refusal):
    """More bytes, texts or tokens than one request may have."""

    status = 413
    code = "too_large"


class CannotDo(Refusal):
    """The model is none for this."""

    code = "unsupported"


class NoSuchModel(Refusal):
    """No model of that name is served."""

    status = 404
    code = "model_not_found"


class Overloaded(Refusal):
    """As much is waiting as may wait."""

    status = 429
    code = "overloaded"
    retry_after = 1


class Stopping(Refusal):
    """The service is about to end."""

    status = 503
    code = "stopping"
    retry_after = 5


class OutOfMemory(Refusal):
    """There is not enough memory for this, now."""

    status = 503
    code = "memory"
    retry_after = 5


class HttpRefusal(Refusal):
    """What HTTP itself has a status for: no such path, no key, a body of another type.

    Args:
        status: of HTTP.
        code: what clients can tell apart.
        message: for people.
        headers: to be sent along.
    """

    def __init__(self, status: int, code: str, message: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(message)
        self.status, self.code, self.headers = status, code, headers


def refused(error: BaseException) -> Refusal:
    """What a client is told of an error; of what is not its fault no more than what kind of error it was."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, UnsupportedError):
        return CannotDo(str(error))
    if isinstance(error, InputError):
        return WrongField(str(error))
    if isinstance(error, MemoryError):
        return OutOfMemory("there is not enough memory for this")
    return HttpRefusal(500, "internal", f"the service failed: {type(error).__name__}")
