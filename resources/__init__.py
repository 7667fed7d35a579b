"""Data files that ship with Pocketworld: sample scan, material table, schemas, list of system packages."""
