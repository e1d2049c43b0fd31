"""Background tasks of the platform: effects and tidying, never the seconds-promise (that is the controller's).

A message may be delivered again at any time, so every task does the same however often it runs.
"""
