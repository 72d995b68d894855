//! `security.protocol`, `ssl.*` and `sasl.*`, under Java's names and librdkafka's.

use super::entries::{Entries, Taken};
use super::{PropertiesError, jaas};
use crate::kafka::security::{Protocol, Sasl, Secret, Security, TokenSource};
use crate::net::{Pem, TlsSettings};
use std::path::PathBuf;

const NO_STORE: &str = "is in Java's own format, and PEM is read here: for a JKS first run keytool -importkeystore \
                        -srckeystore STORE -destkeystore STORE.p12 -deststoretype PKCS12, then openssl pkcs12 -in \
                        STORE.p12 -nodes -out STORE.pem, and set its location to that file and its type to PEM";
const NO_TOKEN: &str = "OAUTHBEARER needs a token: set sluicegate.oauthbearer.token.file or \
                        sluicegate.oauthbearer.token.command, or sasl.oauthbearer.token.endpoint.url=file:PATH";

/// Everything that secures a connection.
pub(super) fn security(entries: &mut Entries) -> Result<Security, PropertiesError> {
    let mut security = Security { tls: tls(entries)?, ..Security::default() };
    let mut line = None;
    if let Some(entry) = entries.take(&["security.protocol"]) {
        line = Some(entry.line);
        security.protocol = Protocol::parse(&entry.value).ok_or_else(|| {
            let known = "it is PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL";
            PropertiesError::at(
                entry.line,
                format!("security.protocol={} is not known: {known}", entry.value),
            )
        })?;
    }
    security.sasl = sasl(entries)?;
    let name = security.protocol.name();
    if security.sasl.is_some() && !security.protocol.has_sasl() {
        entries.warn(format!("security.protocol={name} has no SASL: the sasl.* settings go unused"));
    }
    if security.tls != TlsSettings::default() && !security.protocol.has_tls() {
        entries.warn(format!("security.protocol={name} has no TLS: the ssl.* settings go unused"));
    }
    security.check().map_err(|error| PropertiesError { line, sentence: error.to_string() })?;
    Ok(security)
}

fn tls(entries: &mut Entries) -> Result<TlsSettings, PropertiesError> {
    if let Some(entry) = entries.take(&["ssl.key.password"])
        && !entry.value.is_empty()
    {
        let sentence = "ssl.key.password: encrypted keys are not read here: decrypt it (openssl pkey -in KEY -out \
                        PLAIN), keep that file private, and remove the password";
        return Err(PropertiesError::at(entry.line, sentence.into()));
    }
    let trusted = store(entries, "ssl.truststore.type", "ssl.truststore.location")?;
    let own = store(entries, "ssl.keystore.type", "ssl.keystore.location")?;
    let inline =
        |entries: &mut Entries, names: &[&'static str]| entries.text(names).map(|text| relined(&text));
    let file = |entries: &mut Entries, name| entries.text(&[name]).map(|path| Pem::File(path.into()));
    let ca_text = inline(entries, &["ssl.truststore.certificates", "ssl.ca.pem"]);
    // librdkafka's word for the system's own.
    let ca_file = file(entries, "ssl.ca.location").filter(|file| *file != Pem::File("probe".into()));
    let cert_text = inline(entries, &["ssl.keystore.certificate.chain", "ssl.certificate.pem"]);
    let key_text = inline(entries, &["ssl.keystore.key", "ssl.key.pem"]);
    let cert_file = file(entries, "ssl.certificate.location");
    let key_file = file(entries, "ssl.key.location");
    Ok(TlsSettings {
        ca: trusted.or(ca_text).or(ca_file),
        client_cert: own.clone().or(cert_text).or(cert_file),
        client_key: own.or(key_text).or(key_file),
        ..TlsSettings::default()
    })
}

/// A store's file, if it is in PEM. Without a type it is in Java's own format.
fn store(
    entries: &mut Entries,
    kind: &'static str,
    location: &'static str,
) -> Result<Option<Pem>, PropertiesError> {
    let (kind, location) = (entries.take(&[kind]), entries.take(&[location]));
    let pem = kind.as_ref().is_some_and(|kind| kind.value.eq_ignore_ascii_case("PEM"));
    match (location.filter(|location| !location.value.is_empty()), kind) {
        (Some(location), _) if pem => Ok(Some(Pem::File(PathBuf::from(location.value)))),
        (Some(entry), _) => Err(PropertiesError::at(
            entry.line,
            format!("{}: the store {} {NO_STORE}", entry.key, entry.value),
        )),
        // Which says nothing as long as no such store is named.
        (None, _) => Ok(None),
    }
}

/// PEM inside of a property often has lost its line ends: they are put back where the format needs them.
fn relined(text: &str) -> Pem {
    let mut lines = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = ["-----BEGIN ", "-----END "].iter().filter_map(|mark| rest.find(mark)).min() {
        let (body, marked) = rest.split_at(start);
        let length = marked.get(5..).and_then(|name| name.find("-----")).map_or(marked.len(), |end| end + 10);
        let (mark, after) = marked.split_at(length.min(marked.len()));
        push_body(&mut lines, body);
        lines.push_str(mark);
        lines.push('\n');
        rest = after;
    }
    push_body(&mut lines, rest);
    Pem::Text(lines)
}

fn push_body(lines: &mut String, body: &str) {
    for word in body.split_whitespace() {
        lines.push_str(word);
        lines.push('\n');
    }
}

fn sasl(entries: &mut Entries) -> Result<Option<Sasl>, PropertiesError> {
    let mechanism = entries.take(&["sasl.mechanism", "sasl.mechanisms"]);
    let jaas = entries.take(&["sasl.jaas.config"]);
    let username = entries.take(&["sasl.username"]);
    let password = entries.take(&["sasl.password"]);
    let token = token(entries)?;
    let Some(mechanism) = mechanism else {
        if let Some(entry) = jaas.or(username) {
            let sentence = format!("{} needs a sasl.mechanism beside it", entry.key);
            return Err(PropertiesError::at(entry.line, sentence));
        }
        return Ok(None);
    };
    let wrong = |sentence: String| PropertiesError::at(mechanism.line, sentence);
    let name = mechanism.value.to_ascii_uppercase();
    if name == "OAUTHBEARER" {
        if let Some(jaas) = &jaas {
            login(jaas, "OAuthBearerLoginModule")?;
        }
        return token.map(|token| Some(Sasl::OauthBearer(token))).ok_or_else(|| wrong(NO_TOKEN.into()));
    }
    let module = match name.as_str() {
        "PLAIN" => "PlainLoginModule",
        "SCRAM-SHA-256" | "SCRAM-SHA-512" => "ScramLoginModule",
        _ => {
            let known = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER are";
            return Err(wrong(format!("{}={} is not spoken here; {known}", mechanism.key, mechanism.value)));
        }
    };
    let (username, password) = match jaas {
        Some(jaas) => {
            let mut options = login(&jaas, module)?;
            let credentials = (options.remove("username"), options.remove("password"));
            for option in options.keys() {
                entries.warn(format!("line {}: {option} in sasl.jaas.config has no effect here", jaas.line));
            }
            credentials
        }
        None => (username.map(|entry| entry.value), password.map(|entry| entry.value)),
    };
    let (Some(username), Some(password)) = (username, password) else {
        let sentence =
            "needs a username and a password: in sasl.jaas.config, or as sasl.username and sasl.password";
        return Err(wrong(format!("{}={} {sentence}", mechanism.key, mechanism.value)));
    };
    let password = Secret::new(password);
    Ok(Some(match name.as_str() {
        "PLAIN" => Sasl::Plain { username, password },
        "SCRAM-SHA-256" => Sasl::ScramSha256 { username, password },
        _ => Sasl::ScramSha512 { username, password },
    }))
}

/// The options of the login module that the mechanism needs.
fn login(entry: &Taken, module: &str) -> Result<std::collections::BTreeMap<String, String>, PropertiesError> {
    let wrong = |sentence: String| PropertiesError::at(entry.line, format!("sasl.jaas.config: {sentence}"));
    let login = jaas::parse(&entry.value).map_err(|expected| wrong(expected.to_owned()))?;
    if login.module != module {
        return Err(wrong(format!("the mechanism needs the {module}, not another login module")));
    }
    Ok(login.options)
}

/// Where a bearer token comes from. `file:` is how Java's clients name a file that holds one (KIP-768).
fn token(entries: &mut Entries) -> Result<Option<TokenSource>, PropertiesError> {
    let file = entries.text(&["sluicegate.oauthbearer.token.file"]);
    let command = entries.text(&["sluicegate.oauthbearer.token.command"]);
    let url = entries.take(&["sasl.oauthbearer.token.endpoint.url"]);
    let mut source = command.as_deref().and_then(TokenSource::command);
    if let Some(url) = url {
        let path = url.value.strip_prefix("file:").filter(|path| path.starts_with('/'));
        let Some(path) = path else {
            let sentence = "sasl.oauthbearer.token.endpoint.url: tokens are not fetched over HTTP here: have them \
                            written to a file, or printed by a command, and set sluicegate.oauthbearer.token.file or \
                            sluicegate.oauthbearer.token.command";
            return Err(PropertiesError::at(url.line, sentence.into()));
        };
        // Both file:/PATH and file:///PATH.
        let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
        source = Some(TokenSource::File(path.into()));
    }
    Ok(file.map(|file| TokenSource::File(file.into())).or(source))
}
