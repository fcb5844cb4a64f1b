"""Joins the packages to one process.

``app`` is the only file that sees every package; ``from_settings`` makes what the settings ask for; ``identity`` joins
what concerns the authority, the ports with TLS and who may connect; ``status_writers`` what is known of objects with
the controllers that write it; ``counting`` observers with metrics. ``analysis`` judges changes after they were sent,
``tasks`` starts and ends the work of the event loop, and begins again what fails.
"""
