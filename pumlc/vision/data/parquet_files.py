"""What every reading of Parquet needs: the library, its errors, the column of pictures."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pumlc.errors import UserError

_IMAGES = ("image", "file_name", "path", "img")


def require_pyarrow(path: Path | str) -> Any:
    """The library.

    Raises:
        UserError: it is not installed; the message names the file that needs it.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UserError(f"{path}: Parquet needs pyarrow: pip install 'pumlc[formats]'") from error
    return pyarrow


@contextmanager
def as_user_error(arrow: Any, file: Path | str) -> Iterator[None]:
    """Inside, what the library says of a damaged file is an error of the file."""
    try:
        yield
    except UserError:
        raise
    except (arrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file}: not readable as Parquet ({error})") from error


def image_column(schema: Any) -> str | None:
    """Name of the column of pictures, if there is one."""
    return next((name for name in _IMAGES if name in schema.names), None)


def has_fields(schema: Any, column: str, *names: str) -> bool:
    """Whether a column is a struct that has some fields."""
    kind = schema.field(column).type
    return set(names) <= {kind.field(number).name for number in range(kind.num_fields)}
