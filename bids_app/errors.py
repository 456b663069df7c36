"""The mistakes that a user can make or meet, each with its exit code (BIDS App execution specification, draft)."""


class PellucidError(Exception):
    """One clear message with what to do; the command line prints it without a traceback and exits with `code`."""

    code = 70


class FailedError(PellucidError):
    """Some of the work failed; what is finished is kept."""

    code = 1


class NotBidsError(PellucidError):
    """The folder is not a BIDS data set."""

    code = 16


class NothingSelectedError(PellucidError):
    """The selection matches nothing."""

    code = 18


class UsageError(PellucidError):
    """The command line or a settings file asks for what cannot be."""

    code = 64


class DataError(PellucidError):
    """An input is there but cannot be used."""

    code = 65


class NotEnoughMemoryError(DataError):
    """The data are larger than what can be computed here."""


class MissingInputError(PellucidError):
    """An input that the run needs is not there."""

    code = 66


class CannotWriteError(PellucidError):
    """An output folder cannot be written."""

    code = 73


class BusyError(CannotWriteError):
    """Another run is writing the same outputs."""
