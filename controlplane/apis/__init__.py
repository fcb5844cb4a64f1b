"""The custom resources and the mesh configuration as frozen models, one module per kind.

In: the ``spec`` of an object as YAML or JSON gives it. Out: a model whose attributes are the API's fields in snake
case, or every problem at once. ``validation`` holds the rules a schema cannot state. Nothing here knows proxies,
the registry or Envoy.

What may go wrong: fields newer than these models. Readers drop them with a warning; a strict reader refuses them.
Modules are imported on first use (see ``kinds``) and validators built on first use, to keep start-up short.
"""
