//! What requests look like, from the flags.

use super::Failure;
use super::options::{DEFAULT_CE_TYPE, FormatName, Options};
use crate::webhook::cloud_event::CloudEvents;
use crate::webhook::destination::Destination;
use crate::webhook::request::{Format, Requests, Settings};
use crate::webhook::signature::Signer;

/// What makes requests to `destination`; and what people should be warned of. Reads the files that hold secrets.
pub(super) fn requests(
    destination: &Destination,
    options: &Options,
) -> Result<(Requests, Vec<String>), Failure> {
    let (signer, warnings) = match &options.signing_secret_files[..] {
        [] => (None, Vec::new()),
        paths => {
            let wrong = |error| Failure::usage(format!("--signing-secret-file: {error}"));
            Signer::open(paths).map(|(signer, warnings)| (Some(signer), warnings)).map_err(wrong)?
        }
    };
    let settings = Settings {
        format: format(options)?,
        content_type: options.content_type.clone(),
        headers: options.headers.clone(),
        forward: options.forward_headers.clone(),
        signer,
    };
    let requests = Requests::new(destination, settings).map_err(|error| Failure::usage(error.to_string()))?;
    Ok((requests, warnings))
}

fn format(options: &Options) -> Result<Format, Failure> {
    let events = options.format == FormatName::CloudEvents;
    for (flag, given) in [("--ce-source", &options.ce_source), ("--ce-type", &options.ce_type)] {
        if given.is_some() && !events {
            return Err(Failure::usage(format!("{flag} says something with --format cloudevents only")));
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
