"""A sandbox exchange: ChangeNOW's API v2 as its documentation and its customers' code describe it, on a local chain.

    SANDBOX_EXCHANGE_API_KEY=... python -m hostpay.sandbox.exchange --port 8090 --rpc http://127.0.0.1:8545 --state var

It sees deposits on the chain and pays from its own wallet there, once, whatever happens to its process. It shares no
code with the client it is there to fool. Every setting (`settings.Settings`) is a flag too; the defaults make a whole
exchange take about three seconds with a block a second.

An exchange goes new -> waiting -> confirming -> (verifying ->) exchanging -> sending -> finished, or to expired,
failed or refunded. The first deposit in the right currency is the exchange's own, whatever its amount; a further one
becomes an exchange of its own (repeatedExchangesInfo), one in the other currency too (relatedExchangesInfo), and that
one fails and can be refunded.

The control API wants `Authorization: Bearer TOKEN` from this machine; TOKEN is the API key unless
SANDBOX_EXCHANGE_CONTROL_TOKEN says otherwise.

GET, POST /control/settings     {"price_eth_usd": "2900.00", "spread_bps": 100, "unpaid_timeout_s": "2", ...}; they
                                outlive a restart. "outcome": {...} is for all exchanges to come.
POST /control/faults            a rule, or a list of them. The first that matches wins.
GET, DELETE /control/faults     the rules with how often each matched (`seen`) and acted (`used`); or none any more.
GET /control/exchanges          the books, payments included.
POST /control/exchanges/ID      {"outcome": {...}} replaces what is to happen to it;
                                {"status": "any_word"} forces a status and freezes the exchange there, unless
                                "freeze": false says that it shall go on from it.
POST /control/reset             forgets all but the chain (call it BEFORE the chain is set back).

A rule: {"match": {"path": "/v2/exchange/by-id", "method": "GET", "nth": 1, "times": 1}, "fault": "...", ...}
Every part of `match` may be left out. A path ending in * is a prefix; `nth` is the first matching request it acts on,
`times` how many in a row (1; null: for ever). A rule may have an "outcome" instead of a fault, or besides: it is given
to the exchange that the request creates.

    delay           answers after "seconds"
    5xx             "status" (503), not JSON
    429             with "retry_after" if given
    error           "status" (400), "code", "message", in the provider's form
    timeout_before  nothing is done, nothing is said for "seconds" (hold_s), then the connection closes
    timeout_after   the same, but the request has had its effect
    drop_before     as timeout_before, without the wait
    drop_after      as timeout_after, without the wait
    html_200        a web page with status 200; nothing is done
    empty_200       an empty body with status 200, after the effect
    truncated       half of the JSON, after the effect
    missing         without "fields": [...]
    missing_payin   without payinAddress
    wrong_echo      "field" is "value" (any JSON), or "raw" (text put in as it is: 1e-7, NaN, 1e400)

An outcome, for one exchange:

    partial_fill: bps           pays that part of the ordinary amount (9000 is 90 %)
    over_fill: bps              pays that much more
    refund: "sent" | "never"    refunds after the deposit, less refund_fee; or says so and does not (true: sent)
    fail: "after_deposit" | "before_deposit"
    expire: true                expires at once if it is unpaid; a deposit then is late (setting late_deposit)
    verifying: seconds          a compliance hold before the exchange
    unknown_status: word        is shown in place of exchanging and sending
    never_pay: "finished" | "sending"   ends there without a payout (true: finished)
    pay_before_status: seconds  pays while the status is exchanging, for that long
    two_transfers: true         pays in two transactions; payoutHash is the first
    pay_together: n             waits until n such exchanges are due, and pays them all in one transaction
    wrong_token: true           pays in a worthless token that calls itself USDT
    late_amount_to: seconds     amountTo stays null that long after finished
    report_amount_to: "12.5"    what amountTo says, whatever was paid
"""
