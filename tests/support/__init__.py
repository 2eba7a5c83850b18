"""What several suites stand on: stores, servers, callers and doors, real ones and fakes that a contract suite compares."""
