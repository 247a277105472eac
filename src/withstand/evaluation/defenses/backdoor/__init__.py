"""Backdoors: how well a trigger works on what was trained, and which samples look as if they carried one."""
