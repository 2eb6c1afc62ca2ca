"""The database: workload, indexes, materialized views, clean-up, pool."""
