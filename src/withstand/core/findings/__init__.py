"""What evaluators found: findings, their measures and pictures, and figures of earlier versions."""
