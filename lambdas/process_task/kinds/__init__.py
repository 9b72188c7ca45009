"""A module for each kind of task, or for a few that belong together. Copy one to add yours."""
