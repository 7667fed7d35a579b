"""A phone scan becomes objects: importers, poses, fusion, segmentation, completion, exporters."""
