"""Routing: which offer a job runs on, and why. Every decision is stored with every candidate's numbers.

Hard limits first; then the least expected cost to finish wins. The decision is pure (`decisions.py`); reserving
devices and money for it is the port `Capacity`, which bookings fills.
"""
