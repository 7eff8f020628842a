"""Apache Spark as a standalone cluster: one master, workers, no Hadoop."""
