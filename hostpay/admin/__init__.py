from hostpay.admin import history, operations, orders, payments, switches, transactions, wallets

__all__ = ("history", "operations", "orders", "payments", "switches", "transactions", "wallets")
