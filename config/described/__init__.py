"""Examples and refusals of every operation of the API, added to the OpenAPI document after the views described it."""

from config.described.document import complete

__all__ = ("complete",)
