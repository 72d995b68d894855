//! What files of other clients come to.

use proptest::prelude::*;
use sluicegate::kafka::config::Reset;
use sluicegate::kafka::group::assignor::Assignor;
use sluicegate::kafka::properties::Properties;
use sluicegate::kafka::security::{Protocol, Sasl, Secret, TokenSource};
use sluicegate::net::Pem;
use std::path::Path;
use std::time::Duration;

fn read(text: &str) -> Properties {
    Properties::parse(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn refused(text: &str) -> String {
    Properties::parse(text).unwrap_err().to_string()
}

#[test]
fn reads_the_settings_of_a_java_consumer() {
    let properties = read(
        "bootstrap.servers=one:9092, SASL_SSL://two:9093,[::1]:9094\n\
         group.id=orders\nclient.id=relay-1\nclient.rack=eu-1a\ngroup.instance.id=relay-1\n\
         session.timeout.ms=45000\nheartbeat.interval.ms=3000\nmax.poll.interval.ms=300000\n\
         request.timeout.ms=30000\nconnections.max.idle.ms=540000\nauto.offset.reset=latest\n\
         partition.assignment.strategy=org.apache.kafka.clients.consumer.RangeAssignor,\\\n   \
         org.apache.kafka.clients.consumer.CooperativeStickyAssignor\n\
         isolation.level=read_committed\nenable.auto.commit=false\n\
         value.deserializer=org.apache.kafka.common.serialization.StringDeserializer\n\
         interceptor.classes=com.example.Watch\n",
    );
    assert_eq!(properties.brokers, ["one:9092", "two:9093", "[::1]:9094"]);
    assert_eq!(properties.group.as_deref(), Some("orders"));
    assert_eq!(properties.client_id.as_deref(), Some("relay-1"));
    assert_eq!(properties.client_rack.as_deref(), Some("eu-1a"));
    assert_eq!(properties.instance_id.as_deref(), Some("relay-1"));
    assert_eq!(properties.session_timeout, Some(Duration::from_secs(45)));
    assert_eq!(properties.heartbeat_interval, Some(Duration::from_secs(3)));
    assert_eq!(properties.rebalance_timeout, Some(Duration::from_secs(300)));
    assert_eq!(properties.request_timeout, Some(Duration::from_secs(30)));
    assert_eq!(properties.max_idle, Some(Duration::from_secs(540)));
    assert_eq!(properties.reset, Some(Reset::Latest));
    assert_eq!(properties.assignors, [Assignor::Range, Assignor::CooperativeSticky]);
    assert_eq!(properties.warnings, [""; 0]);
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(read("# nothing yet\n"), Properties::default());
}

#[test]
fn reads_the_credentials_of_java_and_of_librdkafka() {
    let java = |mechanism: &str, module: &str| {
        format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism={mechanism}\nsasl.jaas.config=\
             org.apache.kafka.common.security.{module} required \\\n  username=\"alice\" password=\"a\\\\\\\\b\";\n"
        )
    };
    let alice = || ("alice".to_owned(), Secret::new("a\\b"));
    let (username, password) = alice();
    let expected = Sasl::ScramSha512 { username, password };
    assert_eq!(read(&java("SCRAM-SHA-512", "scram.ScramLoginModule")).security.sasl, Some(expected));
    let (username, password) = alice();
    let expected = Sasl::Plain { username, password };
    assert_eq!(read(&java("PLAIN", "plain.PlainLoginModule")).security.sasl, Some(expected));
    let rdkafka = read(
        "metadata.broker.list=b:9092\nsecurity.protocol=sasl_plaintext\nsasl.mechanisms=SCRAM-SHA-256\n\
         sasl.username=alice\nsasl.password=a\\\\b\nauto.offset.reset=smallest\n\
         partition.assignment.strategy=cooperative-sticky\n",
    );
    let (username, password) = alice();
    assert_eq!(rdkafka.security.sasl, Some(Sasl::ScramSha256 { username, password }));
    assert_eq!(rdkafka.security.protocol, Protocol::SaslPlaintext);
    assert_eq!(rdkafka.reset, Some(Reset::Earliest));
    assert_eq!((rdkafka.warnings.len(), rdkafka.assignors.len()), (0, 1));
}

#[test]
fn reads_where_a_token_comes_from() {
    let with = |line: &str| {
        let text = format!(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=OAUTHBEARER\nsasl.jaas.config=org.apache.kafka.common.\
             security.oauthbearer.OAuthBearerLoginModule required;\n{line}\n"
        );
        Properties::parse(&text).map(|properties| properties.security.sasl)
    };
    let file = Some(Sasl::OauthBearer(TokenSource::File("/run/token".into())));
    assert_eq!(with("sluicegate.oauthbearer.token.file=/run/token").unwrap(), file);
    assert_eq!(with("sasl.oauthbearer.token.endpoint.url=file:///run/token").unwrap(), file);
    assert_eq!(with("sasl.oauthbearer.token.endpoint.url=file:/run/token").unwrap(), file);
    let command = TokenSource::Command(vec!["print-token".into(), "kafka".into()]);
    let found = with("sluicegate.oauthbearer.token.command=print-token kafka").unwrap();
    assert_eq!(found, Some(Sasl::OauthBearer(command)));
    let error = with("sasl.oauthbearer.token.endpoint.url=https://idp/token").unwrap_err().to_string();
    assert!(error.contains("tokens are not fetched over HTTP here"), "{error}");
    assert!(with("").unwrap_err().to_string().contains("OAUTHBEARER needs a token"));
}

#[test]
fn reads_pem_stores_in_files_and_in_line() {
    let java = read(
        "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.location=/etc/ca.pem\n\
         ssl.keystore.type=PEM\nssl.keystore.location=/etc/me.pem\n",
    );
    let file = |path: &str| Some(Pem::File(path.into()));
    assert_eq!(java.security.tls.ca, file("/etc/ca.pem"));
    assert_eq!(java.security.tls.client_cert, file("/etc/me.pem"));
    assert_eq!(java.security.tls.client_key, file("/etc/me.pem"));
    let rdkafka = read(
        "security.protocol=ssl\nssl.ca.location=ca.pem\nssl.certificate.location=c.pem\nssl.key.location=k.pem\n",
    );
    assert_eq!(rdkafka.security.tls.ca, file("ca.pem"));
    assert_eq!(rdkafka.security.tls.client_cert, file("c.pem"));
    assert_eq!(rdkafka.security.tls.client_key, file("k.pem"));
    let inline = read(
        "security.protocol=SSL\nssl.truststore.type=PEM\nssl.truststore.certificates=-----BEGIN CERTIFICATE----- \
         \\\n AAAA \\\n BBBB -----END CERTIFICATE-----\n",
    );
    let expected = "-----BEGIN CERTIFICATE-----\nAAAA\nBBBB\n-----END CERTIFICATE-----\n";
    assert_eq!(inline.security.tls.ca, Some(Pem::Text(expected.into())));
}

#[test]
fn refuses_what_would_break_a_promise() {
    for (line, expected) in [
        ("enable.auto.commit=true", "never by the clock"),
        ("enable.auto.commit=true\nauto.commit.interval.ms=5000", "never by the clock"),
        ("check.crcs=false", "always checked"),
        ("isolation.level=read_uncommitted", "can't be taken back"),
        ("ssl.endpoint.identification.algorithm=", "name is always verified"),
        ("ssl.endpoint.identification.algorithm=none", "name is always verified"),
        ("enable.ssl.certificate.verification=false", "always verified"),
    ] {
        let error = refused(line);
        assert!(error.starts_with("line 1: ") && error.contains(expected), "{line}: {error}");
        assert!(error.contains("is refused: "), "{line}: {error}");
    }
}

#[test]
fn refuses_what_it_can_not_do() {
    for (text, expected) in [
        ("ssl.truststore.location=/etc/ca.jks", "keytool -importkeystore"),
        ("ssl.keystore.type=PKCS12\nssl.keystore.location=/etc/me.p12", "openssl pkcs12"),
        ("ssl.key.password=me-secret", "openssl pkey"),
        ("security.protocol=TLS", "PLAINTEXT, SSL"),
        ("security.protocol=SASL_PLAINTEXT", "needs a sasl.mechanism"),
        ("sasl.mechanism=GSSAPI", "is not spoken here"),
        ("sasl.mechanism=PLAIN\nsasl.username=alice", "a username and a password"),
        ("sasl.username=alice\nsasl.password=alice-secret", "needs a sasl.mechanism"),
        ("sasl.mechanism=PLAIN\nsasl.jaas.config=a.ScramLoginModule required;", "the PlainLoginModule"),
        ("sasl.mechanism=PLAIN\nsasl.jaas.config=a.PlainLoginModule password=\"me-secret\";", "'required'"),
        ("session.timeout.ms=soon", "session.timeout.ms=soon has to be a number of milliseconds"),
        ("bootstrap.servers=broker", "\"broker\" is no HOST:PORT"),
        ("bootstrap.servers=broker:0", "is no HOST:PORT"),
        ("auto.offset.reset=by_duration:PT1H", "earliest, latest or none"),
        ("partition.assignment.strategy=com.example.Mine", "com.example.Mine is not spoken here"),
    ] {
        let error = refused(text);
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("me-secret") && !error.contains("alice-secret"), "{error}");
    }
}

#[test]
fn warns_of_what_has_no_effect() {
    let properties = read(
        "linger.ms=5\nsasl.mechanism=PLAIN\nsasl.username=alice\nsasl.password=alice-secret\n\
         group.protocol=consumer\npartition.assignment.strategy=range,com.example.Mine\n\
         metadata.broker.list=a:1\nbootstrap.servers=b:2\nauto.commit.interval.ms=5000\n",
    );
    assert_eq!(properties.brokers, ["b:2"]);
    assert_eq!(properties.assignors, [Assignor::Range]);
    let expected = [
        "group.protocol=consumer is not spoken here",
        "metadata.broker.list is left aside for bootstrap.servers",
        "the sasl.* settings go unused",
        "com.example.Mine is not spoken here",
        "line 9: auto.commit.interval.ms has no effect here",
        "line 1: linger.ms has no effect here",
    ];
    assert_eq!(properties.warnings.len(), expected.len(), "{:?}", properties.warnings);
    for (warning, expected) in properties.warnings.iter().zip(expected) {
        assert!(warning.contains(expected), "{warning}");
    }
    assert!(!format!("{properties:?}").contains("alice-secret"));
}

#[test]
fn warns_of_login_options_that_have_no_effect() {
    let properties = read(
        "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config=a.ScramLoginModule required \
         username=\"alice\" password=\"alice-secret\" tokenauth=\"true\";\n",
    );
    assert_eq!(properties.warnings, ["line 3: tokenauth in sasl.jaas.config has no effect here"]);
}

#[test]
fn says_why_a_file_can_not_be_read() {
    let error = Properties::read(Path::new("/nowhere/client.properties")).unwrap_err().to_string();
    assert!(error.starts_with("can't be read: "), "{error}");
    let latin = std::env::temp_dir().join(format!("sluicegate-latin-{}", std::process::id()));
    std::fs::write(&latin, b"client.id=caf\xe9").unwrap();
    let error = Properties::read(&latin).unwrap_err().to_string();
    std::fs::remove_file(latin).unwrap();
    assert!(error.starts_with("is not UTF-8"), "{error}");
}

/// Lines that nearly are properties, so that what follows the format is reached too.
fn nearly() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "bootstrap.servers",
        "security.protocol",
        "sasl.mechanism",
        "sasl.jaas.config",
        "ssl.truststore.certificates",
        "ssl.keystore.location",
        "session.timeout.ms",
        "partition.assignment.strategy",
        "sasl.oauthbearer.token.endpoint.url",
    ]);
    let value = prop_oneof![
        "\\PC{0,40}",
        "[-:=\"';\\\\ a-z0-9]{0,40}",
        "(-----(BEGIN|END) [A-Z]{0,4}(-----)? ?[ä A-Za-z]{0,4}){0,4}",
        Just("PLAIN".to_owned()),
        Just("SSL".to_owned()),
        Just("PEM".to_owned()),
    ];
    prop::collection::vec((key, value), 0..6)
        .prop_map(|lines| lines.into_iter().map(|(key, value)| format!("{key}={value}\n")).collect())
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop_oneof!["(?s).{0,300}", nearly()]) {
        let _ = Properties::parse(&text);
    }
}
