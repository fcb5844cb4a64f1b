"""What writes to Kubernetes, each thing in a module of its own.

In: values of the registry and of ``security``, and what the API server says. Out: patches, where something differs:
what is right already costs no write, and what somebody else has changed is repaired. What must be written by one
replica at a time runs under a ``Leadership``, which holds a Lease. Kinds that change rarely are watched by kopf
(``operator``), the others by the reflectors of ``watchers``. What may go wrong: an API server that is away or refuses;
every controller tries again, later and later, and one object that is refused delays no other (``work_queue``).
"""
