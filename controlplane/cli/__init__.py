"""The command line, one module for each subcommand, loaded only when it is the one that was asked for.

Commands ask the control plane's monitoring port, or Envoy's admin port, and print tables that look and parse like
istioctl's. They import nothing that they do not use: ``--help`` and ``status`` must answer before anyone notices.

Exit codes: 0 fine, 1 a problem was found (it is printed, on standard error where it is not the answer itself),
2 wrong usage. Without a terminal the output has no colours.
"""
