//! Who we are: SASL against a real broker, with right and wrong credentials.

use crate::connection::secured::{BRIEF_SESSION, Secured, secured, trusting};
use crate::connection::{ask, connector, soon, visit};
use crate::support::LONG;
use sluicegate::kafka::connection::{ConnectionError, Connector, ConnectorSettings};
use sluicegate::kafka::properties::Properties;
use sluicegate::kafka::protocol::api_versions::ApiVersionsRequest;
use sluicegate::kafka::security::{Protocol, Sasl, Secret, Security, TokenSource};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

fn plain(username: &str, password: &str) -> Sasl {
    Sasl::Plain { username: username.into(), password: Secret::new(password) }
}

fn scram256(username: &str, password: &str) -> Sasl {
    Sasl::ScramSha256 { username: username.into(), password: Secret::new(password) }
}

fn scram512(username: &str, password: &str) -> Sasl {
    Sasl::ScramSha512 { username: username.into(), password: Secret::new(password) }
}

pub fn with(sasl: Sasl) -> Connector {
    connector(Security { protocol: Protocol::SaslPlaintext, sasl: Some(sasl), ..Security::default() })
}

/// An unsecured token (RFC 7515 appendix A.5) that holds until so long from now.
pub fn token(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let claims = format!("{{\"sub\":\"alice\",\"iat\":{},\"exp\":{}}}", now - 7200, now + seconds);
    let encode = |text: &str| {
        let text = sluicegate::text::base64::encode(text.as_bytes());
        text.trim_end_matches('=').replace('+', "-").replace('/', "_")
    };
    format!("{}.{}.", encode("{\"alg\":\"none\"}"), encode(&claims))
}

/// A file with a token, gone when it is dropped.
pub struct TokenFile(pub PathBuf);

impl TokenFile {
    pub fn new(name: &str, token: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sluicegate-{name}-{}", std::process::id()));
        std::fs::write(&path, token).unwrap();
        Self(path)
    }

    pub fn sasl(&self) -> Sasl {
        Sasl::OauthBearer(TokenSource::File(self.0.clone()))
    }
}

impl Drop for TokenFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn is_let_in_with_the_right_credentials() {
    let Some(secured) = secured() else { return };
    let file = TokenFile::new("right", &token(3600));
    let printed = TokenSource::Command(vec!["cat".into(), file.0.display().to_string()]);
    let right = [
        plain("alice", "alice-secret"),
        scram256("alice", "alice-secret"),
        scram512("alice", "alice-secret"),
        file.sasl(),
        Sasl::OauthBearer(printed),
    ];
    for sasl in right {
        let plaintext = with(sasl.clone());
        assert_eq!(visit(&plaintext, "localhost", secured.broker.port("SASL")).unwrap(), 1, "{sasl:?}");
        let mut security = trusting(&secured.authority.pem(), Protocol::SaslSsl);
        security.sasl = Some(sasl.clone());
        assert_eq!(
            visit(&connector(security), "localhost", secured.broker.port("SASL_TLS")).unwrap(),
            1,
            "{sasl:?}"
        );
    }
}

#[test]
fn wrong_credentials_are_fatal_and_say_so() {
    let Some(secured) = secured() else { return };
    let expired = TokenFile::new("expired", &token(-3600));
    let wrong = [
        plain("alice", "guess"),
        plain("bob", "alice-secret"),
        scram256("alice", "guess"),
        scram512("alice", "guess"),
        scram256("bob", "alice-secret"),
        scram512("b=o,b", "alice-secret"),
        expired.sasl(),
    ];
    for sasl in wrong {
        let error = with(sasl.clone()).open("localhost", secured.broker.port("SASL"), soon()).unwrap_err();
        assert!(
            error.is_fatal() && matches!(error, ConnectionError::Authentication { .. }),
            "{sasl:?}: {error}"
        );
        let shown = error.to_string();
        let expected = format!(
            "no authentication with localhost:{} by {}: ",
            secured.broker.port("SASL"),
            sasl.mechanism()
        );
        assert!(shown.starts_with(&expected) && shown.ends_with("that the broker knows them"), "{shown}");
        assert!(!shown.contains("guess"), "{shown}");
        println!("{shown}");
    }
}

#[test]
fn a_mechanism_that_is_not_enabled_is_told_with_those_that_are() {
    let Some(secured) = secured() else { return };
    let error = with(plain("alice", "alice-secret"))
        .open("localhost", secured.broker.port("FEW"), soon())
        .unwrap_err();
    assert!(error.is_fatal());
    assert!(
        error.to_string().ends_with("the broker has enabled SCRAM-SHA-512: set sasl.mechanism to that"),
        "{error}"
    );
}

#[test]
fn a_token_that_is_not_there_yet_may_be_there_at_the_next_attempt() {
    let Some(secured) = secured() else { return };
    let file = TokenFile::new("later", "");
    let connector = with(file.sasl());
    let port = secured.broker.port("SASL");
    let error = connector.open("localhost", port, soon()).unwrap_err();
    assert!(!error.is_fatal() && error.to_string().contains("gives no token"), "{error}");
    std::fs::write(&file.0, token(3600)).unwrap();
    assert_eq!(visit(&connector, "localhost", port).unwrap(), 1);
}

/// Asks over and over until a time has passed that is well beyond the session's.
fn outlives_its_session(secured: &Secured, sasl: Sasl) {
    let mut connection = with(sasl).open("localhost", secured.broker.port("BRIEF"), soon()).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(BRIEF_SESSION * 5 / 2) {
        assert_eq!(ask(&mut connection, soon()).unwrap_or_else(|error| panic!("{error}")), 1);
        std::thread::sleep(Duration::from_millis(50)); // the time itself is what is tested
    }
    assert!(!connection.has_gone());
}

#[test]
fn a_connection_outlives_its_session_by_authenticating_anew() {
    let Some(secured) = secured() else { return };
    let file = TokenFile::new("again", &token(3600));
    std::thread::scope(|scope| {
        for sasl in [plain("alice", "alice-secret"), scram256("alice", "alice-secret"), file.sasl()] {
            let secured = &secured;
            scope.spawn(move || outlives_its_session(secured, sasl));
        }
    });
}

#[test]
fn without_authenticating_anew_the_broker_ends_the_connection() {
    let Some(secured) = secured() else { return };
    let connector = with(scram512("alice", "alice-secret"));
    // The broker's session begins somewhere in `open`.
    let begun = Instant::now();
    let mut connection = connector.open("localhost", secured.broker.port("BRIEF"), soon()).unwrap();
    // With an answer due all the time, there is no time for it.
    let mut earlier = connection.send(&ApiVersionsRequest::default(), soon()).unwrap();
    let ended = loop {
        assert!(begun.elapsed() < LONG, "the broker goes on with a session that is over");
        let next = connection.send(&ApiVersionsRequest::default(), soon());
        let answer = connection.receive::<ApiVersionsRequest>(earlier, soon()).map(drop);
        match (next, answer) {
            (Ok(next), Ok(())) => earlier = next,
            _ => break begun.elapsed(),
        }
        std::thread::sleep(Duration::from_millis(50)); // the time itself is what is tested
    };
    assert!(ended >= Duration::from_millis(BRIEF_SESSION), "{ended:?}");
    assert!(connection.has_gone());
}

#[test]
fn a_file_of_properties_is_all_it_takes() {
    let Some(secured) = secured() else { return };
    let text = format!(
        "bootstrap.servers=localhost:{}\nsecurity.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  username=\"alice\" \
         password=\"alice-secret\";\nssl.truststore.type=PEM\nssl.truststore.location={}\n",
        secured.broker.port("SASL_TLS"),
        secured.authority.pem().display(),
    );
    let properties = Properties::parse(&text).unwrap();
    let settings = ConnectorSettings { security: properties.security, ..ConnectorSettings::default() };
    let connector = Connector::new(settings).unwrap();
    let (host, port) = properties.brokers[0].split_once(':').unwrap();
    assert_eq!(visit(&connector, host, port.parse().unwrap()).unwrap(), 1);
}
