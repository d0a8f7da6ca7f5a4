"""A sandbox payment provider: NOWPayments' API and its notifications, as its documentation and real ones show them.

    SANDBOX_NOWPAYMENTS_API_KEY=... SANDBOX_NOWPAYMENTS_IPN_SECRET=... \\
        python -m hostpay.sandbox.nowpayments --port 8091 --webhook http://127.0.0.1:8000/api/v1/webhooks/nowpayments/

A payment goes waiting -> confirming -> confirmed -> sending -> finished by itself, a step every `step_s`, as if its
customer had paid; "case" in its creation says otherwise: failed, expired, partially_paid, or waiting (for ever). Each
step is notified, signed over the sorted body with numbers as JavaScript prints them. With `--state` its payments outlive
it: they go on where they were. With `--feed-every-s` it also plays the customers, who pay about so often.

POST /v1/payment            price_amount, price_currency, pay_currency, order_id, ipn_callback_url, case
GET  /v1/payment/{id}       both want the header x-api-key

The control API wants `Authorization: Bearer` with the API key:

GET, POST /control/settings          {"step_s": "0.5", "duplicates": 1, "reorder": true, "delay_s": "2", "lose": true,
                                     "price_eth_usd": "2900.00"}: each notification so many times more, a payment's
                                     notifications last first once it has ended, so much later, or not at all
GET  /control/deliveries             every notification with the status it was answered with (null: no answer)
POST /control/payments/ID            {"payment_status": "refunded", ...} changes fields and notifies;
                                     "notify": false does so quietly
POST /control/payments/ID/deposit    {"amount": "0.002"}: a repeated deposit, which is a payment of its own
POST /control/payments/ID/resend     the present state once more
"""
