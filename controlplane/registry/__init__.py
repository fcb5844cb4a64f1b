"""The only mutable configuration state, and the queries that say what the mesh means.

``store`` keeps objects by key with secondary indexes, and turns a ``ChangeSet`` into the facts that changed. The other
modules are queries of the ``engine`` over them: services, endpoints, workloads, destination rules, virtual services,
scopes. Translators read the registry through the same ``View``. What ``frontends`` make of foreign kinds is read
through the queries that a ``Registry`` is given, so nothing here knows those kinds.
"""
