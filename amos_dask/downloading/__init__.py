"""Downloading."""
