"""All measurements, one after the other."""

from tests.bench import batches, ingestion

ingestion.main()
batches.main()
