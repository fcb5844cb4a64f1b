"""The monitoring port: metrics, readiness, and what the control plane knows, as JSON for people and for our CLI.

``server`` runs the ``application`` that answers HTTP; it is given one ``AdminSources`` of functions and asks them when
somebody looks, so nothing is kept up to date for nobody. The other modules turn values into istiod's JSON shapes:
``sync_view`` what each proxy holds, ``connections_view`` who is connected, ``registry_view`` services and endpoints,
``config_dump`` a snapshot as Envoy would show it (``message_json`` its messages; ``dumps`` answers with it),
``rejection`` the resources that a proxy's refusal names, ``metrics_page`` the Prometheus text, ``feeds_view`` what is
read of a cluster; ``debug_over_xds`` tells it over xDS. ``questions`` are put to a copy of the program, ``scopes``
sets levels of the log.

The event loop serves the proxies, and no request here holds it for more than a few milliseconds: views yield what they
show element by element, ``json_text`` writes it as it comes, ``pace`` takes that in slices, ``paging`` cuts long lists.

Debug endpoints answer callers on loopback who name this machine in ``Host`` (``access``). Nothing here changes
anything. An error of ours is a 500 and one log event; a proxy that is not connected is a 404 with istiod's words.
"""
