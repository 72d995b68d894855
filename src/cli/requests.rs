//! What requests look like, from the flags.

use super::Failure;
use super::client::connect_to_tokens;
use super::options::{Auth, DEFAULT_CE_TYPE, FormatName, Options};
use super::reporter::REPORTER;
use crate::webhook::authorization::Authorization;
use crate::webhook::cloud_event::CloudEvents;
use crate::webhook::destination::Destination;
use crate::webhook::oauth::ClientCredentials;
use crate::webhook::request::{Format, RequestSettings, RequestSettingsError, Requests};
use crate::webhook::secret_file::SecretFile;
use crate::webhook::signature::Signer;
use std::time::Instant;

/// What makes requests to `destination`; and what people should be warned of. Reads the files that hold secrets.
pub(super) fn requests(
    destination: &Destination,
    options: &Options,
) -> Result<(Requests, Vec<String>), Failure> {
    let (signer, mut warnings) = match &options.signing_secret_files[..] {
        [] => (None, Vec::new()),
        paths => {
            let wrong = |error| Failure::usage(format!("--signing-secret-file: {error}"));
            Signer::open_telling(paths, REPORTER)
                .map(|(signer, warnings)| (Some(signer), warnings))
                .map_err(wrong)?
        }
    };
    let authorization = match &options.auth {
        None => None,
        Some(auth) => Some(authorization(auth, options, &mut warnings)?),
    };
    let credentials = options.auth.is_some() || destination.credentials().is_some();
    if credentials && !destination.is_https() && !destination.is_local() {
        warnings.push(format!(
            "credentials go to {destination} without TLS: anyone on the network path can read them"
        ));
    }
    let settings = RequestSettings {
        format: format(options)?,
        content_type: options.content_type.clone(),
        headers: options.headers.clone(),
        forward: options.forward_headers.clone(),
        signer,
        authorization,
        kafka_headers: !options.no_kafka_headers,
        max_key_header: options.max_key_header.0,
        reporter: REPORTER,
    };
    let requests = Requests::new(destination, settings).map_err(|error| Failure::usage(with_flag(&error)))?;
    Ok((requests, warnings))
}

/// What is wrong with the settings, by the flag that set it.
fn with_flag(error: &RequestSettingsError) -> String {
    match error {
        RequestSettingsError::Url(error) => format!("--url: {error}"),
        RequestSettingsError::Header(name, error) => format!("--header {name}: {error}"),
        RequestSettingsError::Attribute(name) => {
            format!("--header {name}: with --format cloudevents the ce- headers are the event's own")
        }
        RequestSettingsError::TwoCredentials => {
            "credentials come from one place: --auth, or a user name in the URL, or --header Authorization"
                .into()
        }
    }
}

fn authorization(
    auth: &Auth,
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Authorization, Failure> {
    let wrong = |error| Failure::usage(format!("--auth: {error}"));
    let now = Instant::now();
    match auth {
        Auth::File(scheme, path) => {
            let file = SecretFile::open(path, *scheme, REPORTER, now).map_err(wrong)?;
            Ok(Authorization::File(file))
        }
        Auth::OAuth2(path) => {
            let connect = connect_to_tokens(options);
            let client = ClientCredentials::open(path, connect, REPORTER, now).map_err(wrong)?;
            let endpoint = client.endpoint(now);
            if !endpoint.is_https() && !endpoint.is_local() {
                warnings.push(format!(
                    "the client's secret goes to {endpoint} without TLS: RFC 6749 requires https"
                ));
            }
            Ok(Authorization::OAuth2(Box::new(client)))
        }
    }
}

fn format(options: &Options) -> Result<Format, Failure> {
    let events = options.format == FormatName::CloudEvents;
    for (flag, given) in [("--ce-source", &options.ce_source), ("--ce-type", &options.ce_type)] {
        if given.is_some() && !events {
            return Err(Failure::usage(format!("{flag} requires --format cloudevents")));
        }
    }
    Ok(match options.format {
        FormatName::Raw => Format::Raw,
        FormatName::Json => Format::Json,
        FormatName::CloudEvents => Format::CloudEvents(CloudEvents {
            source: options.ce_source.clone(),
            cluster: options.brokers.first().cloned().unwrap_or_default(),
            kind: options.ce_type.clone().unwrap_or_else(|| DEFAULT_CE_TYPE.into()),
        }),
    })
}
