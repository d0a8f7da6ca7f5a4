"""The description of the API: the document, the page, and the file that is checked in."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings as own_settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.test import Client as Browser
from django.urls import URLResolver, get_resolver
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from pytest_django import Settings

from config.described.document import SAID
from config.lib.problems import TITLES
from payouts.api.described import BulkSerializer, PaymentSerializer
from payouts.services import create_api_key
from payouts.services.facts import facts_of
from tests import factories
from tests.factories import ACTOR

CHECKED_IN = Path(own_settings.BASE_DIR) / "docs" / "openapi.yaml"
DOCUMENT: dict[str, Any] = yaml.safe_load(CHECKED_IN.read_text(encoding="utf-8"))


def operations() -> list[dict[str, Any]]:
    return [operation for methods in DOCUMENT["paths"].values() for operation in methods.values()]


def resolved(part: dict[str, Any]) -> dict[str, Any]:
    """The component that `part` refers to, or itself."""
    if "$ref" not in part:
        return part
    _, _, kind, name = part["$ref"].split("/")
    found: dict[str, Any] = DOCUMENT["components"][kind][name]
    return found


def test_the_file_that_is_checked_in_is_what_the_code_says(tmp_path: Path) -> None:
    """Mend by `manage.py spectacular --file docs/openapi.yaml`, and look at what changes for callers."""
    made = tmp_path / "openapi.yaml"

    call_command("spectacular", file=str(made), validate=True, fail_on_warn=True)

    assert made.read_text(encoding="utf-8") == CHECKED_IN.read_text(encoding="utf-8")


def test_every_address_of_the_api_is_described() -> None:
    described = yaml.safe_load(CHECKED_IN.read_text(encoding="utf-8"))["paths"]
    patterns = [
        f"/api/v1/{inner.pattern}"
        for outer in get_resolver().url_patterns
        if isinstance(outer, URLResolver) and str(outer.pattern) == "api/v1/"
        for inner in outer.url_patterns
    ]

    plain = {pattern.replace("<int:pk>", "{id}").replace("<uuid:pk>", "{id}") for pattern in patterns}
    assert plain == set(described)


def test_every_operation_says_with_which_codes_it_refuses() -> None:
    for operation in operations():
        assert "default" not in operation["responses"]
        refusals = {status: resolved(answer) for status, answer in operation["responses"].items() if status >= "400"}
        assert "500" in refusals
        for answer in refusals.values():
            problem, own = answer["content"]["application/problem+json"]["schema"]["allOf"]
            assert problem == {"$ref": "#/components/schemas/Problem"}
            assert set(own["properties"]["code"]["enum"]) <= set(TITLES)
        assert operation.get("security") is not None or operation["operationId"].startswith(("hostpay", "batches"))


def test_every_refusal_has_an_example_of_each_of_its_codes() -> None:
    problem = {"$ref": "#/components/schemas/Problem", "components": DOCUMENT["components"]}
    for operation in operations():
        for status, answer in operation["responses"].items():
            if status < "400":
                continue
            content = resolved(answer)["content"]["application/problem+json"]
            assert set(content["examples"]) == set(content["schema"]["allOf"][1]["properties"]["code"]["enum"])
            for code, example in content["examples"].items():
                Draft202012Validator(problem).validate(example["value"])
                assert (example["value"]["code"], example["value"]["status"]) == (code, int(status))


def test_every_operation_has_a_title_and_stands_under_a_described_tag() -> None:
    named = {tag["name"] for tag in DOCUMENT["tags"]}

    assert {tag for operation in operations() for tag in operation["tags"]} == named
    assert [operation["operationId"] for operation in operations() if not operation["summary"]] == []


@pytest.mark.django_db
def test_the_recipe_of_the_document_signs_a_payment_that_is_taken(settings: Settings) -> None:
    recipe = DOCUMENT["info"]["description"].split("```python\n")[1].split("```")[0]
    scope: dict[str, Any] = {}
    exec(recipe, scope)  # noqa: S102 (what a reader would copy)
    factories.client(external_id="client-1")
    body = b'{"payment_id":"p","client_id":"client-1","user_id":"u","amount_usd":"5"}'
    headers = scope["signed"](settings.INGEST_SIGNING_SECRETS[0], "msg_1", body)

    kind = headers.pop("Content-Type")
    answer = Browser().post("/api/v1/payments/", body, content_type=kind, headers=headers)

    assert answer.status_code == 201


def test_of_every_operation_and_of_no_other_something_is_said() -> None:
    """Mend in config/described."""
    assert {operation["operationId"] for operation in operations()} == set(SAID)


@pytest.mark.parametrize("name", sorted(SAID))
def test_every_request_and_every_success_has_an_example_by_its_schema(name: str) -> None:
    (operation,) = [each for each in operations() if each["operationId"] == name]
    parts = [operation["requestBody"]] if "requestBody" in operation else []
    parts += [answer for status, answer in operation["responses"].items() if status < "300"]

    assert parts
    for part in parts:
        content = part["content"]["application/json"]
        schema = {**content["schema"], "components": DOCUMENT["components"]}
        validator = Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)
        assert content["examples"]
        for example in content["examples"].values():
            validator.validate(example["value"])
            # A schema lets further members pass; an example has what there is.
            members = resolved(content["schema"]).get("properties", example["value"])
            assert set(example["value"]) <= set(members)


def test_the_document_is_served_as_it_is_checked_in() -> None:
    answer = Browser().get("/api/schema/")

    assert answer.status_code == 200
    assert yaml.safe_load(answer.content) == yaml.safe_load(CHECKED_IN.read_text(encoding="utf-8"))


def test_the_page_loads_nothing_from_elsewhere_and_runs_no_inline_script() -> None:
    page = Browser().get("/api/docs/")
    script = Browser().get("/api/docs/?script=")

    assert (page.status_code, script.status_code) == (200, 200)
    text = page.content.decode()
    assert "https://" not in text
    assert "/static/drf_spectacular_sidecar/swagger-ui-dist/swagger-ui-bundle.js" in text
    assert "<script>" not in text
    assert "script-src 'self'" in page["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/api/schema/", "/api/docs/"])
@pytest.mark.django_db
def test_in_live_mode_only_keys_and_operators_read_it(settings: Settings, path: str) -> None:
    settings.LIVE = True
    _, key = create_api_key(name="x", scopes=["read"], actor=ACTOR)
    operator, customer = Browser(), Browser()
    operator.force_login(User.objects.create_user("anna", is_staff=True))
    customer.force_login(User.objects.create_user("carl"))

    assert Browser().get(path, headers={"authorization": f"Bearer {key}"}).status_code == 200
    assert operator.get(path).status_code == 200
    for other in (Browser().get(path), Browser().get(path, headers={"authorization": "Bearer sk_guess"})):
        assert (other.status_code, other["Content-Type"]) == (401, "application/problem+json")
    assert customer.get(path).status_code == 403


@pytest.mark.parametrize("number", [0, 1])
def test_its_examples_are_payments_as_the_code_reads_them(number: int) -> None:
    operation = yaml.safe_load(CHECKED_IN.read_text(encoding="utf-8"))["paths"]["/api/v1/payments/bulk/"]["post"]
    (example,) = operation["requestBody"]["content"]["application/json"]["examples"].values()
    item: dict[str, Any] = example["value"]["payments"][number]

    facts = facts_of(item, source="api")

    assert facts.payment_id == f"order-100{number + 1}"
    assert BulkSerializer(data=example["value"]).is_valid()
    assert PaymentSerializer(data=item).is_valid()
