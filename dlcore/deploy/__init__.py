"""Model files, loading, export."""
