"""Losses that weigh or make hard negatives."""
