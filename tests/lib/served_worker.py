"""The web server's worker for tests: it waits for a silent or a slow sender only as long as a test does."""

from __future__ import annotations

from config import web_worker


class Worker(web_worker.Worker):
    PATIENCE_S = 2
    READ_WITHIN_S = 4
