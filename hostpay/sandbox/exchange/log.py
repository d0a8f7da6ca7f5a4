"""One line per event on standard output: event=name key=value ..."""

import json
import sys
import threading

_lock = threading.Lock()


def log(event: str, **keys: str | int | None) -> None:
    """Values with blanks or quotes are written as JSON strings. Never give it a key or a secret."""
    parts = [f"event={event}", *(f"{name}={_value(value)}" for name, value in keys.items() if value is not None)]
    with _lock:
        sys.stdout.write(" ".join(parts) + "\n")
        sys.stdout.flush()


def _value(value: str | int) -> str:
    text = str(value)
    plain = text.isascii() and text.isprintable() and not set(text) & set(' "=')
    return text if plain and text else json.dumps(text)
