//! `run`: the events of topics to the webhook, until a signal, the end, or something that ends it.

use crate::cli::Failure;
use crate::cli::plan::RunPlan;

pub(crate) fn run(plan: RunPlan) -> Result<(), Failure> {
    let RunPlan { source, topics, delivery } = plan;
    let from = format!("topic {} as group {}", topics.join(","), source.group());
    let delivery = delivery.open(source.warnings())?;
    delivery.announce(&from);
    delivery.deliver(source.open()?.as_mut())
}
