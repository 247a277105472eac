"""Packet captures as a source: records, headers, flows, bursts, tokens."""
