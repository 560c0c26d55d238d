"""Real peers for the tests: Orthanc, DCMTK's tools and a browser, each a process of its own on loopback."""
