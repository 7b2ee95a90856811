//! braid-testkit
