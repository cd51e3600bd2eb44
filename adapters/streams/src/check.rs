//! Finds out whether the body of a response keeps the rules of its protocol: for tests of servers.
