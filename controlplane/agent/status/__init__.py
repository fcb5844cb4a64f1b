"""What the kubelet, Prometheus and operators ask the agent on its status port (15020)."""
