"""The host's endpoints: limits, cached responses, compression, headers, and what the recorder saw of them."""
