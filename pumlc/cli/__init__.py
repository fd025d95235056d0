"""The commands: one file each, one parser for all. Imports everything, is imported by nothing."""
