"""The baseline of `default_run.py`: a script of three stages with one candidate, no workflow and no ranking.

python plain_pyspark.py DIRECTORY_OF_CSV OUTPUT_DIRECTORY
"""

from __future__ import annotations

import sys

from pyspark.ml.evaluation import RegressionEvaluator
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

source, target = sys.argv[1:]
spark = SparkSession.builder.master("local[*]").appName("plain").config("spark.sql.shuffle.partitions", 8).getOrCreate()
spark.sparkContext.setLogLevel("ERROR")

# Clean: read, index, join with the catalogue, cast, validate, deduplicate, profile, write.
ratings = spark.read.csv(f"{source}/ratings.csv", header=True)
tracks = spark.read.csv(f"{source}/tracks.csv", header=True)
clean = (
    ratings.join(tracks, on="track_id", how="inner")
    .select(
        F.col("user_id").cast("int"),
        F.col("track_id").cast("int"),
        F.col("rating").cast("double"),
        F.col("time").cast("long"),
    )
    .where(F.col("rating").between(1, 5))
    .dropDuplicates(["user_id", "track_id"])
)
clean.write.mode("overwrite").parquet(f"{target}/clean")
clean = spark.read.parquet(f"{target}/clean")
clean.select("rating").summary("count", "mean", "stddev", "min", "25%", "50%", "75%", "max").collect()

# Train: split, fit, measure.
train, test = clean.randomSplit([0.8, 0.2], seed=42)
als = ALS(
    userCol="user_id", itemCol="track_id", ratingCol="rating", rank=20, maxIter=10, regParam=0.1, seed=42,
    coldStartStrategy="drop",
)  # fmt: skip
model = als.fit(train)
predicted = model.transform(test).cache()
for metric in ("rmse", "mae"):
    value = RegressionEvaluator(metricName=metric, labelCol="rating").evaluate(predicted)
    print(f"{metric} {value:.4f}")

# Save.
model.write().overwrite().save(f"{target}/model")
spark.stop()
