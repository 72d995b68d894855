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
        doc: "how long it may take until a request can be sent: name, TCP, proxy and TLS",
        set: |o, v| values::positive_duration(v).map(|d| o.connect_timeout = d),
        ..CLIENT
    },
    Flag {
        long: "ca",
        value: Some("FILE"),
        doc: "for the webhook, trust the CA certificates of this PEM file, instead of the system's",
        set: |o, v| file(v).map(|path| o.tls.ca = Some(path)),
        ..CLIENT
    },
    Flag {
        long: "client-cert",
        value: Some("FILE"),
        doc: "prove who we are with this certificate (PEM, the chain after it); wants --client-key",
        set: |o, v| file(v).map(|path| o.tls.client_cert = Some(path)),
        ..CLIENT
    },
    Flag {
        long: "client-key",
        value: Some("FILE"),
        doc: "the key of --client-cert (PEM, not encrypted)",
        set: |o, v| file(v).map(|path| o.tls.client_key = Some(path)),
        ..CLIENT
    },
    Flag {
        long: "https-only",
        doc: "refuse a URL without TLS",
        set: |o, v| switch(v).map(|on| o.https_only = on),
        ..CLIENT
    },
    Flag {
        long: "deny-private",
        doc: "connect to addresses on the Internet alone: not to this host, its networks, or a cloud's metadata",
        set: |o, v| switch(v).map(|on| o.deny_private = on),
        ..CLIENT
    },
    Flag {
        long: "proxy",
        value: Some("http://HOST:PORT|none"),
        default: "as HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say",
        doc: "go through this proxy; USER:PASSWORD@ before the host in the environment or the config file",
        set: |o, v| {
            o.proxy = Some(v.into());
            Ok(())
        },
        ..CLIENT
    },
    Flag {
        long: "send-test",
        commands: &[Command::Check],
        doc: "send one event, marked as a test (its webhook-id begins with sluicegate-check-), and tell what the \
              answer means",
        set: |o, v| switch(v).map(|on| o.send_test = on),
        ..CLIENT
    },
    Flag {
        long: "http-client",
        value: Some("keep-alive|minreq"),
        default: if cfg!(feature = "keep-alive") { "keep-alive" } else { "minreq" },
        doc: "connections that are kept, or one for each request",
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
