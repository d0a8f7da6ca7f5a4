"""Clients of the services that payments come through. They know neither Django nor Celery."""
