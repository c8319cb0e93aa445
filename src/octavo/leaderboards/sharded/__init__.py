"""Boards over all nodes of a cluster, sharded by score."""
