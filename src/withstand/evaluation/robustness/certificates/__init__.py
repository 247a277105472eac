"""Certificates as findings: deterministic ones, and those of smoothed classifiers."""
