"""Values that no custom resource states; everything here is frozen and compares by content.

``objects`` are what watchers deliver, ``kubernetes`` the trimmed core kinds, ``service`` the one model of a
destination (Kubernetes Services and ServiceEntries alike), ``proxy`` what a connected Envoy said of itself.
"""
