"""How the admin looks and what stands beside its pages. Names of functions are strings: settings import no app."""

from typing import Any

from django.templatetags.static import static
from django.urls import reverse_lazy


def _item(title: str, icon: str, model: str, **options: Any) -> dict[str, Any]:
    """A line of the navigation: the list of a model, for who may view it."""
    app, name = model.split(".")

    def may_view(request: Any) -> bool:
        return bool(request.user.has_perm(f"{app}.view_{name}"))

    link = reverse_lazy(f"admin:{app}_{name}_changelist")
    return {"title": title, "icon": icon, "link": link, "permission": may_view, **options}


def _group(title: str, *items: dict[str, Any], is_folded: bool = False) -> dict[str, Any]:
    return {"title": title, "collapsible": is_folded, "separator": bool(title), "items": list(items)}


UNFOLD: dict[str, Any] = {
    "SITE_TITLE": "Sluice",
    "SITE_HEADER": "Sluice",
    "SITE_SUBHEADER": "config.admin_site.navigation.last_sweep",
    "SITE_SYMBOL": "water_lux",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("sluice/icon.svg")},
    ],
    "LOGIN": {"image": None, "redirect_after": None, "form": "config.admin_site.login.LoginForm"},
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "config.admin_site.navigation.environment",
    "ENVIRONMENT_TITLE_PREFIX": "config.admin_site.navigation.title_prefix",
    "STYLES": [lambda _request: static("sluice/sluice.css")],
    "SCRIPTS": [lambda _request: static("sluice/sluice.js")],
    "BORDER_RADIUS": "6px",
    "COLORS": {
        # Water: teal, from pale to deep.
        "primary": {
            "50": "oklch(98.4% .014 200)",
            "100": "oklch(95.3% .035 200)",
            "200": "oklch(90.6% .07 201)",
            "300": "oklch(84% .105 203)",
            "400": "oklch(74% .115 207)",
            "500": "oklch(64% .112 212)",
            "600": "oklch(53% .098 216)",
            "700": "oklch(46% .084 219)",
            "800": "oklch(39.5% .07 222)",
            "900": "oklch(34.5% .058 224)",
            "950": "oklch(26% .05 226)",
        },
    },
    "COMMAND": {"search_models": False, "search_callback": "config.admin_site.navigation.find"},
    "SIDEBAR": {
        "show_search": True,
        "command_search": True,
        "show_all_applications": False,
        "navigation": [
            _group(
                "",
                {"title": "Overview", "icon": "dashboard", "link": reverse_lazy("admin:index")},
                {
                    "title": "Needs me",
                    "icon": "notification_important",
                    "link": reverse_lazy("admin:needs_me"),
                    "permission": lambda request: request.user.has_perm("batches.view_batchconversion"),
                    "badge": "config.admin_site.navigation.needs_me_count",
                    "badge_variant": "warning",
                },
                _item("Reconciliation", "balance", "hostpay.reconciliation"),
            ),
            _group(
                "Conversion",
                _item("Batches", "join_inner", "batches.batchconversion"),
                _item("Accumulations", "savings", "payouts.accumulation"),
                _item("Threshold checks", "rule", "batches.thresholdcheck"),
                _item("Policy", "tune", "batches.conversionpolicy"),
            ),
            _group(
                "Host wallet",
                _item("Host payments", "outbox", "hostpay.hostpayment"),
                _item("Exchange orders", "currency_exchange", "hostpay.exchangeorder"),
                _item("Transactions", "receipt_long", "hostpay.transaction"),
                _item("Received", "call_received", "hostpay.receipt"),
                _item("Refunds", "assignment_return", "hostpay.refund"),
                _item("Late returns", "history_toggle_off", "hostpay.latereturn"),
                _item("Wallets", "account_balance_wallet", "hostpay.wallet"),
                _item("Nonces", "format_list_numbered", "hostpay.nonceslot"),
            ),
            _group(
                "Clients and programs",
                _item("Clients", "groups", "payouts.client"),
                _item("NOWPayments", "payments", "payouts.nowpayment"),
                _item("Deliveries", "move_to_inbox", "payouts.inboundevent"),
                _item("Void before they came", "event_busy", "payouts.voidorder"),
                _item("Client changes", "history", "payouts.clientchange"),
                _item("Destination changes", "edit_location_alt", "payouts.destinationchange"),
                _item("API keys", "key", "payouts.apikey"),
                _item("Request keys", "replay", "payouts.requestkey"),
                _item("Failed tries", "front_hand", "payouts.failedtries"),
                _item("Turned away", "block", "payouts.rejecteddeliveries"),
            ),
            _group(
                "Webhooks out",
                _item("Endpoints", "webhook", "payouts.webhookendpoint"),
                _item("Events", "send", "payouts.webhookdelivery"),
                _item("Tries", "published_with_changes", "payouts.webhookattempt"),
            ),
            _group(
                "System",
                _item("Pauses", "pause_circle", "hostpay.pause"),
                _item("Breaker", "electrical_services", "hostpay.breaker"),
                _item("Approvals", "how_to_reg", "hostpay.approval"),
                _item("Outside services", "monitor_heart", "hostpay.servicehealth"),
                _item("Heartbeats", "ecg_heart", "hostpay.heartbeat"),
                _item("Schedule", "schedule", "django_celery_beat.periodictask"),
                _item("Users", "person", "auth.user"),
                _item("Groups", "group", "auth.group"),
            ),
            _group(
                "Histories",
                _item("Batches", "history", "batches.batchstatuschange"),
                _item("Accumulations", "history", "payouts.accumulationstatuschange"),
                _item("Deliveries", "history", "payouts.inboundeventstatuschange"),
                _item("NOWPayments", "history", "payouts.nowpaymentstatuschange"),
                _item("Host payments", "history", "hostpay.hostpaymentstatuschange"),
                _item("Exchange orders", "history", "hostpay.exchangeorderstatuschange"),
                _item("Transactions", "history", "hostpay.transactionstatuschange"),
                _item("Exports", "download", "payouts.export"),
                _item("Known differences", "rule_folder", "hostpay.accepteddifference"),
                _item("Webhook endpoints", "history", "payouts.webhookendpointstatuschange"),
                _item("Used tokens", "token", "hostpay.usedtoken"),
                is_folded=True,
            ),
        ],
    },
}
