"""Settings, dataset descriptions, paths, and the catalogues of algorithms and metrics. Imports only `common`."""
