"""Step-up: what gives much away asks for the password again, unless it was given in this very session just now."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.http import HttpRequest

from config.lib import clock
from payouts.services import forgive_login, take_turn_to_log_in

logger = logging.getLogger(__name__)

GOOD_FOR = timedelta(minutes=5)
_KEY = "proved_at"


def is_proved(request: HttpRequest) -> bool:
    """Whether the password was given in this session within the last five minutes, by the database's clock."""
    stored = request.session.get(_KEY)
    if stored is None:
        return False
    return timedelta(0) <= clock.now() - datetime.fromisoformat(stored) <= GOOD_FOR


def remember_proof(request: HttpRequest) -> None:
    """The password was given just now, at the log-in."""
    request.session[_KEY] = clock.now().isoformat()


def prove(request: HttpRequest, password: str) -> str:
    """Why `password` proves nothing, in a sentence; empty, and remembered, if it is the one of who is logged in.

    As slow for who guesses as the log-in is: a session that was left open is no way around it.
    """
    username, address = request.user.get_username(), str(request.META.get("REMOTE_ADDR", ""))
    wait_s = take_turn_to_log_in(username=username, address=address)
    if wait_s:
        logger.warning("step-up refused: too many failed tries", extra={"user": username})
        minutes = -(-wait_s // 60)
        return f"Too many tries. Wait {minutes} {'minute' if minutes == 1 else 'minutes'}."
    if not request.user.check_password(password):
        logger.warning("step-up failed", extra={"user": username})
        return "This is not your password."
    forgive_login(username=username, address=address)
    # Whoever else has the old session's key has nothing by this proof.
    request.session.cycle_key()
    remember_proof(request)
    return ""
