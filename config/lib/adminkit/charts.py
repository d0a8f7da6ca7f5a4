"""Charts as inline SVG: no script, no request, and the page's own colours in light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

# Drawn in these units and scaled by the browser.
_WIDTH = 800
_HEIGHT = 200
_SPARK_HEIGHT = 16
_SPARK_STEP = 5
# A bar of nothing must be seen too.
_SPARK_LEAST = 4
_STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5), Decimal(10))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A value at a moment; `drops_to` is where it goes at that same moment, with a mark that links to `url`."""

    at: datetime
    value: Decimal
    drops_to: Decimal | None = None
    url: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    label: str
    value: Decimal
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mark:
    left: str
    top: str
    text: str = ""
    url: str = ""


def line(samples: Sequence[Sample], *, threshold: Decimal, name: str) -> SafeString:
    """A stepped line over time under a dashed threshold; an empty string with fewer than two samples."""
    if len(samples) < 2:
        return SafeString("")
    top = _round_up(max(threshold, *(sample.value for sample in samples)))
    start, end = samples[0].at, samples[-1].at
    span = max(1, int((end - start).total_seconds() * 1000))

    def x(at: datetime) -> int:
        return int((at - start).total_seconds() * 1000) * _WIDTH // span

    points: list[tuple[int, int]] = []
    marks = []
    for sample in samples:
        if points:
            points.append((x(sample.at), points[-1][1]))
        points.append((x(sample.at), _y(sample.value, top)))
        if sample.drops_to is not None:
            marks.append(
                _Mark(
                    left=_share(x(sample.at), _WIDTH),
                    top=_share(_y(sample.value, top), _HEIGHT),
                    text=sample.title,
                    url=sample.url,
                )
            )
            points.append((x(sample.at), _y(sample.drops_to, top)))
    path = " ".join(f"{'L' if position else 'M'}{left} {height}" for position, (left, height) in enumerate(points))
    return _render(
        "includes/chart_line.html",
        name=name,
        line=path,
        area=f"{path} L{_WIDTH} {_HEIGHT} L0 {_HEIGHT} Z",
        threshold_y=_y(threshold, top),
        threshold_top=_share(_y(threshold, top), _HEIGHT),
        threshold=threshold,
        marks=marks,
        ticks=_ticks(top),
        start=start,
        middle=start + (end - start) / 2,
        end=end,
        axis_format=_axis_format(end - start),
    )


def bars(values: Sequence[Bar], *, name: str) -> SafeString:
    """Upright bars; an empty string when there is nothing to show."""
    if not any(bar.value for bar in values):
        return SafeString("")
    top = _round_up(max(bar.value for bar in values))
    slot = _WIDTH // len(values)
    drawn = [
        {
            "x": position * slot + slot // 6,
            "y": _y(bar.value, top),
            "width": slot * 2 // 3,
            "height": _HEIGHT - _y(bar.value, top),
            "bar": bar,
        }
        for position, bar in enumerate(values)
    ]
    return _render("includes/chart_bars.html", name=name, drawn=drawn, ticks=_ticks(top), values=values)


def spark(shares: Sequence[int], *, name: str) -> SafeString:
    """Small bars for a cell, of shares in percent; each that is not whole stands out."""
    height = _SPARK_HEIGHT
    drawn = []
    for position, share in enumerate(shares):
        tall = max(_SPARK_LEAST, share * height // 100)
        drawn.append({"x": position * _SPARK_STEP, "y": height - tall, "height": tall, "is_bad": share < 100})
    context = {"bars": drawn, "name": name, "width": len(shares) * _SPARK_STEP, "height": height}
    return SafeString(render_to_string("includes/chart_spark.html", context))


def _render(template: str, **context: object) -> SafeString:
    return SafeString(render_to_string(template, {"width": _WIDTH, "height": _HEIGHT, **context}))


def _axis_format(span: timedelta) -> str:
    """As much of a moment as tells the ends of `span` apart."""
    if span < timedelta(minutes=10):
        return "H:i:s"
    return "H:i" if span < timedelta(days=1) else "j M H:i"


def _y(value: Decimal, top: Decimal) -> int:
    return _HEIGHT - int(min(value, top) * _HEIGHT / top)


def _share(part: int, whole: int) -> str:
    return f"{Decimal(part * 100) / whole:.2f}%"


def _round_up(value: Decimal) -> Decimal:
    """The next round number above `value`, so that the scale reads easily."""
    if value <= 0:
        return Decimal(1)
    magnitude = Decimal(10) ** value.adjusted()
    return next(step * magnitude for step in _STEPS if step * magnitude >= value)


def _ticks(top: Decimal) -> list[_Mark]:
    return [
        _Mark(left="0", top=_share(_y(value, top), _HEIGHT), text=f"{value.normalize():,f}")
        for value in (top, top / 2, Decimal(0))
    ]
