"""Classes of other libraries by their own names, where a name means something else here: thin layers over `Model`."""
