"""The data-plane side: what stands beside a proxy so that it can talk to the control plane.

``bootstrap`` makes the file that Envoy starts from, ``identity`` makes workload certificates, ``sds`` hands them to
Envoy over a local gRPC server (generated TLS waits for the secrets ``default`` and ``ROOTCA``), ``envoy`` runs the
Envoy process and ``process`` any child with a log. Nothing here reads the registry: a proxy is a
``model.proxy.Proxy`` value, and the control plane sends it everything else. What may go wrong: no Envoy binary, a
taken port (Envoy ends at once and its log says so), a control plane that never answers (Envoy stays in
``PRE_INITIALIZING``; ``envoy`` reports that as a process that was not ready).
"""
