"""Answers for places within pictures: masks and keypoints."""
