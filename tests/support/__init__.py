"""Code that the test modules share: small datasets and versions, and the pipeline, the page and a browser to run."""
