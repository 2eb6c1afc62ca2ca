"""The cache: strategies, invalidation on commit, warming, memory."""
