"""Leak_finding."""
