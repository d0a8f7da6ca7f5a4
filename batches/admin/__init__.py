from batches.admin import batches, checks, policies

__all__ = ("batches", "checks", "policies")
