//! Requests to one registry: its scheme, redirections, authentication and second tries.

use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use ureq::http::{Method, Request};

use super::answer::Answer;
use super::auth::{Auth, TokenRequest};
use super::challenge::{self, Challenge};
use super::error::is_passing;
use super::options::Proxies;
use super::registries::Place;
use super::url::{is_loopback, origin, resolve, shown};
use super::{Options, RegistryError};

/// How many redirections are followed.
const HOPS: u32 = 10;

/// The longest pause between two tries, unless the registry asks for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One repository in one registry.
#[derive(Debug)]
pub(super) struct Endpoint {
    pub(super) place: Place,
    /// The host that is spoken to, which is not always the one in names.
    host: String,
    agent: ureq::Agent,
    auth: Auth,
    base: OnceLock<String>,
    /// Whether plain HTTP will do.
    may_be_plain: bool,
    pub(super) tries: u32,
    pause: Duration,
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) method: &'static str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'static str, &'a str)],
    pub(super) body: &'a [u8],
    pub(super) scope: &'a str,
    /// Whether it may be sent again when it is not known what the first came to.
    pub(super) is_repeatable: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: &'static str, url: &'a str, scope: &'a str) -> Self {
        Self { method, url, headers: &[], body: &[], scope, is_repeatable: true }
    }
}

impl Endpoint {
    pub(super) fn new(place: Place, options: &Options, is_own: bool) -> Result<Self, RegistryError> {
        let host = if place.host == "docker.io" { "registry-1.docker.io" } else { &place.host }.to_owned();
        let verify = options.tls.verify;
        let is_unchecked = verify == Some(false) || (place.insecure && verify.is_none());
        let tls = options.tls.config(&place.host, is_unchecked)?;
        let login = options.credentials.find(&place, is_own)?;
        let agent = agent_of(tls, &host, options)?;
        Ok(Self {
            may_be_plain: is_unchecked || (verify.is_none() && is_loopback(&host)),
            place,
            host,
            agent,
            auth: Auth::new(login),
            base: OnceLock::new(),
            tries: options.tries.max(1),
            pause: options.pause,
        })
    }

    /// `SCHEME://HOST/v2/REPOSITORY/` and `path`.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}/v2/{}/{path}", self.base(), self.place.repository)
    }

    /// The right to read the repository, as token servers name it.
    pub(super) fn pull(&self) -> String {
        format!("repository:{}:pull", self.place.repository)
    }

    /// `SCHEME://HOST`: HTTPS, but where plain HTTP will do and alone is spoken.
    fn base(&self) -> &str {
        self.base.get_or_init(|| {
            let secure = format!("https://{}", self.host);
            if !self.may_be_plain || self.agent.get(format!("{secure}/v2/")).call().is_ok() {
                return secure;
            }
            let plain = format!("http://{}", self.host);
            // What speaks HTTPS answers plain requests with 400.
            let answers = |status: u16| status != 400;
            match self.agent.get(format!("{plain}/v2/")).call() {
                Ok(response) if answers(response.status().as_u16()) => plain,
                _ => secure,
            }
        })
    }

    /// Sends a request, again where that may help. Gives answers of any status but 401, which is an error.
    pub(super) fn call(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let mut number = 1;
        loop {
            let result = self.once(call);
            let wait = match &result {
                Ok(answer) if answer.status == 429 => answer.wait(),
                Ok(answer) if call.is_repeatable && is_passing(answer.status) => answer.wait(),
                Err(err) if call.is_repeatable && err.may_pass() => None,
                _ => return result,
            };
            if number >= self.tries {
                return result;
            }
            self.rest(number, wait);
            number += 1;
        }
    }

    /// Waits before another try, when `number` went wrong.
    pub(super) fn rest(&self, number: u32, asked: Option<Duration>) {
        let usual = self.pause.saturating_mul(1 << (number - 1).min(16)).min(LONGEST_PAUSE);
        thread::sleep(asked.unwrap_or(usual));
    }

    /// One try: follows redirections and makes us known.
    fn once(&self, call: &Call<'_>) -> Result<Answer, RegistryError> {
        let mut url = call.url.to_owned();
        let mut logins = 0;
        for _ in 0..HOPS {
            // Another host is never told who we are.
            let is_ours = origin(&url) == Some(self.base());
            let authorization = if is_ours { self.auth.header(call.scope) } else { None };
            let answer = self.send(call, &url, authorization.as_deref())?;
            match answer.status {
                401 if is_ours => {
                    logins += 1;
                    let is_new = logins <= 2 && self.log_in(&answer, call.scope, authorization.as_deref())?;
                    if !is_new {
                        return Err(self.refused(answer));
                    }
                }
                301 | 302 | 303 | 307 | 308 if matches!(call.method, "GET" | "HEAD") => {
                    let next = answer.location()?;
                    if url.starts_with("https:") && !next.starts_with("https:") {
                        return Err(answer.wrong("it leads from HTTPS to plain HTTP"));
                    }
                    url = next;
                }
                307 | 308 => url = answer.location()?,
                _ => return Ok(answer),
            }
        }
        Err(RegistryError::Answer { url: shown(call.url), reason: "it leads on and on".into() })
    }

    fn send(&self, call: &Call<'_>, url: &str, authorization: Option<&str>) -> Result<Answer, RegistryError> {
        let failed = |source| RegistryError::Transport {
            method: call.method,
            url: shown(url),
            source: Box::new(source),
        };
        let method = Method::from_bytes(call.method.as_bytes()).unwrap_or_default();
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in call.headers {
            request = request.header(*name, *value);
        }
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = if matches!(call.method, "GET" | "HEAD" | "DELETE") {
            request.body(()).map_err(ureq::Error::Http).and_then(|request| self.agent.run(request))
        } else {
            let request = request.header("content-length", call.body.len());
            request.body(call.body).map_err(ureq::Error::Http).and_then(|request| self.agent.run(request))
        };
        let (parts, body) = response.map_err(failed)?.into_parts();
        Ok(Answer {
            method: call.method,
            url: url.to_owned(),
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        })
    }

    fn log_in(&self, answer: &Answer, scope: &str, used: Option<&str>) -> Result<bool, RegistryError> {
        let headers = answer.headers.get_all("www-authenticate");
        let challenges: Vec<Challenge> =
            headers.iter().filter_map(|header| header.to_str().ok()).flat_map(challenge::parse).collect();
        let wrong = |reason: &str| answer.wrong(reason);
        self.auth.answer(&challenges, scope, used, |request| self.fetch_token(answer, &request), wrong)
    }

    fn fetch_token(&self, answer: &Answer, request: &TokenRequest) -> Result<Vec<u8>, RegistryError> {
        let url = resolve(&answer.url, &request.url);
        let url = url.ok_or_else(|| answer.wrong("it names no place to get a token from"))?;
        let is_known = request.authorization.is_some() || request.form.is_some();
        if is_known && url.starts_with("http:") && !self.base().starts_with("http:") {
            return Err(answer.wrong("it wants our password sent over plain HTTP"));
        }
        let mut number = 1;
        loop {
            let (method, body) = request.form.as_deref().map_or(("GET", ""), |form| ("POST", form));
            let form = [("content-type", "application/x-www-form-urlencoded")];
            let call = Call {
                headers: if method == "POST" { &form } else { &[] },
                body: body.as_bytes(),
                ..Call::new(method, &url, "")
            };
            let result = self.send(&call, &url, request.authorization.as_deref());
            let wait = match result {
                Ok(answer) if answer.status == 200 => return answer.bytes(Auth::limit()),
                Ok(answer) if is_passing(answer.status) && number < self.tries => answer.wait(),
                // A token server that turns us down does so for the registry.
                Ok(answer) if matches!(answer.status, 400 | 401 | 403) => {
                    let secrets = self.auth_secrets_without_lock();
                    return Err(RegistryError::Unauthorized {
                        registry: self.place.host.clone(),
                        told: answer.told(&secrets),
                        known: self.auth.login.is_some(),
                    });
                }
                Ok(answer) => {
                    let (method, url, status) = (answer.method, shown(&answer.url), answer.status);
                    let told = answer.told(&self.auth_secrets_without_lock());
                    return Err(RegistryError::Status { method, url, status, told });
                }
                Err(err) if err.may_pass() && number < self.tries => None,
                Err(err) => return Err(err),
            };
            self.rest(number, wait);
            number += 1;
        }
    }

    /// What a token server may have heard from us; tokens are not among it, and are locked while it is asked.
    fn auth_secrets_without_lock(&self) -> Vec<String> {
        let login = self.auth.login.iter();
        login
            .flat_map(|login| {
                let basic = login.basic();
                [login.secret.reveal().to_owned(), basic.trim_start_matches("Basic ").to_owned()]
            })
            .collect()
    }

    /// The error that an answer tells of.
    pub(super) fn refused(&self, answer: Answer) -> RegistryError {
        let (method, url, status) = (answer.method, shown(&answer.url), answer.status);
        let told = answer.told(&self.auth.secrets());
        match status {
            401 | 403 => RegistryError::Unauthorized {
                registry: self.place.host.clone(),
                told: if told.is_empty() { format!(": it answered {status}") } else { told },
                known: self.auth.login.is_some(),
            },
            _ => RegistryError::Status { method, url, status, told },
        }
    }
}

/// What asks the host of `url`, which is no registry, for files: it follows no redirection, and every status is an answer.
pub(crate) fn agent(url: &str, options: &Options) -> Result<ureq::Agent, RegistryError> {
    let host = origin(url).and_then(|origin| origin.split_once("://")).map(|(_, host)| host);
    let reason = || "it is no address of HTTP, or holds a password".to_owned();
    let host = host.ok_or_else(|| RegistryError::Answer { url: shown(url), reason: reason() })?;
    let tls = options.tls.config(host, options.tls.verify == Some(false))?;
    agent_of(tls, host, options)
}

fn agent_of(tls: ureq::tls::TlsConfig, host: &str, options: &Options) -> Result<ureq::Agent, RegistryError> {
    let patience = Some(options.patience);
    let config = ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(proxy(&options.proxies, host)?)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(patience)
        .timeout_connect(patience)
        .timeout_per_read(patience)
        .timeout_per_write(patience)
        .user_agent(concat!("polyarch/", env!("CARGO_PKG_VERSION")))
        .accept_encoding("identity");
    Ok(config.build().new_agent())
}

/// The proxy to `host`.
fn proxy(proxies: &Proxies, host: &str) -> Result<Option<ureq::Proxy>, RegistryError> {
    if is_loopback(host) {
        return Ok(None);
    }
    let (what, address) = match (&proxies.https, &proxies.http) {
        (Some(address), _) => ("https", address),
        (None, Some(address)) => ("http", address),
        (None, None) => return Ok(None),
    };
    if address.is_empty() || proxies.except.as_deref().is_some_and(|list| is_listed(list, host)) {
        return Ok(None);
    }
    ureq::Proxy::new(address).map(Some).map_err(|_| RegistryError::Proxy { what })
}

/// Whether `no_proxy` names the host, or a domain that it is in.
fn is_listed(list: &str, host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let domain = entry.trim_start_matches("*.").trim_start_matches('.');
        entry == "*"
            || entry == host
            || name == domain
            || name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    })
}
