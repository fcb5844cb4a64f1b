"""What makes a pod part of the mesh: its sidecar, as a JSON patch of the pod.

In: a pod as the API server sends it (or as a template of a Deployment states it), and ``settings``: the mesh
configuration, the values of the installation, the injector's own configuration. Out: a JSON patch, or nothing where the
pod is left alone. ``patch`` is the whole way and pure; the other modules are its steps:

``decision`` says whether, ``annotations`` what of the pod's annotations is nonsense, ``owner`` whose pod it is,
``proxy_config`` what the proxy is told, ``templates`` and ``custom`` make the overlay that ``merge`` lays on the pod,
``overrides`` gives back what the user stated of our containers, ``prometheus``, ``probes`` and ``order`` finish it, and
``difference`` is the patch.

What may go wrong is an ``InjectionError`` with a sentence for the user: a bad annotation (named, with its value), a
template that is unknown or fails, a pod that is none. It never ends anything but the one request.
"""
