"""Apache Hadoop as Apache releases it: HDFS with MapReduce (1.2.1), or with YARN (3.4.1)."""
