"""The data-plane side: what stands beside a proxy so that it can talk to the control plane.

In reading order:

* ``environment``, ``proxy_config``, ``options``: what the agent is told. ``node``: what it says of its proxy.
* ``envoy_configuration``, ``envoy_command``, ``envoy_process``: Envoy's bootstrap, its command line, its life.
* ``control_plane``: how the control plane is reached. ``ads_proxy``: Envoy's configuration led there as bytes.
* ``identity``: what proves who the workload is. ``keys``, ``workload_certificate``, ``identity_source``,
  ``certificate_files``: where it comes from. ``secrets`` says what Envoy gets for a name, ``sds`` hands it over.
  ``output_certificates`` writes them where asked, ``trust_bundle`` reads further roots.
* ``http``, ``status``, ``metrics``: the status port. ``workload_health``, ``grpc_health``: probes of the agent's own.
* ``dns``: answers for names of the mesh. ``proxyless``: applications without an Envoy. ``live_log_levels``: annotations
  that change while Envoy runs.
* ``parts``, ``run``: what is opened, in which order, and how it ends. ``memory`` keeps the process small.
* ``interception``: the rules that lead a pod's traffic through its proxy.

Nothing here reads the registry: the control plane sends everything else. What may go wrong: a setting or file that is
of no use ends the start with its name (``StartError``); an authority or control plane that does not answer is asked
again with growing pauses, while Envoy serves what it has; an Envoy that ends takes the agent with it.
"""
