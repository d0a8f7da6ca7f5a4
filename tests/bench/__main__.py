"""All measurements, one after the other."""

from tests.bench import batches, bulk, ingestion

ingestion.main()
bulk.main()
batches.main()
