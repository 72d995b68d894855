//! OAuth 2 client credentials (RFC 6749 §4.4): an access token is fetched, kept, renewed before it expires, and once
//! after a 401.
//!
//! One thread fetches while the others use the current token, or wait for the new one. `Tokens` decides who does what,
//! without clocks or sockets; [`ClientCredentials`] is the shell around it.
//!
//! The file of settings is read again when it changes, for the next fetch.
//!
//! Invariant: the client's secret and the token are in no error, warning or `Debug`; and the token endpoint, which
//! is another party than the destination, sees no certificate and no proxy but its own (`token-…`).

use super::destination::Destination;
use super::headers::{Headers, percent_encode_unless};
use super::secret_file::{AuthorizationError, LARGEST_FILE, is_token68, text};
use super::wire_request::WireRequest;
use crate::files::{Contents, Reporter, Watched};
use crate::relay::transport::{SendError, SendErrorKind};
use crate::text::{base64, json};
use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The lifetime of a token whose server does not say.
const USUAL_LIFETIME: Duration = Duration::from_secs(300);
/// The longest lifetime used: a year, which any clock can hold.
const LONGEST_LIFETIME: Duration = Duration::from_secs(366 * 24 * 3_600);
/// The wait after a failed fetch.
const REST_AFTER_FAILURE: Duration = Duration::from_secs(1);
/// After a token was replaced because of a 401, further ones are ignored for this time.
const REST_AFTER_401: Duration = Duration::from_secs(10);
/// The total time that one attempt may wait for tokens, beside the time of its requests.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Brings the answer of a token endpoint. Bounded in size.
pub trait TokenFetcher: Send + Sync {
    /// Posts the request; status and content of the answer, which has to come by `deadline`.
    ///
    /// # Errors
    /// No answer came.
    fn fetch(&self, request: &WireRequest<'_>, deadline: Instant) -> Result<(u16, Vec<u8>), SendError>;
}

/// Makes the client for the token endpoint that settings name. An error is a sentence.
pub(crate) type Connect = dyn Fn(&OAuthSettings) -> Result<Box<dyn TokenFetcher>, String> + Send + Sync;

/// How the token endpoint is reached; nothing is taken from the settings of the destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRoute {
    /// `token-ca`: the CA certificates to trust; they replace the system's.
    pub(crate) ca: Option<PathBuf>,
    /// `token-client-cert`
    pub(crate) client_cert: Option<PathBuf>,
    /// `token-client-key`
    pub(crate) client_key: Option<PathBuf>,
    /// `token-proxy`; parsed where it is used.
    pub(crate) proxy: Option<String>,
}

/// The settings of a token endpoint and its client, from a file.
pub struct OAuthSettings {
    /// `token-url`.
    pub endpoint: Destination,
    /// `client-id` and `client-secret`.
    client: (String, String),
    /// Whether they go into the body (`client-auth = post`) and not into a header.
    post: bool,
    /// `scope`, `audience`.
    parameters: Vec<(&'static str, String)>,
    /// `token-ca` and the like.
    pub way: TokenRoute,
}

impl fmt::Debug for OAuthSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OAuthSettings({})", self.endpoint)
    }
}

impl OAuthSettings {
    /// Reads the file: lines of `name = value`.
    pub fn open(path: &Path) -> Result<Self, AuthorizationError> {
        Self::read(path, &crate::files::read_named(path, LARGEST_FILE)?)
    }

    fn read(path: &Path, bytes: &[u8]) -> Result<Self, AuthorizationError> {
        Self::parse(text(path, bytes)?).map_err(|wanted| AuthorizationError::Form(path.into(), wanted))
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        const NAMES: [&str; 10] = [
            "token-url",
            "client-id",
            "client-secret",
            "scope",
            "audience",
            "client-auth",
            "token-ca",
            "token-client-cert",
            "token-client-key",
            "token-proxy",
        ];
        let mut values: [Option<&str>; 10] = [None; 10];
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.split_once('=').ok_or("a line is written 'name = value'")?;
            let at = NAMES.iter().position(|known| *known == name.trim()).ok_or(
                "a line is one of token-url, client-id, client-secret, scope, audience, client-auth, token-ca, \
                 token-client-cert, token-client-key, token-proxy",
            )?;
            if value.trim().is_empty() || values[at].replace(value.trim()).is_some() {
                return Err("each line has a value, and each name is there once");
            }
        }
        let [url, id, secret, scope, audience, client_auth, ca, client_cert, client_key, proxy] = values;
        let endpoint = Destination::parse(url.ok_or("the line token-url = https://… is missing")?)
            .map_err(|_| "token-url is no URL such as https://HOST/PATH")?;
        if endpoint.credentials().is_some() {
            return Err("token-url holds a user name: write client-id and client-secret instead");
        }
        let id = id.ok_or("the line client-id = … is missing")?.to_owned();
        let secret = secret.ok_or("the line client-secret = … is missing")?.to_owned();
        let post = match client_auth {
            None | Some("basic") => false,
            Some("post") => true,
            Some(_) => return Err("client-auth is basic or post"),
        };
        let given = [("scope", scope), ("audience", audience)];
        let parameters =
            given.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))).collect();
        let path = |value: Option<&str>| value.map(PathBuf::from);
        let way = TokenRoute {
            ca: path(ca),
            client_cert: path(client_cert),
            client_key: path(client_key),
            proxy: proxy.map(str::to_owned),
        };
        Ok(Self { endpoint, client: (id, secret), post, parameters, way })
    }

    /// The request for a token: its header lines and its body.
    fn request(&self) -> (Headers, String) {
        let mut headers = Headers::default();
        headers.add("User-Agent", concat!("sluicegate/", env!("CARGO_PKG_VERSION")));
        headers.add("Accept", "application/json");
        headers.add("Content-Type", "application/x-www-form-urlencoded");
        let mut body = String::from("grant_type=client_credentials");
        let (id, secret) = &self.client;
        let mut form = |name: &str, value: &str| {
            body.push_str(&format!("&{name}={}", form_encode(value)));
        };
        if self.post {
            form("client_id", id);
            form("client_secret", secret);
        } else {
            let pair = format!("{}:{}", form_encode(id), form_encode(secret));
            headers.add("Authorization", &format!("Basic {}", base64::encode(pair.as_bytes())));
        }
        self.parameters.iter().for_each(|(name, value)| form(name, value));
        (headers, body)
    }
}

fn form_encode(text: &str) -> String {
    let mut encoded = String::new();
    percent_encode_unless(text.as_bytes(), &mut encoded, |b| {
        b.is_ascii_alphanumeric() || b"-._~".contains(&b)
    });
    encoded
}

/// A token as its server gave it.
#[derive(Clone, PartialEq, Eq)]
struct Grant {
    /// With its scheme.
    value: Arc<str>,
    lifetime: Duration,
}

/// Reads the answer (RFC 6749 §5.1, §5.2). Errors never hold the token.
fn grant(status: u16, body: &[u8]) -> Result<Grant, String> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let member = |name| json::member(text, name).and_then(json::string);
    if status != 200 {
        // The code alone: descriptions may repeat what was sent.
        let code = member("error").filter(|code| {
            code.len() <= 40 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        });
        return Err(match code {
            Some(code) => format!("it answered {status} ({code})"),
            None => format!("it answered {status}"),
        });
    }
    let token = member("access_token").filter(|token| is_token68(token));
    let token = token.ok_or("its answer holds no access_token")?;
    if member("token_type").is_some_and(|kind| !kind.eq_ignore_ascii_case("bearer")) {
        return Err("the token is of another type than Bearer".into());
    }
    let expires = json::member(text, "expires_in").map(|raw| raw.trim_matches('"'));
    let seconds = expires.and_then(|raw| raw.split('.').next()).and_then(|whole| whole.parse().ok());
    let lifetime = seconds.map_or(USUAL_LIFETIME, Duration::from_secs);
    let lifetime = lifetime.clamp(Duration::from_secs(1), LONGEST_LIFETIME);
    Ok(Grant { value: format!("Bearer {token}").into(), lifetime })
}

/// What a thread that wants a token does.
#[derive(Debug, PartialEq, Eq)]
enum Turn {
    Use(Arc<str>),
    /// Fetch one, and tell what came of it.
    Fetch,
    /// Somebody fetches, or a failure rests, and there is no token.
    Wait,
    Fail(SendError),
}

struct Token {
    value: Arc<str>,
    renew_at: Instant,
    ends: Instant,
}

/// The current token, and which thread fetches the next. Pure: takes `now`.
#[derive(Default)]
struct Tokens {
    token: Option<Token>,
    fetching: bool,
    failed: Option<(SendError, Instant)>,
    replaced_after_401: Option<Instant>,
}

impl Tokens {
    fn turn(&mut self, now: Instant) -> Turn {
        let resting = self.failed.as_ref().filter(|(_, until)| now < *until);
        let current = self.token.as_ref().filter(|token| now < token.ends);
        match (current, resting) {
            (Some(token), resting) if now < token.renew_at || self.fetching || resting.is_some() => {
                Turn::Use(Arc::clone(&token.value))
            }
            (None, _) if self.fetching => Turn::Wait,
            (None, Some((error, _))) => Turn::Fail(error.clone()),
            _ => {
                self.fetching = true;
                Turn::Fetch
            }
        }
    }

    fn granted(&mut self, grant: Grant, now: Instant) {
        let Grant { value, lifetime } = grant;
        let after = |part| now.checked_add(part).unwrap_or(now);
        self.token = Some(Token { value, renew_at: after(lifetime * 4 / 5), ends: after(lifetime) });
        (self.fetching, self.failed) = (false, None);
    }

    fn failed(&mut self, error: SendError, now: Instant) {
        self.fetching = false;
        self.failed = Some((error, now.checked_add(REST_AFTER_FAILURE).unwrap_or(now)));
    }

    /// Whether a request that got a 401 with `used` may go again with another token.
    fn refused(&mut self, used: &str, now: Instant) -> bool {
        if self.token.as_ref().is_none_or(|token| *token.value != *used) {
            return true;
        }
        let since = self.replaced_after_401.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < REST_AFTER_401) {
            return false;
        }
        self.replaced_after_401 = Some(now);
        self.token = None;
        true
    }
}

/// Tokens by client credentials.
pub struct ClientCredentials {
    client: Watched<Configured>,
    reporter: Reporter,
    tokens: Mutex<Tokens>,
    /// Somebody is done with fetching.
    fetched: Condvar,
}

/// What a token is asked for with.
struct Configured {
    settings: OAuthSettings,
    fetcher: Box<dyn TokenFetcher>,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientCredentials({:?})", self.client)
    }
}

impl ClientCredentials {
    /// Reads the file, and prepares for what it says. Fetches nothing yet.
    pub fn open(
        path: &Path,
        connect: Box<Connect>,
        reporter: Reporter,
        now: Instant,
    ) -> Result<Self, AuthorizationError> {
        let name = format!("the settings {}", path.display());
        let owned = path.to_owned();
        let make = move |contents: &Contents| {
            let settings = OAuthSettings::read(&owned, contents.of(&owned))?;
            let wrong = |sentence| AuthorizationError::Settings(owned.clone(), sentence);
            let fetcher = connect(&settings).map_err(wrong)?;
            Ok(Configured { settings, fetcher })
        };
        let client =
            Watched::open::<AuthorizationError>(name, &[(path.into(), LARGEST_FILE)], make, reporter, now)?;
        Ok(Self::with(client, reporter))
    }

    /// With settings that stay as they are. Fetches nothing yet.
    pub fn new(settings: OAuthSettings, fetcher: Box<dyn TokenFetcher>, reporter: Reporter) -> Self {
        Self::with(Watched::fixed(Configured { settings, fetcher }), reporter)
    }

    fn with(client: Watched<Configured>, reporter: Reporter) -> Self {
        Self { client, reporter, tokens: Mutex::default(), fetched: Condvar::new() }
    }

    /// Where tokens are fetched, as the file says now.
    pub(crate) fn endpoint(&self, now: Instant) -> Destination {
        self.client.get(now).settings.endpoint.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Tokens> {
        // `Fetching` sets right what a panicking holder left.
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `Authorization`: the token there is, or a new one, which has to come by `deadline`.
    ///
    /// # Errors
    /// There is no token and none can be fetched: nothing can be sent.
    pub(crate) fn value(&self, deadline: Instant) -> Result<Arc<str>, SendError> {
        let mut tokens = self.lock();
        loop {
            let now = Instant::now();
            match tokens.turn(now) {
                Turn::Use(value) => return Ok(value),
                Turn::Fail(error) => return Err(error),
                Turn::Fetch => {
                    drop(tokens);
                    self.fetch(deadline);
                    tokens = self.lock();
                }
                Turn::Wait => {
                    let left = deadline.saturating_duration_since(now);
                    if left.is_zero() {
                        drop(tokens);
                        let endpoint = self.endpoint(now);
                        return Err(no_token(&endpoint, "it did not answer another request in time"));
                    }
                    tokens =
                        self.fetched.wait_timeout(tokens, left).unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// See [`Authorization::renew`](super::authorization::Authorization::renew).
    pub(crate) fn renew(&self, used: &str, now: Instant) -> bool {
        self.lock().refused(used, now)
    }

    fn fetch(&self, deadline: Instant) {
        let ended = Fetching(self);
        let client = self.client.get(Instant::now());
        let Configured { settings, fetcher } = &*client;
        let (headers, body) = settings.request();
        let target = settings.endpoint.target();
        let request =
            WireRequest { target: Cow::Owned(target), headers, body: Cow::Borrowed(body.as_bytes()) };
        let outcome = match fetcher.fetch(&request, deadline) {
            Ok((status, body)) => grant(status, &body).map_err(|why| no_token(&settings.endpoint, &why)),
            Err(error) => Err(no_token(&settings.endpoint, &error.text)),
        };
        let now = Instant::now();
        let mut tokens = self.lock();
        let left = tokens.token.as_ref().is_some_and(|token| now < token.ends);
        let trouble = match outcome {
            Ok(grant) => {
                tokens.granted(grant, now);
                None
            }
            Err(error) => {
                let text = left.then(|| error.text.clone());
                tokens.failed(error, now);
                text
            }
        };
        drop(tokens);
        drop(ended);
        if let Some(text) = trouble {
            (self.reporter.warn)(&format!("{text}; the previous token stays in use until it expires"));
        }
    }
}

fn no_token(endpoint: &Destination, why: &str) -> SendError {
    SendError { kind: SendErrorKind::Connect, text: format!("no access token from {endpoint}: {why}") }
}

/// Wakes the waiting threads, also after a panic.
struct Fetching<'a>(&'a ClientCredentials);

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().fetching = false;
        }
        self.0.fetched.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const FILE: &str = "# ours\ntoken-url = http://auth.example/token?a=b\nclient-id = me & you\n\
                        client-secret = s=crét\nscope = a b\naudience = https://x\n";

    fn settings() -> OAuthSettings {
        OAuthSettings::parse(FILE).unwrap()
    }

    fn granted(value: &str, seconds: u64) -> Grant {
        Grant { value: value.into(), lifetime: Duration::from_secs(seconds) }
    }

    fn error() -> SendError {
        SendError { kind: SendErrorKind::Connect, text: "no".into() }
    }

    #[test]
    fn asks_as_the_rfc_has_it() {
        let (headers, body) = settings().request();
        assert_eq!(body, "grant_type=client_credentials&scope=a%20b&audience=https%3A%2F%2Fx");
        let expected = format!("Basic {}", base64::encode(b"me%20%26%20you:s%3Dcr%C3%A9t"));
        assert_eq!(headers.get("Authorization"), Some(&*expected));
        let (headers, body) = OAuthSettings::parse(&format!("{FILE}client-auth = post")).unwrap().request();
        assert!(body.contains("&client_id=me%20%26%20you&client_secret=s%3Dcr%C3%A9t&scope"), "{body}");
        assert_eq!(headers.get("Authorization"), None);
        assert!(!format!("{:?}", settings()).contains("s=cr"));
    }

    #[test]
    fn says_what_is_wrong_with_the_file() {
        for (text, what) in [
            ("", "token-url"),
            ("token-url = http://h/\nclient-id = x", "client-secret = … is missing"),
            ("token-url = nowhere\nclient-id = x\nclient-secret = y", "no URL"),
            ("token-url = http://a:b@h/\nclient-id = x\nclient-secret = y", "user name"),
            ("client-id", "'name = value'"),
            ("secret = y", "is one of"),
            ("client-id = x\nclient-id = y", "once"),
            ("client-id =", "has a value"),
            ("token-url = http://h/\nclient-id = x\nclient-secret = y\nclient-auth = z", "basic or post"),
        ] {
            let error = OAuthSettings::parse(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn reads_what_servers_answer() {
        for (body, seconds) in [
            (r#"{"access_token":"t.1","token_type":"bearer","expires_in":3600}"#, 3_600),
            (r#"{"access_token":"t.1","token_type":"Bearer","expires_in":"60"}"#, 60),
            (r#"{"access_token":"t.1"}"#, 300),
            (r#"{"access_token":"t.1","expires_in":0}"#, 1),
            (r#"{"access_token":"t.1","expires_in":99999999999}"#, LONGEST_LIFETIME.as_secs()),
        ] {
            assert!(grant(200, body.as_bytes()) == Ok(granted("Bearer t.1", seconds)), "{body}");
        }
        for (status, body, what) in [
            (200, "<html>", "no access_token"),
            (200, r#"{"access_token":""}"#, "no access_token"),
            (200, r#"{"access_token":"a\r\nX: y"}"#, "no access_token"),
            (200, r#"{"access_token":"t","token_type":"mac"}"#, "another type"),
            (401, r#"{"error":"invalid_client","error_description":"secret"}"#, "401 (invalid_client)"),
            (400, r#"{"error":"my secret"}"#, "400"),
            (503, "", "503"),
        ] {
            let Err(error) = grant(status, body.as_bytes()) else { panic!("{body}") };
            assert!(error.contains(what) && !error.contains("secret"), "{body}: {error}");
        }
    }

    #[test]
    fn one_fetches_and_the_others_go_on_with_what_there_is() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(tokens.turn(now), Turn::Fetch);
        assert_eq!(tokens.turn(now), Turn::Wait);
        tokens.granted(granted("a", 100), now);
        assert_eq!(tokens.turn(at(79)), Turn::Use("a".into()));
        assert_eq!(tokens.turn(at(80)), Turn::Fetch);
        assert_eq!(tokens.turn(at(81)), Turn::Use("a".into()));
        assert_eq!(tokens.turn(at(100)), Turn::Wait);
        tokens.granted(granted("b", 100), at(100));
        assert_eq!(tokens.turn(at(101)), Turn::Use("b".into()));
    }

    #[test]
    fn a_failure_rests_and_leaves_the_token_until_its_end() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        let at = |milliseconds| now + Duration::from_millis(milliseconds);
        assert_eq!(tokens.turn(now), Turn::Fetch);
        tokens.failed(error(), now);
        assert_eq!(tokens.turn(at(999)), Turn::Fail(error()));
        assert_eq!(tokens.turn(at(1_000)), Turn::Fetch);
        tokens.granted(granted("a", 10), at(1_000));
        assert_eq!(tokens.turn(at(9_500)), Turn::Fetch);
        tokens.failed(error(), at(9_500));
        assert_eq!(tokens.turn(at(9_600)), Turn::Use("a".into()));
        assert_eq!(tokens.turn(at(10_500)), Turn::Fetch);
        tokens.failed(error(), at(10_500));
        assert_eq!(tokens.turn(at(11_001)), Turn::Fail(error()));
    }

    #[test]
    fn a_401_replaces_the_token_once() {
        let (mut tokens, now) = (Tokens::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(tokens.turn(now), Turn::Fetch);
        tokens.granted(granted("a", 100), now);
        assert!(tokens.refused("a", now));
        assert!(tokens.refused("a", now), "those in flight with the same token wait for the new one too");
        assert_eq!(tokens.turn(now), Turn::Fetch);
        tokens.granted(granted("b", 100), now);
        assert!(tokens.refused("a", at(1)), "it came late");
        assert!(!tokens.refused("b", at(1)), "it is not the token");
        assert_eq!(tokens.turn(at(2)), Turn::Use("b".into()));
        assert!(tokens.refused("b", at(10)));
    }

    fn soon() -> Instant {
        Instant::now() + TOKEN_TIMEOUT
    }

    struct Double(AtomicUsize);

    impl TokenFetcher for Arc<Double> {
        fn fetch(&self, request: &WireRequest<'_>, _: Instant) -> Result<(u16, Vec<u8>), SendError> {
            assert_eq!(request.target, "/token?a=b");
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            Ok((200, format!("{{\"access_token\":\"t{number}\",\"expires_in\":3600}}").into_bytes()))
        }
    }

    #[test]
    fn many_threads_share_one_token() {
        let double = Arc::new(Double(AtomicUsize::new(0)));
        let client = ClientCredentials::new(settings(), Box::new(Arc::clone(&double)), Reporter::SILENT);
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| assert_eq!(client.value(soon()).as_deref(), Ok("Bearer t0")));
            }
        });
        assert!(client.renew("Bearer t0", Instant::now()));
        assert_eq!(client.value(soon()).as_deref(), Ok("Bearer t1"));
        assert_eq!(double.0.load(Ordering::SeqCst), 2);
    }
}
