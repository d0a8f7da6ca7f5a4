"""Answers that tell a secret which nothing stores: what they are kept as under an Idempotency-Key, and told again.

A caller that lost the answer and asks again must get the same secret: a second new one would end the first, which may
be installed by now.
"""

from __future__ import annotations

import json
from typing import Any, Final

from django.http import HttpResponse
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from payouts.services.request_keys import Answer
from payouts.services.webhooks.secrets import secret_of

# What is kept is no answer as it stands.
_KEPT_AS: Final = "application/vnd.sluice.without-secret+json"


class SecretAnswer(Response):
    """`data` and, as its last member, the `secret` that is derived from `seed` by the key `derived_by`."""

    def __init__(self, data: dict[str, Any], *, seed: str, derived_by: str, status: int) -> None:
        super().__init__({**data, "secret": secret_of(seed, derived_by)}, status=status)
        self.kept = {"data": data, "seed": seed, "derived_by": derived_by}


def kept(response: HttpResponse) -> Answer:
    """What is stored of an answer."""
    if isinstance(response, SecretAnswer):
        return Answer(
            status=response.status_code, content_type=_KEPT_AS, body=bytes(JSONRenderer().render(response.kept))
        )
    return Answer(status=response.status_code, content_type=response.headers["Content-Type"], body=response.content)


def told_again(answer: Answer) -> HttpResponse:
    """What was answered, from what is stored of it.

    Raises:
        LostKeyError: its secret was derived from a key that is no longer in WEBHOOK_SECRET_KEYS.
    """
    body, content_type = answer.body, answer.content_type
    if content_type == _KEPT_AS:
        of = json.loads(body)
        body = JSONRenderer().render({**of["data"], "secret": secret_of(of["seed"], of["derived_by"])})
        content_type = "application/json"
    return HttpResponse(body, status=answer.status, content_type=content_type, headers={"Idempotent-Replayed": "true"})
