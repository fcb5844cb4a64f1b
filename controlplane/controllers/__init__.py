"""What writes to Kubernetes, each thing in a module of its own.

In: values of the registry and of ``security``, and what the API server says. Out: patches, where something differs.
What may go wrong: an API server that is away or refuses; every controller tries again, later and later.
"""
