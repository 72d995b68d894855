//! What a person can do, with the flags that do it: the core states facts and knows no flags.

use crate::relay::RunError;
use crate::relay::verdict::SetupFault;

/// What is wrong with credentials or address, and the flag to check.
pub fn setup(fault: SetupFault) -> String {
    match fault {
        SetupFault::Unauthorized => format!("{fault}: check --header"),
        SetupFault::NotFound => format!("{fault}: check the path in --url"),
        SetupFault::MethodNotAllowed => format!("{fault}: check --url"),
        SetupFault::Moved => format!("{fault}: put its new address into --url"),
        SetupFault::Forbidden | SetupFault::ProxyUnauthorized => fault.to_string(),
    }
}

/// Why a run ended, and what to do before the next one.
pub fn run_error(error: &RunError) -> String {
    match error {
        RunError::Rejected(_) => format!(
            "{error}. Fix what rejected it and start again, or let rejected records go to a file with --dead-letter FILE"
        ),
        RunError::TooManyRejected(..) => format!(
            "{error}. That is more than --max-refused allows: look at what changed on the other side, then start again"
        ),
        RunError::OutOfPatience(..) | RunError::OutOfPatienceWithSource(..) => {
            format!("{error}. --patience says how long a run waits for that")
        }
        RunError::Threads(_) => format!("{error}: lower --max-concurrency or raise the limit of processes"),
        RunError::Twice(first, second) => format!("{}; and then {}", run_error(first), run_error(second)),
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn advice_names_flags_and_the_core_does_not() {
        let error = RunError::OutOfPatience(Duration::from_secs(3), "status 503".into());
        assert!(!error.to_string().contains("--") && run_error(&error).contains("--patience"));
        let twice = RunError::Twice(Box::new(error), Box::new(RunError::Worker("x".into())));
        assert!(!twice.to_string().contains("--") && run_error(&twice).contains("--patience"));
        assert!(!SetupFault::NotFound.to_string().contains("--"));
        assert!(setup(SetupFault::NotFound).contains("--url"));
    }
}
