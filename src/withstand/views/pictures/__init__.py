"""Views of pictures, and the common corruptions."""
