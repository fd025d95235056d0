"""The one kind of error that a person can mend."""


class UserError(ValueError):
    """A setting, a file or an option that a person can mend.

    The command line shows it in one line and exits with status 2. The message says what was got,
    what is valid, and which file, row or option it is about. Every other exception keeps its type,
    cause and traceback: it is a fault of the program.
    """
