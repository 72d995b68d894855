//! Who sends requests: the HTTP client that the flags ask for, out of those that were built in.

use super::Failure;
use super::options::{HttpClient, Options};
use crate::relay::record::Record;
use crate::relay::transport::{Answer, Attempt, SendError, Target, Transport};
use crate::webhook::destination::Destination;
#[cfg(feature = "keep-alive")]
use crate::webhook::keep_alive::{ClientSettings, KeepAlive, proxy::Proxy};
#[cfg(feature = "minreq")]
use crate::webhook::minreq::Minreq;
use crate::webhook::oauth::TokenFetcher;
use crate::webhook::request::Requests;
#[cfg(feature = "keep-alive")]
use crate::webhook::sender::{Sender, TokenClient};

/// The client.
#[derive(Debug)]
pub enum Client {
    /// Over connections that are kept.
    #[cfg(feature = "keep-alive")]
    KeepAlive(Box<Sender>),
    /// Over one connection each.
    #[cfg(feature = "minreq")]
    Minreq(Box<Minreq>),
}

impl Client {
    /// Sends what `requests` makes to `destination`, as the flags say. Contacts nobody.
    pub fn open(destination: Destination, requests: Requests, options: &Options) -> Result<Self, Failure> {
        match options.http_client {
            #[cfg(feature = "keep-alive")]
            HttpClient::KeepAlive => {
                let settings = settings(&destination, options)?;
                let wrong = |error| Failure::usage(format!("the webhook's client: {error}"));
                let client = KeepAlive::new(destination, settings).map_err(wrong)?;
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

    /// Goes the whole way to the destination and sends no event; what came of it, in words.
    pub fn probe(&self, options: &Options) -> Result<String, String> {
        match self {
            #[cfg(feature = "keep-alive")]
            Self::KeepAlive(sender) => {
                let deadline = std::time::Instant::now() + options.timeout;
                sender.client().probe(deadline).map_err(|error| format!("{error}: check --url"))
            }
            #[cfg(feature = "minreq")]
            Self::Minreq(minreq) => minreq.probe(options.timeout),
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

/// Who fetches access tokens from `endpoint`: the same client with the same settings, but that an endpoint the
/// operator names may be in a private network.
pub(super) fn token_fetcher(
    endpoint: &Destination,
    options: &Options,
) -> Result<Box<dyn TokenFetcher>, Failure> {
    match options.http_client {
        #[cfg(feature = "keep-alive")]
        HttpClient::KeepAlive => {
            let settings =
                ClientSettings { deny_private: false, most_idle: 1, ..settings(endpoint, options)? };
            let wrong = |error| Failure::usage(format!("the client for {endpoint}: {error}"));
            let client = KeepAlive::new(endpoint.clone(), settings).map_err(wrong)?;
            Ok(Box::new(TokenClient::new(client, options.timeout)))
        }
        #[cfg(feature = "minreq")]
        HttpClient::Minreq => {
            can_minreq(endpoint, options)?;
            let requests = Requests::new(endpoint, Default::default());
            let requests = requests.map_err(|error| Failure::usage(format!("token-url: {error}")))?;
            Ok(Box::new(Minreq::new(endpoint.clone(), requests, options.timeout)))
        }
        #[allow(unreachable_patterns, reason = "not with all clients built in")]
        _ => Err(Failure::usage("--http-client: this binary was built without it")),
    }
}

#[cfg(feature = "keep-alive")]
fn settings(destination: &Destination, options: &Options) -> Result<ClientSettings, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    let proxy = match options.proxy.as_deref() {
        Some("none") => Ok(None),
        Some(proxy) => Proxy::parse(proxy).map(Some),
        None => Proxy::from_environment(destination, &variable),
    };
    Ok(ClientSettings {
        connect_timeout: options.connect_timeout,
        most_idle: options.settings.max_concurrency.get(),
        tls: crate::net::TlsSettings {
            ca: options.tls.ca.clone().map(Into::into),
            client_cert: options.tls.client_cert.clone().map(Into::into),
            client_key: options.tls.client_key.clone().map(Into::into),
            ..Default::default()
        },
        https_only: options.https_only,
        deny_private: options.deny_private,
        warn: |text| ::log::warn!(target: "sluicegate", "{text}"),
        proxy: proxy.map_err(|error| Failure::usage(format!("--proxy: {error}")))?,
        ..ClientSettings::default()
    })
}

/// What minreq can't do is refused, not left out in silence.
#[cfg(feature = "minreq")]
fn can_minreq(destination: &Destination, options: &Options) -> Result<(), Failure> {
    let asked = [
        (destination.socket().is_some(), "a unix socket as --url"),
        (options.tls != Default::default(), "--ca, --client-cert or --client-key"),
        (options.deny_private, "--deny-private"),
        (options.proxy.as_deref().is_some_and(|proxy| proxy != "none"), "--proxy"),
    ];
    if let Some((_, what)) = asked.iter().find(|(asked, _)| *asked) {
        return Err(Failure::usage(format!("{what} needs --http-client keep-alive")));
    }
    if options.https_only && !destination.is_https() {
        return Err(Failure::usage("--https-only: the URL has to begin with https://"));
    }
    Ok(())
}
