"""One module per kind of task. `simulated.py` is the demo's; copy it to add your own."""
