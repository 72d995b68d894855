//! The forward proxy between us and the destination: from the settings, or from the environment as other programs
//! read it. Its password goes to the proxy alone, never to the destination, a log or an error.

use super::private_address::within;
use crate::text::base64;
use crate::webhook::destination::Destination;
use std::fmt;
use std::net::IpAddr;

/// Where variables come from.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Why there is no such proxy. None of these shows the proxy's password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// No URL of a proxy.
    Url(String),
    /// Another scheme than `http`.
    Scheme,
    /// A path behind the host.
    Path,
    /// What is wrong with the variable of this name.
    Variable(&'static str, Box<ProxyError>),
}

impl fmt::Display for ProxyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(why) => write!(f, "{why}"),
            Self::Scheme => {
                f.write_str("a proxy is reached by http://HOST:PORT; other kinds are not spoken here")
            }
            Self::Path => f.write_str("a proxy has no path: write it as http://HOST:PORT"),
            Self::Variable(name, error) => {
                write!(f, "the variable {name}: {error}")
            }
        }
    }
}

impl std::error::Error for ProxyError {}

/// A forward proxy.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Its name or address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<String>,
}

/// Without the password.
impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Proxy {
    /// Reads `http://[USER:PASSWORD@]HOST:PORT`; the scheme may be left out.
    pub fn parse(text: &str) -> Result<Self, ProxyError> {
        let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        if !url.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")) {
            return Err(ProxyError::Scheme);
        }
        let place = Destination::parse(&url).map_err(|error| ProxyError::Url(error.to_string()))?;
        if place.target() != "/" {
            return Err(ProxyError::Path);
        }
        let authorization = place.credentials().map(|it| format!("Basic {}", base64::encode(it)));
        Ok(Self { host: place.host().to_owned(), port: place.port(), authorization })
    }

    /// What the environment says about `destination`: `HTTPS_PROXY` or `HTTP_PROXY`, else `ALL_PROXY`, unless
    /// `NO_PROXY` lists its host. Lower-case names go first. This host itself is never asked for through one.
    pub fn from_environment(
        destination: &Destination,
        variables: Environment<'_>,
    ) -> Result<Option<Self>, ProxyError> {
        let variable = |lower: &str, upper: &str| {
            variables(lower).or_else(|| variables(upper)).filter(|value| !value.trim().is_empty())
        };
        if destination.socket().is_some() || is_here(destination.host()) {
            return Ok(None);
        }
        if let Some(exempt) = variable("no_proxy", "NO_PROXY")
            && is_exempt(destination.host(), destination.port(), &exempt)
        {
            return Ok(None);
        }
        let own = if destination.is_https() { "HTTPS_PROXY" } else { "HTTP_PROXY" };
        for name in [own, "ALL_PROXY"] {
            if let Some(value) = variable(&name.to_ascii_lowercase(), name) {
                let proxy = Self::parse(value.trim());
                return proxy.map(Some).map_err(|error| ProxyError::Variable(name, error.into()));
            }
        }
        Ok(None)
    }
}

fn is_here(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether `NO_PROXY` names the host: `*`, a name that stands for those below it too, an address, a network, each
/// with a port or without.
fn is_exempt(host: &str, port: u16, list: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let host = host.trim_end_matches('.');
    let address: Option<IpAddr> = host.parse().ok();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        if entry == "*" {
            return true;
        }
        if let Some((network, length)) = entry.split_once('/') {
            let (network, length) = (network.parse::<IpAddr>(), length.parse::<u32>());
            return matches!((address, network, length), (Some(address), Ok(network), Ok(length))
                if within(address, network, length));
        }
        let (name, wanted) = match entry.rsplit_once(':') {
            Some((name, number)) if !name.contains(':') || name.ends_with(']') => (name, number.parse().ok()),
            _ => (entry, None),
        };
        let name = name.trim_start_matches('[').trim_end_matches(']');
        if wanted.is_some_and(|wanted: u16| wanted != port) {
            return false;
        }
        if let (Some(address), Ok(named)) = (address, name.parse::<IpAddr>()) {
            return address == named;
        }
        let name = name.trim_start_matches("*.").trim_matches('.').to_ascii_lowercase();
        let below = host.strip_suffix(name.as_str()).is_some_and(|above| above.ends_with('.'));
        !name.is_empty() && (host == name || (below && address.is_none()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_url_of_a_proxy_and_hides_its_password() {
        let proxy = Proxy::parse("http://us%40er:se%3Acret@proxy.example:3128").unwrap();
        assert_eq!((proxy.host.as_str(), proxy.port), ("proxy.example", 3128));
        assert_eq!(proxy.authorization.as_deref(), Some("Basic dXNAZXI6c2U6Y3JldA=="));
        assert_eq!(format!("{proxy} {proxy:?}"), "proxy.example:3128 proxy.example:3128");
        assert_eq!(Proxy::parse("[::1]:8080/").unwrap().to_string(), "[::1]:8080");
        assert_eq!(Proxy::parse("https://proxy.example"), Err(ProxyError::Scheme));
        assert_eq!(Proxy::parse("socks5://proxy.example"), Err(ProxyError::Scheme));
        assert_eq!(Proxy::parse("http://proxy.example/x"), Err(ProxyError::Path));
        let error = Proxy::parse("http://user:secret@:1").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    fn from(url: &str, variables: &[(&str, &str)]) -> Result<Option<String>, ProxyError> {
        let destination = Destination::parse(url).unwrap();
        let found = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Proxy::from_environment(&destination, &found).map(|proxy| proxy.map(|proxy| proxy.to_string()))
    }

    #[test]
    fn the_environment_names_a_proxy_by_scheme() {
        let all = [("HTTP_PROXY", "a:1"), ("https_proxy", "http://b:2"), ("ALL_PROXY", "c:3")];
        assert_eq!(from("http://h.example", &all), Ok(Some("a:1".into())));
        #[cfg(feature = "tls")]
        assert_eq!(from("https://h.example", &all), Ok(Some("b:2".into())));
        assert_eq!(from("http://h.example", &all[1..]), Ok(Some("c:3".into())));
        assert_eq!(from("http://h.example", &[("HTTP_PROXY", " "), ("http_proxy", "")]), Ok(None));
        for here in ["http://localhost", "http://127.0.0.2:80", "http://[::1]"] {
            assert_eq!(from(here, &all), Ok(None));
        }
        let error = from("http://h.example", &[("ALL_PROXY", "socks5://user:secret@s")]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("ALL_PROXY") && !text.contains("secret"));
    }

    #[test]
    fn no_proxy_exempts_hosts() {
        let proxied =
            |url: &str, list| from(url, &[("HTTP_PROXY", "p:1"), ("NO_PROXY", list)]).unwrap().is_some();
        for (url, list) in [
            ("http://hook.example", "*"),
            ("http://hook.example", "other, example"),
            ("http://hook.example", ".example"),
            ("http://hook.example", "HOOK.example:80"),
            ("http://hook.example", "*.example"),
            ("http://10.1.2.3", "10.0.0.0/8"),
            ("http://10.1.2.3", "10.1.2.3"),
            ("http://[fd00::1]:8080", "[fd00::1]:8080"),
            ("http://[fd00::1]", "fd00::/8"),
        ] {
            assert!(!proxied(url, list), "{url} {list}");
        }
        for (url, list) in [
            ("http://hook.example", "ook.example"),
            ("http://hook.example", "hook.example:81"),
            ("http://hook.example", "a.hook.example, ,10.0.0.0/8, x/y, ."),
            ("http://11.1.2.3", "10.0.0.0/8"),
            ("http://11.1.2.3", "1.2.3"),
        ] {
            assert!(proxied(url, list), "{url} {list}");
        }
    }
}
