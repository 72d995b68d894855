//! `sandbox`: a small Kafka broker in memory, for people who want to try things with nothing to install.

use crate::cli::plan::SandboxPlan;
use crate::cli::signals::watch_for;
use crate::cli::{Failure, print};
use crate::kafka::sandbox::{Report, Sandbox, SandboxSettings};
use signal_hook::consts::{SIGINT, SIGTERM};

/// The topic that the instructions name where none is given.
const EXAMPLE: &str = "orders";

/// Serves until a signal comes.
pub(crate) fn run(plan: SandboxPlan) -> Result<(), Failure> {
    let SandboxPlan { listen, partitions, topics } = plan;
    // Before the first output: whoever reads it may send a signal at once.
    let mut signals = watch_for(&[SIGTERM, SIGINT])?;
    let report = Report::new(|line| print(&format!("{line}\n")));
    let settings = SandboxSettings { listen, partitions, report, ..SandboxSettings::default() };
    let sandbox = Sandbox::start(settings).map_err(|error| {
        let text =
            format!("the sandbox can't listen on {listen}: {error}. Choose another address with --listen");
        Failure::failed(text)
    })?;
    for topic in &topics {
        sandbox
            .create(topic, partitions)
            .map_err(|error| Failure::usage(format!("--topic {topic}: {error}")))?;
    }
    print(&greeting(&sandbox, &topics));
    signals.forever().next();
    Ok(())
}

fn greeting(sandbox: &Sandbox, topics: &[String]) -> String {
    let address = sandbox.address();
    let topic = topics.first().map_or(EXAMPLE, String::as_str);
    let warning = match address.ip().is_loopback() {
        true => "",
        false => {
            "WARNING: it has no security, and whoever reaches this address may read and write: listen on 127.0.0.1 \
             unless you mean that.\n"
        }
    };
    format!(
        "A Kafka broker in memory listens on {address}; all it holds is gone when it ends (Ctrl-C).\n{warning}\n\
         Write some events:     echo '{{\"order\":1}}' | kcat -b {address} -P -t {topic}\n\
         Read them:             kcat -b {address} -C -t {topic} -e\n\
         Send them to a hook:   sluicegate run --brokers {address} --topic {topic} --url http://localhost:8080/hook\n"
    )
}
