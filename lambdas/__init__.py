"""What runs in AWS Lambda."""

import gc

# A start makes tens of thousands of objects, which all stay. Python would look through them for garbage each time that
# there are 700 more (2,000 in 3.13), and that takes a tenth of a cold start.
gc.set_threshold(10_000)
