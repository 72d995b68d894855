//! The bytes of records: batches of format v2, message sets of v0 and v1, their checksums and compression. Knows
//! neither sockets nor topics.
