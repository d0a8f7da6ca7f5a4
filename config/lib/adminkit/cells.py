"""Small pieces of a page: amounts, times, ids, states. Exact values always stand in the title, to be read or copied."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from config.lib.money import ETH, USDT, Asset, from_units, usd_text

NOTHING = format_html('<span class="s-nothing">{}</span>', "—")
# Stands on the right, where the column's numbers stand.
NO_NUMBER = format_html('<span class="s-num s-nothing">{}</span>', "—")

_ETH_SHOWN_DECIMALS = 6

# Five meanings, each with its own colour; the word is always there too.
TONES = {
    "good": (
        "completed",
        "settled",
        "finished",
        "final",
        "recorded",
        "valid",
        "paid",
        "confirmed",
        "created-batch",
        "new",
        "ok",
        "delivered",
        "enabled",
    ),
    "live": (
        "swapping",
        "ordered",
        "signed",
        "broadcast",
        "mined",
        "open",
        "ordering",
        "requested",
        "paying",
        "confirming",
        "sending",
    ),
    "wait": (
        "pending",
        "changed",
        "held",
        "below",
        "rehearsed",
        "received",
        "expired",
        "waiting",
        "replayed",
        "dropped",
        "partially_paid",
        "late",
    ),
    "bad": (
        "failed",
        "conflict",
        "refused",
        "invalid",
        "reverted",
        "review",
        "unknown",
        "blocked",
        "paused",
        "failing",
        "given_up",
    ),
    "idle": (
        "noted",
        "cancelled",
        "voided",
        "abandoned",
        "refunded",
        "created",
        "revoked",
        "lifted",
        "off",
        "disabled",
    ),
}
# Above it an id is shortened.
_WHOLE = 20
_TONE_OF = {word: tone for tone, words in TONES.items() for word in words}


def usd(amount: Decimal | int | None) -> SafeString:
    """Dollars, exactly, with at least two decimals."""
    if amount is None:
        return NO_NUMBER
    return _number(usd_text(amount), f"{Decimal(amount):f} USD")


def eth(wei: Decimal | int | None) -> SafeString:
    """ETH to six decimals for lists, marked where more follow; the title has them all, and the wei."""
    if wei is None:
        return NO_NUMBER
    exact = coin_text(wei, ETH)
    whole, _, decimals = exact.partition(".")
    shown = f"{whole}.{decimals[:_ETH_SHOWN_DECIMALS]}…" if len(decimals) > _ETH_SHOWN_DECIMALS else exact
    return _number(f"{shown} ETH", f"{exact} ETH = {int(wei)} wei")


def eth_exact(wei: Decimal | int | None) -> SafeString:
    """ETH with all its decimals."""
    return NO_NUMBER if wei is None else _number(f"{coin_text(wei, ETH)} ETH", f"{int(wei)} wei")


def usdt(units: Decimal | int | None) -> SafeString:
    """USDT from base units: always all six decimals, so that columns line up."""
    return NO_NUMBER if units is None else _number(f"{usdt_text(units)} USDT", f"{int(units)} units")


def usdt_text(units: Decimal | int) -> str:
    """`12,004.118220`, from base units."""
    whole, rest = divmod(int(units), USDT.units_per_one)
    return f"{whole:,}.{rest:06d}"


def usdt_amount(amount: Decimal | None) -> SafeString:
    """USDT from an amount in whole USDT."""
    return NO_NUMBER if amount is None else _number(f"{amount:,.6f} USDT", f"{amount:f} USDT")


def gwei(wei: Decimal | int | None) -> SafeString:
    """A gas price in gwei, exactly."""
    if wei is None:
        return NO_NUMBER
    whole, rest = divmod(int(wei), 10**9)
    text = f"{whole}.{rest:09d}".rstrip("0").rstrip(".")
    return _number(f"{text} gwei", f"{int(wei)} wei")


def coin_text(units: Decimal | int, asset: Asset) -> str:
    """Base units as an exact decimal number, without the ticker."""
    return f"{from_units(int(units), asset):f}"


def count(number: int | None) -> SafeString:
    """A whole number with separators."""
    return NO_NUMBER if number is None else _number(f"{number:,}", str(number))


def percent(value: Decimal | None) -> SafeString:
    """A percentage without trailing zeros."""
    return NO_NUMBER if value is None else _number(f"{value.normalize():f} %", f"{value:f} %")


def when(moment: datetime | None) -> SafeString:
    """How long ago or until, with the moment in UTC in the title; the page's script keeps it current."""
    if moment is None:
        return NOTHING
    return format_html(
        '<time class="s-when" datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        relative(moment),
    )


def relative(moment: datetime, *, now: datetime | None = None) -> str:
    """`3 min ago`, `in 2 h 5 min`; the same words as the page's script makes."""
    seconds = int((moment - (now or timezone.now())).total_seconds())
    if not seconds:
        return "now"
    text = duration(timedelta(seconds=abs(seconds)))
    return f"in {text}" if seconds > 0 else f"{text} ago"


def times(number: int) -> str:
    """How often something happened."""
    return {0: "never", 1: "once", 2: "twice"}.get(number, f"{number:,} times")


def duration(span: timedelta) -> str:
    """A length of time in its two largest units."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if minutes < 60:
        return f"{minutes} min"
    if hours < 24:
        return f"{hours} h {minutes % 60} min" if minutes % 60 else f"{hours} h"
    return f"{days} d {hours % 24} h" if hours % 24 else f"{days} d"


def pill(word: str, *, text: str = "", title: str = "") -> SafeString:
    """A state: its word in its colour."""
    return format_html(
        '<span class="s-pill s-pill-{}"{}>{}</span>',
        _TONE_OF.get(word, "idle"),
        format_html(' title="{}"', title) if title else "",
        text or word,
    )


def short(value: str | None, *, link: str = "") -> SafeString:
    """A long id, hash or address as `first6…last4`, with the whole in the title and a button that copies it.

    What a payment system numbers is mostly short enough to stand there whole: two of them differ at the end or in the middle.
    """
    if not value:
        return NOTHING
    # `0x` says nothing, so an address keeps six digits after it.
    head = 8 if value.startswith("0x") else 6
    shown = value if len(value) <= _WHOLE else f"{value[:head]}…{value[-4:]}"
    code = format_html('<code title="{}">{}</code>', value, shown)
    if link:
        code = format_html('<a href="{}">{}</a>', link, code)
    return format_html('<span class="s-id">{}{}</span>', code, copy_button(value))


def whole(value: str) -> SafeString:
    """An id in full, with a button that copies it: where it is a page's name, two that look the same must not be."""
    return format_html('<code class="s-whole">{}</code>{}', value, copy_button(value))


def copy_button(value: str) -> SafeString:
    """A button that copies `value`; hidden where there is no script."""
    return format_html(
        '<button type="button" class="s-copy" data-copy="{}" aria-label="Copy {}" title="Copy">'
        '<span class="material-symbols-outlined" aria-hidden="true">content_copy</span></button>',
        value,
        value,
    )


def link(url: str, text: str | SafeString) -> SafeString:
    """A link in the colour of links."""
    return format_html('<a class="s-link" href="{}">{}</a>', url, text)


def yes_no(value: bool, *, yes: str = "yes", no: str = "no") -> str:  # noqa: FBT001 - the value itself
    """A boolean in words."""
    return yes if value else no


def _number(text: str, title: str) -> SafeString:
    return format_html('<span class="s-num" title="{}">{}</span>', title, text)
