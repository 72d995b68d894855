//! A real broker with a listener for each way to be secured, shared by the tests that run at the same time.

use crate::support::broker::{Broker, NEW};
use crate::support::certificates::{Authority, Certificate};
use sluicegate::kafka::security::{Protocol, Security};
use sluicegate::net::{Pem, TlsSettings};
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

pub struct Secured {
    pub broker: Broker,
    /// Who signed the broker's certificates.
    pub authority: Authority,
    /// A client's certificate of that authority.
    pub client: Certificate,
}

/// The session's lifetime on the listener `BRIEF`, in milliseconds.
pub const BRIEF_SESSION: u64 = 2000;

const LISTENERS: [(&str, &str); 8] = [
    ("TRUSTED", "SSL"),
    ("MUTUAL", "SSL"),
    ("EXPIRED", "SSL"),
    ("MISNAMED", "SSL"),
    ("SASL", "SASL_PLAINTEXT"),
    ("SASL_TLS", "SASL_SSL"),
    ("FEW", "SASL_PLAINTEXT"),
    ("BRIEF", "SASL_PLAINTEXT"),
];
const PACKAGE: &str = "org.apache.kafka.common.security";

/// The broker; `None` where its jars are not there.
pub fn secured() -> Option<Arc<Secured>> {
    static SHARED: Mutex<Weak<Secured>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(running) = shared.upgrade() {
        return Some(running);
    }
    let started = Arc::new(start()?);
    *shared = Arc::downgrade(&started);
    Some(started)
}

fn start() -> Option<Secured> {
    let authority = Authority::new();
    let here = "DNS:localhost,IP:127.0.0.1";
    let good = authority.issue("good", here);
    let expired = authority.issue_expired("expired", here);
    let misnamed = authority.issue("misnamed", "DNS:another.example");
    let client = authority.issue("client", "DNS:client");
    let mut properties: Vec<(String, String)> = Vec::new();
    let mut set = |listener: &str, name: &str, value: String| {
        properties.push((format!("listener.name.{}.{name}", listener.to_lowercase()), value));
    };
    let keys = [
        ("TRUSTED", &good),
        ("MUTUAL", &good),
        ("SASL_TLS", &good),
        ("EXPIRED", &expired),
        ("MISNAMED", &misnamed),
    ];
    for (listener, certificate) in keys {
        set(listener, "ssl.keystore.type", "PEM".into());
        set(listener, "ssl.keystore.location", certificate.all.display().to_string());
        set(listener, "ssl.truststore.type", "PEM".into());
        set(listener, "ssl.truststore.location", authority.pem().display().to_string());
    }
    set("MUTUAL", "ssl.client.auth", "required".into());
    let plain = format!("{PACKAGE}.plain.PlainLoginModule required user_alice=\"alice-secret\";");
    let scram = format!("{PACKAGE}.scram.ScramLoginModule required;");
    let oauth =
        format!("{PACKAGE}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub=\"b\";");
    for listener in ["SASL", "SASL_TLS", "BRIEF", "FEW"] {
        let few = listener == "FEW";
        let enabled = if few { "SCRAM-SHA-512" } else { "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER" };
        set(listener, "sasl.enabled.mechanisms", enabled.into());
        for (mechanism, login) in
            [("plain", &plain), ("scram-sha-256", &scram), ("scram-sha-512", &scram), ("oauthbearer", &oauth)]
        {
            set(listener, &format!("{mechanism}.sasl.jaas.config"), login.clone());
            if listener == "BRIEF" {
                set(listener, &format!("{mechanism}.connections.max.reauth.ms"), BRIEF_SESSION.to_string());
            }
        }
    }
    let properties: Vec<_> = properties.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let user = |mechanism: &str| format!("{mechanism}=[name=alice,password=alice-secret]");
    let users = [user("SCRAM-SHA-256"), user("SCRAM-SHA-512")];
    let broker = Broker::secured(NEW, &LISTENERS, &properties, &users.each_ref().map(String::as_str))?;
    Some(Secured { broker, authority, client })
}

/// Trust in what this CA signed, for this protocol.
pub fn trusting(ca: &Path, protocol: Protocol) -> Security {
    let tls = TlsSettings { ca: Some(Pem::File(ca.to_owned())), ..TlsSettings::default() };
    Security { protocol, tls, sasl: None }
}
