"""The JSON API of paiid_perf (the host's own endpoints are the business of `paiid_perf.api`)."""
