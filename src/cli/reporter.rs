//! What goes on while requests are sent and files are watched, as lines of the log.

use crate::files::Reporter;
use crate::observe::log::warning;

pub(super) const REPORTER: Reporter =
    Reporter { warn: warning, info: |text| ::log::info!(target: "sluicegate", "{text}") };
