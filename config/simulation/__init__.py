"""A deterministic world for the real services, and the ways in which a process can die in it."""
