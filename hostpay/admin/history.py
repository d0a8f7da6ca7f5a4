"""The histories of hostpay's objects."""

from django.contrib import admin

from config.lib.adminkit.admins import StatusChangeAdmin
from hostpay.models import ExchangeOrderStatusChange, HostPaymentStatusChange, TransactionStatusChange

admin.site.register((ExchangeOrderStatusChange, HostPaymentStatusChange, TransactionStatusChange), StatusChangeAdmin)
