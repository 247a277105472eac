"""Views of color and intensity."""
