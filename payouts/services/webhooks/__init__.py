"""Telling others of a payment's life: the outbox, and who empties it."""
