"""Where bytes and tables lie: a folder or a bucket, tables, checkpoints, packs of fetched bytes."""
