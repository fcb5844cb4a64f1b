"""Routing tests: requests and what must become of them, written beside the manifests.

``cases`` reads them, ``expectations`` holds an answer of ``simulate.questions`` against one, ``coverage`` counts which
rules were reached. An answer is JSON, from files or from a control plane that runs.
"""
