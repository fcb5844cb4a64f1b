"""The commands that install, verify and remove a control plane."""
