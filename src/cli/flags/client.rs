//! The flags of the HTTP client: how the webhook is reached.

use super::{BASE, Command, Flag, Group, WEBHOOK, choose, file, switch};
use crate::cli::options::HttpClient;
use crate::cli::values;

/// Where they stand, and who takes them.
const CLIENT: Flag = Flag { group: Group::To, commands: WEBHOOK, ..BASE };

/// Their part of the table.
pub(super) const FLAGS: &[Flag] = &[
    Flag {
        long: "connect-timeout",
        value: Some("DUR"),
        default: "5s",
        doc: "How long connecting may take: DNS, TCP, proxy and TLS",
        set: |o, v| values::positive_duration(v).map(|d| o.connect_timeout = d),
        ..CLIENT
    },
    Flag {
        long: "ca",
        value: Some("FILE"),
        doc: "Trust the CA certificates in this PEM file, not the system's",
        more: "For the webhook only.",
        set: |o, v| file(v).map(|path| o.tls.ca = Some(path)),
        ..CLIENT
    },
    Flag {
        long: "client-cert",
        value: Some("FILE"),
        doc: "Client certificate for the webhook (PEM, with its chain)",
        more: "Requires --client-key.",
        set: |o, v| file(v).map(|path| o.tls.client_cert = Some(path)),
        ..CLIENT
    },
    Flag {
        long: "client-key",
        value: Some("FILE"),
        doc: "Private key of --client-cert (PEM, not encrypted)",
        set: |o, v| file(v).map(|path| o.tls.client_key = Some(path)),
        ..CLIENT
    },
    Flag {
        long: "https-only",
        doc: "Reject a URL without TLS",
        set: |o, v| switch(v).map(|on| o.https_only = on),
        ..CLIENT
    },
    Flag {
        long: "deny-private",
        doc: "Connect to public addresses only",
        more: "This host, private networks and the metadata services of clouds are out of reach, also by \
               name.",
        set: |o, v| switch(v).map(|on| o.deny_private = on),
        ..CLIENT
    },
    Flag {
        long: "proxy",
        value: Some("http://HOST:PORT|none"),
        default: "HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY",
        doc: "Send through this proxy; none: send directly",
        more: "USER:PASSWORD@ may precede the host; then keep the flag in the environment or the config \
               file.",
        set: |o, v| {
            o.proxy = Some(v.into());
            Ok(())
        },
        ..CLIENT
    },
    Flag {
        long: "send-test",
        commands: &[Command::Check],
        doc: "Send one test event and explain the answer",
        more: "Its webhook-id begins with sluicegate-check-.",
        basic: true,
        set: |o, v| switch(v).map(|on| o.send_test = on),
        ..CLIENT
    },
    Flag {
        long: "http-client",
        value: Some("keep-alive|minreq"),
        default: if cfg!(feature = "keep-alive") { "keep-alive" } else { "minreq" },
        doc: "HTTP client",
        more: "keep-alive reuses connections; minreq opens one for each request.",
        set: |o, v| {
            let client = choose(v, &[("keep-alive", HttpClient::KeepAlive), ("minreq", HttpClient::Minreq)])?;
            if !client.is_built() {
                return Err(format!("this binary was built without it: build with --features {v}"));
            }
            o.http_client = client;
            Ok(())
        },
        ..CLIENT
    },
];
