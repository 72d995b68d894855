//! The flags of requests: body, headers, credentials and signatures.

use super::{BASE, Flag, Group, WEBHOOK, choose, switch};
use crate::cli::options::{Auth, FormatName};
use crate::cli::values;
use crate::webhook::request::{HeaderError, HeaderField, forwardable, header_field};
use crate::webhook::secret_file::Scheme;

/// Where they stand, and who takes them.
const REQUEST: Flag = Flag { group: Group::To, commands: WEBHOOK, ..BASE };

/// What is wrong with a header; the content type has a flag of its own.
fn header_error(error: HeaderError) -> String {
    match error {
        HeaderError::Reserved(name) if name.eq_ignore_ascii_case("content-type") => {
            "the content type is the record's own, or set by --content-type".into()
        }
        error => error.to_string(),
    }
}

/// Their part of the table.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "header",
        value: Some("'NAME: VALUE'"),
        repeats: true,
        doc: "Extra header for each request",
        more: "It may hold {topic}, {partition}, {key} and {header:NAME}. Keep secrets in the environment \
               or the config file.",
        basic: true,
        set: |o, v| HeaderField::parse(v).map(|header| o.headers.push(header)).map_err(header_error),
        ..REQUEST
    },
    Flag {
        long: "forward-header",
        value: Some("NAME"),
        repeats: true,
        doc: "Forward this header of the record",
        more: "A value that can't stand in an HTTP header goes as NAME-base64. The kafka-crate client \
               reads no headers.",
        set: |o, v| forwardable(v).map(|name| o.forward_headers.push(name)).map_err(header_error),
        ..REQUEST
    },
    Flag {
        long: "no-kafka-headers",
        doc: "Leave out the request headers that begin with kafka-",
        set: |o, v| switch(v).map(|on| o.no_kafka_headers = on),
        ..REQUEST
    },
    Flag {
        long: "max-key-header",
        value: Some("SIZE"),
        default: "4KiB",
        doc: "Longest kafka-key header",
        more: "A longer key is left out, and kafka-key-omitted holds its length.",
        set: |o, v| values::bytes(v).map(|size| o.max_key_header = size),
        ..REQUEST
    },
    Flag {
        long: "content-type",
        value: Some("TYPE"),
        default: "by the value: JSON or octet-stream",
        doc: "Content-Type of each request",
        more: "A content-type header of the record takes precedence.",
        set: |o, v| {
            header_field::content_type(v)
                .map(|value| o.content_type = Some(value))
                .map_err(|error| error.to_string())
        },
        ..REQUEST
    },
    Flag {
        long: "format",
        value: Some("raw|json|cloudevents"),
        default: "raw",
        doc: "What to send",
        more: "raw: the record's value; json: the whole record as JSON; cloudevents: the value as a \
               CloudEvent.",
        set: |o, v| {
            let formats = [
                ("raw", FormatName::Raw),
                ("json", FormatName::Json),
                ("cloudevents", FormatName::CloudEvents),
            ];
            choose(v, &formats).map(|format| o.format = format)
        },
        ..REQUEST
    },
    Flag {
        long: "ce-source",
        value: Some("URI"),
        default: "kafka://BROKER/TOPIC",
        doc: "CloudEvents: default source for records that are not CloudEvents",
        set: |o, v| attribute(v).map(|source| o.ce_source = Some(source)),
        ..REQUEST
    },
    Flag {
        long: "ce-type",
        value: Some("TYPE"),
        default: "kafka.record",
        doc: "CloudEvents: default type for records that are not CloudEvents",
        set: |o, v| attribute(v).map(|kind| o.ce_type = Some(kind)),
        ..REQUEST
    },
    Flag {
        long: "filter",
        value: Some("header:NAME=VALUE"),
        group: Group::From,
        repeats: true,
        doc: "Deliver only records with this header",
        more: "Same name: OR; different names: AND. Other records count as done.",
        set: |o, v| {
            let wanted = || "it is written header:NAME=VALUE".to_owned();
            let (name, value) =
                v.strip_prefix("header:").and_then(|v| v.split_once('=')).ok_or_else(wanted)?;
            if name.is_empty() {
                return Err(wanted());
            }
            if name.contains('*') {
                // A star is valid in a header name, but stands for a pattern to anybody who writes it.
                let text = "matches no header: patterns are not supported, so write each name in full";
                return Err(format!("'{name}' {text}"));
            }
            o.settings.filter.want_header(name, value.as_bytes());
            Ok(())
        },
        ..REQUEST
    },
    Flag {
        long: "skip-tombstones",
        group: Group::From,
        doc: "Leave out records without a value",
        more: "They count as done.",
        set: |o, v| switch(v).map(|on| o.settings.filter.skip_tombstones(on)),
        ..REQUEST
    },
    Flag {
        long: "auth",
        value: Some("KIND:FILE"),
        doc: "Credentials for the webhook",
        more: "bearer-file:FILE holds a token, basic-file:FILE holds USER:PASSWORD, oauth2:FILE says how \
               to get a token (token-url, client-id, client-secret, scope, audience, client-auth, \
               token-ca, token-client-cert, token-client-key, token-proxy). The files are read again when \
               they change.",
        basic: true,
        set: |o, v| auth(v).map(|auth| o.auth = Some(auth)),
        ..REQUEST
    },
    Flag {
        long: "signing-secret-file",
        value: Some("FILE"),
        repeats: true,
        doc: "Sign requests (Standard Webhooks) with the secrets in this file",
        more: "One secret a line, the current one first: whsec_… (HMAC-SHA256) or whsk_… (Ed25519).",
        basic: true,
        set: |o, v| {
            o.signing_secret_files.push(v.into());
            Ok(())
        },
        ..REQUEST
    },
];

fn auth(value: &str) -> Result<Auth, String> {
    // What it holds may be a secret by mistake, and is not repeated.
    let wanted =
        "it is written bearer-file:FILE, basic-file:FILE or oauth2:FILE: the secret itself stays in the file";
    match value.split_once(':').filter(|(_, path)| !path.is_empty()) {
        Some(("bearer-file", path)) => Ok(Auth::File(Scheme::Bearer, path.into())),
        Some(("basic-file", path)) => Ok(Auth::File(Scheme::Basic, path.into())),
        Some(("oauth2", path)) => Ok(Auth::OAuth2(path.into())),
        _ => Err(wanted.into()),
    }
}

/// An attribute of a CloudEvent can't be empty.
fn attribute(value: &str) -> Result<String, String> {
    match value.trim() {
        "" => Err("it can't be empty".into()),
        value => Ok(value.into()),
    }
}
