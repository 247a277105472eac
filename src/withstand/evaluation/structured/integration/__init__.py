"""From pairs of records to one table: candidates, thresholds, sets, conflicts, and what they are worth."""
