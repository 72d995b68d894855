//! A sentence for people from an adapter, which does not log by itself.

/// How much a notice matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Good to know.
    Info,
    /// Something is wrong that may mend itself.
    Warning,
    /// Something is wrong that needs a person.
    Error,
}

/// A sentence for people from an adapter, which does not log by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How much it matters.
    pub severity: Severity,
    /// One sentence: what, where, what to do.
    pub text: String,
}
