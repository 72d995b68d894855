//! What happened last, in words. Written only when a failed schedule is replayed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Lines that are kept.
const MOST_LINES: usize = 100_000;

#[derive(Default)]
struct Trace {
    is_on: bool,
    lines: VecDeque<String>,
    digest: u64,
}

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::default();
}

/// Begins anew.
pub fn begin(is_on: bool) {
    TRACE.with(|trace| *trace.borrow_mut() = Trace { is_on, ..Trace::default() });
}

pub fn is_on() -> bool {
    TRACE.with(|trace| trace.borrow().is_on)
}

pub fn line(line: String) {
    TRACE.with(|trace| {
        let trace = &mut *trace.borrow_mut();
        let mut hasher = DefaultHasher::new();
        (trace.digest, &line).hash(&mut hasher);
        trace.digest = hasher.finish();
        trace.lines.push_back(line);
        if trace.lines.len() > MOST_LINES {
            trace.lines.pop_front();
        }
    });
}

/// The last lines, and a digest of all.
pub fn end() -> (Vec<String>, u64) {
    TRACE.with(|trace| {
        let trace = std::mem::take(&mut *trace.borrow_mut());
        (trace.lines.into(), trace.digest)
    })
}

/// Adds a line to the trace, if anybody reads it.
macro_rules! trace {
    ($at:expr, $($arguments:tt)*) => {
        if $crate::trace::is_on() {
            $crate::trace::line(format!("{:>12.6} {}", $at.as_secs_f64(), format!($($arguments)*)));
        }
    };
}
pub(crate) use trace;
