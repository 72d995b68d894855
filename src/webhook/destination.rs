//! Where requests go: a parsed URL.
//!
//! Invariant: `Display` and `Debug` show the origin alone (of a unix socket: its path). User name and password are
//! taken out of the URL at once; path and query are for the request line only, since for many webhooks they are the
//! secret.

use std::fmt;
use std::path::{Path, PathBuf};

/// Why a URL can't be a destination. None of these shows the URL's user name, password or query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UrlError {
    /// Neither `http://` nor `https://` nor `unix:/`.
    Scheme,
    /// No host between the scheme and the path.
    Host,
    /// A port that is not a number from 1 to 65535.
    Port,
    /// A space, a control character or one outside ASCII, which has to be percent-encoded (the host: punycode).
    Character(char),
    /// `unix:` without an absolute path.
    Socket,
    /// `https://`, but the TLS feature was not built in.
    NoTls,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("the URL has to begin with http:// or https:// (or unix:/)"),
            Self::Host => f.write_str("the URL has no host: write it as https://HOST/PATH"),
            Self::Port => f.write_str("the URL's port has to be a number from 1 to 65535"),
            Self::Character(c) => {
                write!(f, "the URL holds the character {c:?}: percent-encode it (in the host: use punycode)")
            }
            Self::Socket => f.write_str("a unix socket is written unix:/PATH/OF/SOCKET:/HOOK"),
            Self::NoTls => {
                f.write_str("https:// needs the feature 'tls', which this binary was built without")
            }
        }
    }
}

impl std::error::Error for UrlError {}

/// Where requests go. Shown as `scheme://host` or `unix:/SOCKET`.
#[derive(Clone, PartialEq, Eq)]
pub struct Destination {
    https: bool,
    /// Without brackets around an IPv6 address.
    host: String,
    port: u16,
    path: String,
    query: Option<String>,
    /// The unix socket to connect to.
    socket: Option<PathBuf>,
    /// `user:password` of the URL, percent-decoded.
    credentials: Option<Vec<u8>>,
}

impl Destination {
    /// Reads a URL (RFC 3986 §3). A fragment means nothing to a server and is left out.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        if let Some(c) = url.chars().find(|c| !c.is_ascii_graphic()) {
            return Err(UrlError::Character(c));
        }
        if let Some(rest) = url.strip_prefix("unix:") {
            return Self::parse_socket(rest);
        }
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme)?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        if https && cfg!(not(feature = "tls")) {
            return Err(UrlError::NoTls);
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (userinfo, host_port) = match authority.rsplit_once('@') {
            Some((userinfo, host_port)) => (Some(userinfo), host_port),
            None => (None, authority),
        };
        let (host, port) = host_and_port(host_port, if https { 443 } else { 80 })?;
        let (path, query) = path_and_query(target);
        Ok(Self {
            https,
            host,
            port,
            path,
            query,
            socket: None,
            credentials: userinfo.map(user_and_password),
        })
    }

    /// `/path/of/socket:/hook`; without the second part the hook is `/`.
    fn parse_socket(rest: &str) -> Result<Self, UrlError> {
        let rest = rest.split('#').next().unwrap_or_default();
        let (socket, target) = match rest.find(":/") {
            Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default()),
            None => (rest, ""),
        };
        if !socket.starts_with('/') {
            return Err(UrlError::Socket);
        }
        let (path, query) = path_and_query(target);
        Ok(Self {
            https: false,
            host: "localhost".into(),
            port: 80,
            path,
            query,
            socket: Some(socket.into()),
            credentials: None,
        })
    }

    /// Whether requests stay on this machine: a loopback address or a unix socket.
    pub(crate) fn is_local(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.socket.is_some() || self.host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
    }

    /// The unix socket to connect to, if it is one.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Whether it is reached over TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.https
    }

    /// The host's name or address, without brackets.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The request target: path and query (RFC 9112 §3.2.1).
    pub fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.clone(),
        }
    }

    /// The URL to send to: with the query, without user name and password.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin(), self.target())
    }

    /// User name and password, for Basic authentication (RFC 7617).
    pub(crate) fn credentials(&self) -> Option<&[u8]> {
        self.credentials.as_deref()
    }

    /// `scheme://host`, with the port where it is not the scheme's own (RFC 6454 §6.2).
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", if self.https { "https" } else { "http" }, self.host_field())
    }

    /// What the header `Host` holds (RFC 9110 §7.2): the host, with the port where it is not the scheme's own.
    pub(crate) fn host_field(&self) -> String {
        let standard = if self.https { 443 } else { 80 };
        if self.port == standard { self.bracketed() } else { self.authority() }
    }

    /// `host:port`, as a proxy is asked for it.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.bracketed(), self.port)
    }

    fn bracketed(&self) -> String {
        if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() }
    }
}

fn path_and_query(target: &str) -> (String, Option<String>) {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query.to_owned())),
        None => (target, None),
    };
    (if path.is_empty() { "/".into() } else { path.into() }, query)
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "unix:{}", socket.display()),
            None => f.write_str(&self.origin()),
        }
    }
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

fn host_and_port(text: &str, standard: u16) -> Result<(String, u16), UrlError> {
    let (host, port) = match text.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some("none")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let proper = |c: char| c.is_ascii_alphanumeric() || "-._~:".contains(c);
    if host.is_empty() || !host.chars().all(proper) {
        return Err(UrlError::Host);
    }
    let port = match port {
        None | Some("") => standard,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?,
    };
    Ok((host.to_owned(), port))
}

/// `user:password` for Basic authentication (RFC 7617 §2), which has a colon even where there is no password.
fn user_and_password(userinfo: &str) -> Vec<u8> {
    let mut decoded = percent_decode(userinfo);
    if !userinfo.contains(':') {
        decoded.push(b':');
    }
    decoded
}

/// Decodes percent-encoding (RFC 3986 §2.1); any other `%` stays.
fn percent_decode(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let digit = |at: usize| bytes.get(at).and_then(|b| char::from(*b).to_digit(16));
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Destination {
        Destination::parse(url).unwrap()
    }

    #[test]
    fn takes_a_url_apart() {
        let it = parse("http://example.org:8080/a/b?token=x#part");
        assert_eq!((it.host(), it.port(), it.is_https()), ("example.org", 8080, false));
        assert_eq!(it.target(), "/a/b?token=x");
        assert_eq!(it.url(), "http://example.org:8080/a/b?token=x");
        assert_eq!(parse("http://example.org").target(), "/");
        assert_eq!(parse("http://example.org?a=b").target(), "/?a=b");
        assert_eq!(parse("HTTP://h:80/").url(), "http://h/");
        assert_eq!(parse("http://[::1]:9/x").url(), "http://[::1]:9/x");
        assert_eq!(parse("http://[::1]/").host(), "::1");
    }

    #[test]
    fn a_unix_socket_has_a_path_and_a_hook() {
        let it = parse("unix:/run/app/hook.sock:/events?token=x");
        assert_eq!(it.socket(), Some(Path::new("/run/app/hook.sock")));
        assert_eq!((it.target().as_str(), it.host_field().as_str()), ("/events?token=x", "localhost"));
        assert_eq!(it.to_string(), "unix:/run/app/hook.sock");
        assert_eq!(parse("unix:/run/hook.sock").target(), "/");
        assert_eq!(Destination::parse("unix:hook.sock:/"), Err(UrlError::Socket));
        assert_eq!(Destination::parse("unix::/hook"), Err(UrlError::Socket));
    }

    #[test]
    fn never_shows_what_is_secret() {
        let it = parse("http://us%40er:pa%3Ass@example.org:81/hook?token=secret");
        assert_eq!(it.credentials(), Some(&b"us@er:pa:ss"[..]));
        assert_eq!(format!("{it} {it:?}"), "http://example.org:81 http://example.org:81");
        assert_eq!(it.url(), "http://example.org:81/hook?token=secret");
    }

    #[test]
    fn a_user_without_password_has_an_empty_one() {
        for (userinfo, credentials) in
            [("token", "token:"), ("token:", "token:"), (":pw", ":pw"), ("a%3Ab", "a:b:")]
        {
            let it = parse(&format!("https://{userinfo}@example.org/"));
            assert_eq!(it.credentials(), Some(credentials.as_bytes()), "{userinfo}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (url, error) in [
            ("", UrlError::Scheme),
            ("example.org/hook", UrlError::Scheme),
            ("ftp://example.org", UrlError::Scheme),
            ("http://", UrlError::Host),
            ("http:///hook", UrlError::Host),
            ("http://user@/hook", UrlError::Host),
            ("http://:80/", UrlError::Host),
            ("http://[::1", UrlError::Host),
            ("http://a:b:c/", UrlError::Port),
            ("http://h:0/", UrlError::Port),
            ("http://h:65536/", UrlError::Port),
            ("http://[::1]x/", UrlError::Port),
            ("http://ex ample.org/", UrlError::Character(' ')),
            ("http://example.org/\r\nHost: x", UrlError::Character('\r')),
            ("http://bücher.example/", UrlError::Character('ü')),
        ] {
            assert_eq!(Destination::parse(url), Err(error), "{url}");
        }
    }
}
