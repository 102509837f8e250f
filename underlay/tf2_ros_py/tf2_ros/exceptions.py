"""Why a transform could not be given."""


class TransformException(Exception):
    """Base of everything that a lookup raises."""


class LookupException(TransformException):
    """A frame is not known, or the frames form a loop."""


class ConnectivityException(TransformException):
    """Both frames are known, but no chain of transforms connects them."""


class ExtrapolationException(TransformException):
    """The frames are connected, but not at the requested time."""


class InvalidArgumentException(TransformException):
    """A frame name that cannot be one: empty, or with a leading slash."""


class TimeoutException(TransformException):
    """A server did not answer in time; lookups in a buffer raise what is missing instead."""
