"""WebAssembly modules for Envoy, which can read a module from a file and nothing else that an address names.

In: a response with the settings of filters (ECDS). Out: the same response, in which each module that is somewhere else
(``http``, ``https``, ``oci``) stands as a file that the agent has fetched (``rewriting``, ``modules``). What cannot be
fetched becomes a filter that lets everybody through or nobody, as the plugin's fail strategy says. ``fetching`` asks
web servers, ``images`` registries of images. Reference: Istio's ``pkg/wasm``.
"""
