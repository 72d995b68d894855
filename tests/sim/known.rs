//! Faults of the product that the simulator found and that are not mended yet. Each keeps schedules from being drawn that
//! would fail because of it; whoever mends one sets it to `false` and deletes it once the simulator is content.

/// Of a source that can't throttle, a partition whose records wait takes all of a small buffer, and others starve.
pub const WITHOUT_THROTTLING_BYTES_STARVE: bool = true;
/// Ten failures in a row pause the destination although they are of the same few records, time and again: those go
/// first when it is open again, and are probed with like all others. Where many records fail, others trickle.
pub const THE_SAME_FAILURES_PAUSE_ALL: bool = true;
/// With room for little more (a buffer that is nearly full) no records are taken in while any is ready, also while it
/// is ready in vain because all sending is paused.
pub const A_PAUSE_STOPS_A_SMALL_INTAKE: bool = true;
/// A failure may be counted against a record although all were turned away alike: the last one that an outage with 401
/// turned away, or one whose trial met a slow rate limit or the beginning of an outage. Three in a row don't come
/// together, but with `max_attempts` of 1, or once it is older than `max_age`, one is enough to refuse it.
pub const ONE_COUNT_MAY_BE_UNFAIR: bool = true;
/// A trial compares a suspect with a record that was sent later after the last acceptance: a bucket that fills slowly
/// has a token for that one, time and again, and the suspect pays.
pub const A_SLOW_BUCKET_CONVICTS: bool = true;
