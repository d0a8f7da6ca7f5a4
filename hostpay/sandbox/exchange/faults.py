"""Rules for misbehaving on purpose: which requests they meet, and what happens to the answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Any

from hostpay.sandbox.exchange.numbers import Json, Raw, dumps
from hostpay.sandbox.exchange.outcomes import Outcome
from hostpay.sandbox.exchange.store import Store

HTML = "<!DOCTYPE html><html><head><title>Just a moment...</title></head><body>Checking your browser</body></html>"


class Fault(StrEnum):
    DELAY = "delay"
    SERVER_ERROR = "5xx"
    TOO_MANY = "429"
    ERROR = "error"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    DROP_BEFORE = "drop_before"
    DROP_AFTER = "drop_after"
    HTML_200 = "html_200"
    EMPTY_200 = "empty_200"
    TRUNCATED = "truncated"
    MISSING = "missing"
    MISSING_PAYIN = "missing_payin"
    WRONG_ECHO = "wrong_echo"


BEFORE = frozenset(
    {Fault.SERVER_ERROR, Fault.TOO_MANY, Fault.ERROR, Fault.TIMEOUT_BEFORE, Fault.DROP_BEFORE, Fault.HTML_200}
)
SILENT = frozenset({Fault.TIMEOUT_BEFORE, Fault.TIMEOUT_AFTER, Fault.DROP_BEFORE, Fault.DROP_AFTER})
MATCH_KEYS = frozenset({"path", "method", "nth", "times"})
RULE_KEYS = frozenset({"match", "fault", "outcome", "seconds", "status", "code", "message", "retry_after", "fields"})
RULE_KEYS |= {"field", "value", "raw"}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A rule as it was given. `fault` is None for one that only gives new exchanges an outcome."""

    fault: Fault | None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def outcome(self) -> Mapping[str, Any]:
        return dict(self.options.get("outcome", {}))

    @property
    def seconds(self) -> Decimal | None:
        """How long to wait, where the rule says so."""
        return Decimal(str(self.options["seconds"])) if "seconds" in self.options else None

    def spoil(self, body: Json) -> str:
        """The answer's text after this rule is done with it."""
        match self.fault:
            case Fault.EMPTY_200:
                return ""
            case Fault.TRUNCATED:
                return dumps(body)[: len(dumps(body)) // 2]
            case Fault.MISSING | Fault.MISSING_PAYIN if isinstance(body, Mapping):
                gone = self.options.get("fields", ["payinAddress"])
                return dumps({name: value for name, value in body.items() if name not in gone})
            case Fault.WRONG_ECHO if isinstance(body, Mapping):
                value = Raw(self.options["raw"]) if "raw" in self.options else self.options["value"]
                return dumps({**body, self.options["field"]: value})
            case _:
                return dumps(body)

    def refusal(self) -> tuple[int, str, dict[str, str]]:
        """Status, text and headers of a fault that answers instead of the API."""
        if self.fault is Fault.HTML_200:
            return 200, HTML, {"Content-Type": "text/html; charset=utf-8"}
        if self.fault is Fault.TOO_MANY:
            headers = {"Retry-After": str(self.options["retry_after"])} if "retry_after" in self.options else {}
            return 429, dumps({"error": "too_many_requests", "message": "Too many requests"}), headers
        if self.fault is Fault.SERVER_ERROR:
            return int(self.options.get("status", 503)), "upstream connect error", {"Content-Type": "text/plain"}
        code, message = self.options.get("code", "not_valid_params"), self.options.get("message", "Not valid")
        return int(self.options.get("status", 400)), dumps({"error": code, "message": message}), {}


def add(store: Store, given: Mapping[str, Any]) -> None:
    """Takes a rule in. Raises ValueError that names what is wrong with it."""
    match = given.get("match", {})
    if unknown := sorted((set(given) - RULE_KEYS) | (set(match) - MATCH_KEYS)):
        raise ValueError(f"no such key in a rule: {', '.join(unknown)}")
    if "fault" not in given and "outcome" not in given:
        raise ValueError("a rule needs a fault or an outcome")
    if "fault" in given:
        fault = Fault(given["fault"])
        if fault is Fault.WRONG_ECHO and not ("field" in given and ("value" in given or "raw" in given)):
            raise ValueError("wrong_echo needs field, and value or raw")
    Outcome.parse(given.get("outcome", {}))
    store.insert("faults", rule=dumps(dict(given)))


def applying(store: Store, method: str, path: str) -> Rule | None:
    """The first rule that meets this request; counts the request for every rule that could."""
    chosen = None
    with store.transaction():
        for row in store.rows("SELECT * FROM faults ORDER BY id"):
            rule = json.loads(row["rule"], parse_float=Decimal)
            if not _matches(rule.get("match", {}), method, path):
                continue
            seen = row["seen"] + 1
            hit = chosen is None and _in_turn(rule.get("match", {}), seen)
            store.execute("UPDATE faults SET seen = ?, used = used + ? WHERE id = ?", seen, int(hit), row["id"])
            if hit:
                fault = Fault(rule["fault"]) if "fault" in rule else None
                chosen = Rule(fault=fault, options=rule)
    return chosen


def listed(store: Store) -> Json:
    """Every rule, with how many requests it could have met and how many it did."""
    return [
        {**json.loads(row["rule"], parse_float=Decimal), "seen": row["seen"], "used": row["used"]}
        for row in store.rows("SELECT * FROM faults ORDER BY id")
    ]


def _matches(match: Mapping[str, Any], method: str, path: str) -> bool:
    wanted = match.get("path", "*")
    fits = path.startswith(wanted[:-1]) if wanted.endswith("*") else path == wanted
    return fits and match.get("method", method) == method


def _in_turn(match: Mapping[str, Any], seen: int) -> bool:
    """`nth` is the first request met (1 is the next), `times` how many in a row; null is for ever."""
    first, times = match.get("nth", 1), match.get("times", 1)
    return seen >= first and (times is None or seen < first + times)
