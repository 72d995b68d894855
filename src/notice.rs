//! A sentence for the log from a source, which does not log itself.

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// For information.
    Info,
    /// A problem that may resolve itself.
    Warning,
    /// A problem that needs a person.
    Error,
}

/// A sentence for the log from a source, which does not log itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// One sentence: what, where, what to do.
    pub text: String,
}
