"""What recipes share that build on earlier runs, or train in stages."""
