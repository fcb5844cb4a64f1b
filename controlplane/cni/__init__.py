"""A CNI plugin and its agent: pods' traffic is led through their proxies from outside, so no pod needs ``NET_ADMIN``.

On each node one agent (``node``) puts the plugin where the container runtime looks for it (``files``), and its entry
into the runtime's configuration (``configuration``). The runtime runs the plugin (``plugin``) for each pod that begins.
It hands what it was told, and the open network namespace of the pod, to the agent by a socket (``server``). That reads
the pod from the API server (``kubernetes``), decides (``decision``) and makes the rules (``redirection``). Pods that
began while the plugin was not in place are mended (``repair``). What may go wrong is told to the runtime, which has the
kubelet try again: a pod whose traffic would pass its proxy by does not begin.

The agent works in threads, since entering a network namespace is a thread's act.
Reference: CNI specification 1.1.0; the names of settings are those of Istio's ``install-cni``.
"""
