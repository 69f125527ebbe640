"""Bytes to arrays: readers of images and tables, fitted preprocessing, splits."""
