"""What attackers did, and what they can do, where a verb asks about nothing else."""
