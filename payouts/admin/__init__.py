from payouts.admin import accumulations, api_keys, clients, destinations, inbound, nowpayments, request_keys

__all__ = ("accumulations", "api_keys", "clients", "destinations", "inbound", "nowpayments", "request_keys")
