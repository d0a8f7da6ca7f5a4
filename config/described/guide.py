"""What a reader of the document must know before any single operation: proofs, repeats, refusals, lists, limits."""

from typing import Final

from config.lib.problems import MOST_ERRORS

GUIDE: Final = f"""\
Micro-batch conversion of small crypto payments. Amounts are strings, times are UTC by ISO 8601.

**Sending a payment** needs a signature by [Standard Webhooks](https://www.standardwebhooks.com/) and no API key. Sign the
bytes that you send, with a secret of `INGEST_SIGNING_SECRETS` (`whsec_...`):

```python
import base64, hashlib, hmac, time

def signed(secret: str, message_id: str, body: bytes) -> dict[str, str]:
    moment = str(int(time.time()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{{message_id}}.{{moment}}.".encode() + body, hashlib.sha256).digest()
    return {{
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": moment,
        "webhook-signature": "v1," + base64.b64encode(mac).decode(),
    }}
```

No answer, 429 or 5xx: send the same body under the same `webhook-id` again, with a new timestamp and signature. A payment
is recorded once; a repeat is answered 200 with `Idempotent-Replayed: true`.

**Most else** needs an API key, `Authorization: Bearer sk_...`, but for what takes a signed token or a provider's
signature, and says so. The scope `read` shows everything, `ops` does what an
operator does, `ingest` voids what its payment system sent. Keys are made in the admin, and by `manage.py create_api_key`.

**A POST with an API key that is sent twice** is carried out once, and answered twice, if both have the same
`Idempotency-Key`.

**Refusals** are problem objects (RFC 9457, `application/problem+json`). Programs go by `code`, which does not change;
`detail` is for people. `errors` names each field that broke a rule and the rule, at most {MOST_ERRORS} of them. 4xx: mend the
request; 429 and 503 say when to come again (`Retry-After`).

**Lists** come newest first, in pages: follow `next` until it is null. `page_size` goes up to 500.

Every answer has an `X-Request-ID`, yours if you sent one; our log names it."""

# In the order in which a newcomer wants them.
TAGS: Final = (
    ("payments", "Payments come in."),
    ("webhooks", "Notifications of payment providers come in."),
    ("accumulations", "What was recorded for each payment, and what became of it."),
    ("clients", "Whom payments belong to."),
    ("destination-changes", "Where clients will be paid from some day on."),
    ("client-changes", "Who changed which terms of whom, and why."),
    ("webhook-endpoints", "Who is told of what becomes of payments."),
    ("webhook-deliveries", "What they were told."),
    ("batches", "Payments that are converted together."),
    ("threshold-checks", "When a batch was made, and why none was."),
    ("hostpay", "What leaves the host wallet."),
)

SUMMARIES: Final = {
    "accumulations_list": "List recorded payments",
    "accumulations_retrieve": "Read one recorded payment",
    "batches_list": "List batches",
    "batches_retrieve": "Read one batch",
    "batches_explain_retrieve": "Say why a batch stands where it stands",
    "batches_timeline_retrieve": "List what happened to a batch",
    "batches_swap_executed_create": "A host-payment service says that a batch is converted",
    "client_changes_list": "List changes of clients' terms",
    "clients_list": "List clients",
    "clients_retrieve": "Read one client",
    "destination_changes_list": "List changes of destinations",
    "hostpay_payment_completed_create": "Somebody says that a host payment is completed",
    "hostpay_payments_list": "List host payments",
    "hostpay_payments_create": "Request a host payment",
    "hostpay_payments_retrieve": "Read one host payment",
    "threshold_checks_list": "List threshold checks",
    "threshold_checks_retrieve": "Read one threshold check",
    "webhook_deliveries_list": "List events",
    "webhook_deliveries_retrieve": "Read one event and its tries",
    "webhook_endpoints_list": "List webhook endpoints",
    "webhook_endpoints_retrieve": "Read one webhook endpoint",
}
