"""What the server refuses, each with its HTTP status and one sentence."""

from collections.abc import Mapping

from engine.errors import KouboError


class Refusal(KouboError):
    """A request that cannot be served; `status` and `headers` go into the HTTP response."""

    status = 400

    def __init__(self, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.headers = dict(headers or {})


class BadRequest(Refusal):
    """The body cannot be read."""

    status = 400


class Unauthorized(Refusal):
    """No token, or one that is not known."""

    status = 401


class Forbidden(Refusal):
    """A good token that does not reach that far."""

    status = 403


class NotFound(Refusal):
    """There is nothing of that name."""

    status = 404


class NotAcceptable(Refusal):
    """The offer is well formed, but nothing in it can be served."""

    status = 406


class TooSlow(Refusal):
    """The request did not come whole in time."""

    status = 408


class Conflict(Refusal):
    """The place is taken."""

    status = 409


class Gone(Refusal):
    """What was asked for is lost for good."""

    status = 410


class PreconditionFailed(Refusal):
    """The entity tag is not the current one."""

    status = 412


class TooLarge(Refusal):
    """The body is larger than any honest one."""

    status = 413


class WrongMediaType(Refusal):
    """The body is of another content type."""

    status = 415


class Unprocessable(Refusal):
    """The body can be read, but not be followed."""

    status = 422


class PreconditionRequired(Refusal):
    """An If-Match header is needed."""

    status = 428


class TooMany(Refusal):
    """The client asks faster than it can be served."""

    status = 429


class Busy(Refusal):
    """The server is full for now."""

    status = 503


class NoRoom(Refusal):
    """The disk is too full."""

    status = 507
