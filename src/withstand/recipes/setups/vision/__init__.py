"""What recipes on pictures, clips, tracks and slices of volumes share."""
