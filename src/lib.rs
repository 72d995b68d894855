//! Sends the events of a Kafka topic to a webhook, no faster than the webhook can take.
//!
//! This is the map of the crate. The [manual] explains it: what each answer leads to ([failures](manual::failures)),
//! how a record travels ([architecture](manual::architecture)), what each term means ([glossary](manual::glossary)),
//! how to use the parts on their own ([library](manual::library)) and how to change them
//! ([contributing](manual::contributing)).
//!
//! ```text
//!             kafka/                        relay/ (std only)                        webhook/
//!   topic ──► consumer ──records──► schedule ──► worker ─permit─► request ──HTTP──► destination
//!               ▲                     │  ▲        (semaphore, brakes)    │
//!               └──── commit ◄─ ledger ┘  └──── accepted / retry at t / rejected
//!                                                                      └──► dead letters
//! ```
//!
//! Arrows point inwards: adapters import [`relay`], never the other way; [`relay`] imports [`record`], [`notice`],
//! [`timing`] and [`text`] alone. The Kafka client does not know the relay either: `kafka::source` and
//! `kafka::dead_letters` fit the one to the other.
//!
//! | room | what is in it | feature |
//! |---|---|---|
//! | [record] | what everything stands on: records, partitions, offsets, checkpoints | always |
//! | [notice] | a sentence for the log, from what does not log itself | always |
//! | [timing] | when to retry, and until when one may act: backoff, jitter, lease | always |
//! | [relay] | the product: what is sent when, and what may be committed | always |
//! | `kafka` | where records come from | `kafka`, `kafka-crate` |
//! | `webhook` | where they go | `keep-alive`, `minreq` |
//! | [text] | small formats: JSON, base64, times, text for a terminal | always |
//! | `net` | addresses, sockets and TLS, for both | `kafka`, `keep-alive` |
//! | [files] | files named by users: read within bounds, and again when they change | always |
//! | `observe` | log lines | `cli` |
//! | `cli` | the command line: commands, flags, exit codes | `cli` |
//! | [manual] | documentation only | always |

#[cfg(all(feature = "cli", not(any(feature = "kafka", feature = "kafka-crate"))))]
compile_error!("the feature `cli` needs a Kafka client: add the feature `kafka` or `kafka-crate`");
#[cfg(all(feature = "cli", not(any(feature = "keep-alive", feature = "minreq"))))]
compile_error!("the feature `cli` needs an HTTP client: add the feature `keep-alive` or `minreq`");

#[cfg(feature = "cli")]
pub mod cli;
pub mod files;
#[cfg(any(feature = "kafka", feature = "kafka-crate"))]
pub mod kafka;
pub mod manual;
#[cfg(any(feature = "kafka", feature = "keep-alive"))]
pub mod net;
pub mod notice;
#[cfg(feature = "cli")]
pub mod observe;
pub mod record;
pub mod relay;
pub mod text;
pub mod timing;
#[cfg(any(feature = "keep-alive", feature = "minreq"))]
pub mod webhook;
