"""The cells of config.lib.adminkit as template filters."""

from django import template

from config.lib.adminkit import cells

register = template.Library()

for _cell in (cells.copy_button, cells.count, cells.eth, cells.pill, cells.short, cells.usd, cells.usdt, cells.when):
    register.filter(_cell.__name__, _cell)
