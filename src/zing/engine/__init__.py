"""Engines: what turns an order into a picture."""
