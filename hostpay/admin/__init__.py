from hostpay.admin import control, history, losses, operations, orders, payments, switches, transactions, wallets

__all__ = ("control", "history", "losses", "operations", "orders", "payments", "switches", "transactions", "wallets")
