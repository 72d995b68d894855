//! The HTTP client that the flags choose, if it was built in.

use super::Failure;
use super::options::{HttpClient, Options};
#[cfg(feature = "keep-alive")]
use super::reporter::REPORTER;
use crate::record::Record;
use crate::relay::transport::{Answer, Attempt, SendError, Target, Transport};
use crate::webhook::destination::Destination;
#[cfg(feature = "keep-alive")]
use crate::webhook::keep_alive::proxy::{Proxy, ProxyError};
#[cfg(feature = "keep-alive")]
use crate::webhook::keep_alive::{ClientError, ClientSettings, KeepAlive};
#[cfg(feature = "minreq")]
use crate::webhook::minreq::Minreq;
#[cfg(feature = "minreq")]
use crate::webhook::oauth::TOKEN_TIMEOUT;
use crate::webhook::oauth::{Connect, OAuthSettings, TokenFetcher};
use crate::webhook::request::Requests;
#[cfg(feature = "keep-alive")]
use crate::webhook::sender::{Sender, TokenClient};
use std::time::Duration;
#[cfg(feature = "keep-alive")]
use std::time::Instant;

/// The client.
#[derive(Debug)]
pub(crate) enum Client {
    /// Over connections that are kept.
    #[cfg(feature = "keep-alive")]
    KeepAlive(Box<Sender>),
    /// Over one connection each.
    #[cfg(feature = "minreq")]
    Minreq(Box<Minreq>),
}

impl Client {
    /// Sends what `requests` makes to `destination`, as the flags say. Contacts nobody.
    pub(crate) fn open(
        destination: Destination,
        requests: Requests,
        options: &Options,
    ) -> Result<Self, Failure> {
        match options.http_client {
            #[cfg(feature = "keep-alive")]
            HttpClient::KeepAlive => {
                let settings = settings(&destination, options)?;
                let client = KeepAlive::new(destination, settings).map_err(|error| with_flag(&error))?;
                Ok(Self::KeepAlive(Box::new(Sender::new(client, requests, options.timeout))))
            }
            #[cfg(feature = "minreq")]
            HttpClient::Minreq => {
                can_minreq(&destination, options)?;
                Ok(Self::Minreq(Box::new(Minreq::new(destination, requests, options.timeout))))
            }
            #[allow(unreachable_patterns, reason = "not with all clients built in")]
            _ => Err(Failure::usage("--http-client: this binary was built without it")),
        }
    }

    /// Reads or fetches the credentials of a request.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn authorized(&self) -> Result<(), SendError> {
        match self {
            #[cfg(feature = "keep-alive")]
            Self::KeepAlive(sender) => sender.requests().authorized(),
            #[cfg(feature = "minreq")]
            Self::Minreq(minreq) => minreq.requests().authorized(),
        }
    }

    /// Goes the whole way to the destination and sends no event; what came of it, in words.
    pub(crate) fn probe(&self, timeout: Duration) -> Result<String, String> {
        match self {
            #[cfg(feature = "keep-alive")]
            Self::KeepAlive(sender) => {
                let deadline = Instant::now() + timeout;
                sender.client().probe(deadline).map_err(|error| format!("{error}: check --url"))
            }
            #[cfg(feature = "minreq")]
            Self::Minreq(minreq) => minreq.probe(timeout),
        }
    }
}

impl Transport for Client {
    fn send(&self, record: &Record, attempt: Attempt) -> Result<Answer, SendError> {
        match self {
            #[cfg(feature = "keep-alive")]
            Self::KeepAlive(sender) => sender.send(record, attempt),
            #[cfg(feature = "minreq")]
            Self::Minreq(minreq) => minreq.send(record, attempt),
        }
    }

    fn target(&self, record: &Record) -> Target {
        match self {
            #[cfg(feature = "keep-alive")]
            Self::KeepAlive(sender) => sender.target(record),
            #[cfg(feature = "minreq")]
            Self::Minreq(minreq) => minreq.target(record),
        }
    }
}

/// What is wrong with the way to the webhook, by the flag that asks for it.
#[cfg(feature = "keep-alive")]
fn with_flag(error: &ClientError) -> Failure {
    let flag = match error {
        ClientError::NotHttps => "--https-only",
        ClientError::PrivateBehindProxy | ClientError::Private(_) => "--deny-private",
        ClientError::Tls(_) => "TLS with the webhook",
    };
    Failure::usage(format!("{flag}: {error}"))
}

/// Makes clients that fetch access tokens. The endpoint is another party than the webhook, so nothing that proves who
/// we are to the one, nor the way there, is used for the other: it has settings of its own (`token-ca` and the like).
/// An endpoint that the operator names may be in a private network.
pub(super) fn connect_to_tokens(options: &Options) -> Box<Connect> {
    let options = options.clone();
    Box::new(move |settings| token_fetcher(settings, &options))
}

fn token_fetcher(settings: &OAuthSettings, options: &Options) -> Result<Box<dyn TokenFetcher>, String> {
    let endpoint = &settings.endpoint;
    match options.http_client {
        #[cfg(feature = "keep-alive")]
        HttpClient::KeepAlive => {
            let way = &settings.way;
            let tls = crate::net::TlsSettings {
                ca: way.ca.clone().map(Into::into),
                client_cert: way.client_cert.clone().map(Into::into),
                client_key: way.client_key.clone().map(Into::into),
                reporter: REPORTER,
            };
            let proxy = proxy(endpoint, way.proxy.as_deref());
            let client = ClientSettings {
                connect_timeout: options.connect_timeout,
                most_idle: 1,
                https_only: options.https_only,
                tls,
                proxy: proxy.map_err(|error| format!("token-proxy: {error}"))?,
                ..ClientSettings::default()
            };
            let wrong = |error| format!("the client for {endpoint}: {error}");
            let client = KeepAlive::new(endpoint.clone(), client).map_err(wrong)?;
            Ok(Box::new(TokenClient::new(client, advice(settings, options))))
        }
        #[cfg(feature = "minreq")]
        HttpClient::Minreq => {
            let here = options.clone();
            let here = Options { tls: Default::default(), proxy: None, deny_private: false, ..here };
            can_minreq(endpoint, &here).map_err(|failure| failure.text)?;
            if settings.way != Default::default() {
                return Err(
                    "token-ca, token-client-cert, token-client-key and token-proxy require --http-client \
                            keep-alive"
                        .into(),
                );
            }
            let requests = Requests::new(endpoint, Default::default());
            let requests = requests.map_err(|error| format!("token-url: {error}"))?;
            Ok(Box::new(Minreq::new(endpoint.clone(), requests, TOKEN_TIMEOUT)))
        }
        #[allow(unreachable_patterns, reason = "not with all clients built in")]
        _ => Err("--http-client: this binary was built without it".into()),
    }
}

/// What to say where TLS with the token endpoint fails and the webhook has what may be missing.
#[cfg(feature = "keep-alive")]
fn advice(settings: &OAuthSettings, options: &Options) -> &'static str {
    let ca = options.tls.ca.is_some() && settings.way.ca.is_none();
    let cert = options.tls.client_cert.is_some() && settings.way.client_cert.is_none();
    match (ca, cert) {
        (false, false) => "",
        (true, false) => {
            "--ca is for the webhook alone: for this endpoint write token-ca = FILE into the file of --auth"
        }
        (false, true) => {
            "--client-cert is for the webhook alone: for this endpoint write token-client-cert = FILE and \
             token-client-key = FILE into the file of --auth, if it is to have one"
        }
        (true, true) => {
            "--ca and --client-cert are for the webhook alone: for this endpoint write token-ca = FILE into the file of \
             --auth, and token-client-cert and token-client-key if it is to have them"
        }
    }
}

/// The proxy that a setting names, or else the environment.
#[cfg(feature = "keep-alive")]
fn proxy(destination: &Destination, setting: Option<&str>) -> Result<Option<Proxy>, ProxyError> {
    match setting {
        Some("none") => Ok(None),
        Some(proxy) => Proxy::parse(proxy).map(Some),
        None => Proxy::from_environment(destination, &|name| std::env::var(name).ok()),
    }
}

#[cfg(feature = "keep-alive")]
fn settings(destination: &Destination, options: &Options) -> Result<ClientSettings, Failure> {
    let proxy = proxy(destination, options.proxy.as_deref());
    Ok(ClientSettings {
        connect_timeout: options.connect_timeout,
        most_idle: options.settings.max_concurrency.get(),
        tls: crate::net::TlsSettings {
            ca: options.tls.ca.clone().map(Into::into),
            client_cert: options.tls.client_cert.clone().map(Into::into),
            client_key: options.tls.client_key.clone().map(Into::into),
            reporter: REPORTER,
        },
        https_only: options.https_only,
        deny_private: options.deny_private,
        warn: |text| ::log::warn!(target: "sluicegate", "{text}"),
        proxy: proxy.map_err(|error| {
            Failure::usage(format!("--proxy: {error} (--proxy none goes without a proxy)"))
        })?,
        ..ClientSettings::default()
    })
}

/// Rejects flags that minreq can't honour, rather than ignoring them.
#[cfg(feature = "minreq")]
fn can_minreq(destination: &Destination, options: &Options) -> Result<(), Failure> {
    let asked = [
        (destination.socket().is_some(), "a unix socket as --url"),
        (options.tls != Default::default(), "--ca, --client-cert or --client-key"),
        (options.deny_private, "--deny-private"),
        (options.proxy.as_deref().is_some_and(|proxy| proxy != "none"), "--proxy"),
    ];
    if let Some((_, what)) = asked.iter().find(|(asked, _)| *asked) {
        return Err(Failure::usage(format!("{what} requires --http-client keep-alive")));
    }
    if options.https_only && !destination.is_https() {
        return Err(Failure::usage("--https-only: the URL has to begin with https://"));
    }
    Ok(())
}
