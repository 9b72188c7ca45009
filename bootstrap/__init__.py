"""From nothing to a running stack, the same way for every target."""
