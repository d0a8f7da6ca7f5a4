from payouts.admin import accumulations, api_keys, clients, inbound

__all__ = ("accumulations", "api_keys", "clients", "inbound")
