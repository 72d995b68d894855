//! The manual: documentation only, as pages that GitHub and `cargo doc` both show.
//!
//! | Page | what it answers |
//! |---|---|
//! | [Trying it out](trying) | `sandbox`, `receive`, `check --send-test`: rehearsals without Kafka or webhook |
//! | [Delivery](delivery) | what a request looks like; windows, batches, order, rate |
//! | [Failures](failures) | what each answer leads to; retries, pauses, which record is to blame |
//! | [Dead letters](dead_letters) | where rejected records go, and how they are sent again |
//! | [Signing](signing) | signatures, credentials, files that change |
//! | [Kafka](kafka) | groups, positions, brokers, `client.properties` |
//! | [Flags](flags) | flags by task, exit codes, configuration |
//! | [Library](library) | the relay, the semaphore and the Kafka client in a program of one's own |
//! | [Ports](ports) | what a system has to offer; builds for other processors; sizes and memory |
//! | [Architecture](architecture) | rooms; the life of a record, an answer, a flag, a dead letter; locks and threads |
//! | [Glossary](glossary) | each term, one meaning |
//! | [Contributing](contributing) | how to add a flag, a Kafka API, a verdict |
//! | [Changelog](changelog) | what changed |
//!
//! Pages link to each other by reference (`[failures]`). Each page ends with those references as files, for GitHub;
//! here, definitions that come first send the same links to modules.

macro_rules! pages {
    ($($name:ident: $file:literal),* $(,)?) => {
        $(
            #[doc = "[trying it out]: trying"]
            #[doc = "[delivery]: delivery"]
            #[doc = "[failures]: failures"]
            #[doc = "[dead letters]: dead_letters"]
            #[doc = "[signing]: signing"]
            #[doc = "[kafka]: kafka"]
            #[doc = "[flags]: flags"]
            #[doc = "[library]: library"]
            #[doc = "[ports]: ports"]
            #[doc = "[architecture]: architecture"]
            #[doc = "[glossary]: glossary"]
            #[doc = "[contributing]: contributing"]
            #[doc = "[changelog]: changelog"]
            #[doc = ""]
            #[doc = include_str!($file)]
            pub mod $name {}
        )*
    };
}

pages! {
    trying: "trying.md",
    delivery: "delivery.md",
    failures: "failures.md",
    dead_letters: "dead_letters.md",
    signing: "signing.md",
    kafka: "kafka.md",
    flags: "flags.md",
    library: "library.md",
    ports: "ports.md",
    architecture: "architecture.md",
    glossary: "glossary.md",
    contributing: "contributing.md",
    changelog: "changelog.md",
}
