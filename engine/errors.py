"""The errors a user can act on. Their text is one sentence: what is wrong, what to do."""


class KouboError(Exception):
    """Base of every error that is the user's to solve; shown without a traceback."""


class BadMediaError(KouboError):
    """A sound or video file cannot be used."""


class AvatarError(KouboError):
    """An avatar package is missing, damaged or of another schema."""


class NoFaceError(KouboError):
    """A picture or video holds no usable face."""


class MissingToolError(KouboError):
    """A program, package or file that this command needs is not installed."""
