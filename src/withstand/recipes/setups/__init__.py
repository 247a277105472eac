"""What recipes share: settings and experiments of pictures, graphs and tables."""
