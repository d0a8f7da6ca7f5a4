"""Refusals, in the exchange's own form: {"error": code, "message": text} and sometimes a range."""

from dataclasses import dataclass

from hostpay.sandbox.exchange.numbers import Json


@dataclass
class ApiError(Exception):
    """Answers a request with a refusal."""

    status: int
    code: str
    message: str
    payload: Json = None

    def body(self) -> Json:
        body: dict[str, Json] = {"error": self.code, "message": self.message}
        return {**body, "payload": self.payload} if self.payload is not None else body


def not_valid(message: str) -> ApiError:
    return ApiError(400, "not_valid_params", message)
