"""Small files of the sandbox's state, whole or not there at all."""

import os
import tempfile
from pathlib import Path


def write_atomically(path: Path, text: str) -> None:
    """Replaces the file, readable by its owner only. A crash leaves the old content or the new."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def secret(path: Path, fresh: str) -> str:
    """The secret kept in the file; `fresh` is written there first when there is none."""
    if not path.is_file():
        write_atomically(path, fresh + "\n")
    return path.read_text().strip()
