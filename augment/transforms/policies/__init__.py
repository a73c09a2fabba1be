"""Policies: transforms that draw operations from a published space and apply them one after another."""
