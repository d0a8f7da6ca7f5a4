"""The settings of the benchmark's server: the program's own, with one more address."""

from config.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.bare"
# A line for each of some ten thousand requests is no part of what is measured.
LOGGING_CONFIG = None
