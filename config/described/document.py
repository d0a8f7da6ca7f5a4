"""The document is completed: how to begin, what the proofs are called, examples, and every refusal with its codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.described import batches, clients, payments, webhooks
from config.described.guide import GUIDE, SUMMARIES, TAGS
from config.described.operation import TOO_MANY, Refusal, Said
from config.lib.openapi import COMPONENTS
from config.lib.problems import CONTENT_TYPE, TITLES, FieldError, problem_fields

SAID: dict[str, Said] = {**payments.SAID, **clients.SAID, **batches.SAID, **webhooks.SAID}
_JSON = "application/json"
_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_FIELD_ERROR = FieldError("reason", "required", "is required")


def complete(result: dict[str, Any], **_context: Any) -> dict[str, Any]:
    """drf-spectacular's hook after the document is made.

    Raises:
        KeyError: an operation of which nothing is said here.
    """
    result["info"]["description"] = GUIDE
    result["tags"] = [{"name": name, "description": said} for name, said in TAGS]
    for kind, components in COMPONENTS.items():
        result["components"].setdefault(kind, {}).update(components)
    shared: dict[str, dict[str, Any]] = {}
    for path, operations in result["paths"].items():
        for operation in operations.values():
            said = SAID[operation["operationId"]]
            if "summary" not in operation:
                operation["summary"] = SUMMARIES[operation["operationId"]]
            _give_examples(operation, said)
            _say_how_it_refuses(operation, {*_brought_along(path, operation), *said.refusals}, shared)
    result["components"]["responses"] = dict(sorted(shared.items()))
    return result


def _give_examples(operation: dict[str, Any], said: Said) -> None:
    """Those that the view gives itself stay."""
    if said.request is not None:
        _give_one(operation["requestBody"]["content"], said.request)
    for status, answer in said.answers.items():
        _give_one(operation["responses"][str(status)]["content"], answer)


def _give_one(content: dict[str, Any], example: Any) -> None:
    if "examples" not in content[_JSON]:
        content[_JSON]["examples"] = {"Example": {"value": example}}


def _brought_along(path: str, operation: dict[str, Any]) -> Iterator[Refusal]:
    """What follows from the operation's form alone."""
    proofs = {name for one in operation["security"] for name in one}
    headers = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "header"}
    yield 500, "internal_error"
    if "apiKey" in proofs:
        yield from ((401, "not_authenticated"), (403, "permission_denied"), TOO_MANY)
    # The signed ones are plain views, which look at no Accept header.
    if proofs <= {"apiKey"}:
        yield 406, "not_acceptable"
    if "{id}" in path:
        yield 404, "not_found"
    if any(each["in"] == "query" for each in operation.get("parameters", ())):
        yield 400, "invalid_fields"
    if "requestBody" in operation:
        yield from ((411, "length_required"), (413, "body_too_large"), (415, "unsupported_media_type"))
        # A notification is stored as it came, and read afterwards.
        if "$ref" in operation["requestBody"]["content"][_JSON]["schema"]:
            yield from ((400, "invalid_json"), (400, "invalid_fields"))
    if "Idempotency-Key" in headers:
        yield from ((400, "invalid_idempotency_key"), (409, "request_in_flight"), (422, "idempotency_mismatch"))


def _say_how_it_refuses(
    operation: dict[str, Any], refusals: set[Refusal], responses: dict[str, dict[str, Any]]
) -> None:
    """By a reference to one of `responses`, each of which many operations share."""
    for status in sorted({status for status, _ in refusals}):
        codes = sorted(code for each, code in refusals if each == status)
        name = f"{status}-{'-'.join(codes)}"
        operation["responses"][str(status)] = {"$ref": f"#/components/responses/{name}"}
        schema = {"allOf": [_PROBLEM, {"properties": {"code": {"enum": codes}}}]}
        responses[name] = {
            "description": " ".join(f"`{code}`: {TITLES[code]}." for code in codes),
            "content": {
                CONTENT_TYPE: {"schema": schema, "examples": {code: _refusal(status, code) for code in codes}},
            },
        }


def _refusal(status: int, code: str) -> dict[str, Any]:
    errors = (_FIELD_ERROR,) if code == "invalid_fields" else ()
    return {"value": problem_fields(status, code, f"{TITLES[code]}.", errors=errors)}
