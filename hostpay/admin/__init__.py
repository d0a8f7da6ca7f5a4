from hostpay.admin import control, history, operations, orders, payments, switches, transactions, wallets

__all__ = ("control", "history", "operations", "orders", "payments", "switches", "transactions", "wallets")
