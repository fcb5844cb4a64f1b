"""Traffic of a pod, led through its proxy by rules of the kernel.

Comes in: options as Istio's ``istio-init`` takes them, and what the pod's host is like (``host``: addresses, name
servers). Goes out: rules (``rules``), pure values, and their text for ``iptables-restore`` (``restore``), which
``apply`` hands to the kernel at once or not at all. What may go wrong: an option that makes no sense, which is an
``OptionError`` before anything is changed; a kernel without a module, or no right to change rules, which is told with
the words of iptables.
"""
