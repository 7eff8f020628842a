"""The registry of clusters as a Consul-compatible key-value store."""
