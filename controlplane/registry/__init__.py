"""The only mutable configuration state, and the incremental engine that derives everything from it.

``store`` keeps objects by key with secondary indexes and turns a ``ChangeSet`` into the facts that changed.
``memo`` remembers pure functions of ``(view, key)`` (*queries*) with what each of them read, and reruns only
those that read something that really changed. The other modules are queries: services, endpoints, workloads,
destination rules, virtual services, scopes. Translators read the registry through the same ``View``.
"""
