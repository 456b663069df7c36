"""Pellucid: a BIDS App that classifies participants by diagnosis from MRI and shows where the evidence lies."""

__version__ = "0.1.0"
