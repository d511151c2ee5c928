//! Making ourselves known: basic authentication, and tokens as the distribution project specifies them.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;

use super::challenge::Challenge;
use super::url::{escaped, with};
use super::{Login, RegistryError, Secret};

/// The longest answer of a token server, in bytes.
const LIMIT: u64 = 1 << 20;

/// What we are to one registry, and the tokens that it gave us.
pub(super) struct Auth {
    pub(super) login: Option<Login>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_basic: bool,
    tokens: HashMap<String, Secret>,
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth").field("login", &self.login).finish_non_exhaustive()
    }
}

/// What a token server answers. Older ones say `token`, OAuth `access_token`.
#[derive(Deserialize)]
struct Given {
    token: Option<String>,
    access_token: Option<String>,
}

/// A request for a token: the URL, the `Authorization` and the form to be posted where there is one.
pub(super) struct TokenRequest {
    pub(super) url: String,
    pub(super) authorization: Option<String>,
    pub(super) form: Option<String>,
}

impl Auth {
    pub(super) fn new(login: Option<Login>) -> Self {
        Self { login, state: Mutex::default() }
    }

    /// The `Authorization` for a request that needs `scope`, as far as we know.
    pub(super) fn header(&self, scope: &str) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.header_of(&state, scope)
    }

    fn header_of(&self, state: &State, scope: &str) -> Option<String> {
        if let Some(token) = state.tokens.get(scope) {
            return Some(format!("Bearer {}", token.reveal()));
        }
        self.login.as_ref().filter(|login| state.is_basic && !login.user.is_empty()).map(Login::basic)
    }

    /// Does what `challenges` ask for, after a request with `used` was turned down; `fetch` sends a request for a token.
    /// `false` where there is nothing that can be done.
    pub(super) fn answer(
        &self,
        challenges: &[Challenge],
        scope: &str,
        used: Option<&str>,
        fetch: impl Fn(TokenRequest) -> Result<Vec<u8>, RegistryError>,
        wrong: impl Fn(&str) -> RegistryError,
    ) -> Result<bool, RegistryError> {
        // Held over the request, so that of many threads one asks.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.header_of(&state, scope);
        if now.is_some() && now.as_deref() != used {
            return Ok(true);
        }
        for challenge in challenges {
            match challenge {
                Challenge::Bearer { realm, service, scope: asked } => {
                    let request = self.request(realm, service.as_deref(), scope, asked.as_deref());
                    let bytes = fetch(request)?;
                    // The parser's words may show the token.
                    let given: Given =
                        serde_json::from_slice(&bytes).map_err(|_| wrong("its answer holds no token"))?;
                    let token = given.token.filter(|token| !token.is_empty()).or(given.access_token);
                    let token = token.filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()));
                    let token = token.ok_or_else(|| wrong("its answer holds no token"))?;
                    state.tokens.insert(scope.into(), Secret::new(token));
                    return Ok(true);
                }
                Challenge::Basic => {
                    let is_new = !state.is_basic && self.login.as_ref().is_some_and(|it| !it.user.is_empty());
                    if is_new {
                        state.is_basic = true;
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    fn request(&self, realm: &str, service: Option<&str>, scope: &str, asked: Option<&str>) -> TokenRequest {
        // A registry behind another's name may ask for the right by its own name.
        let asked = asked.into_iter().flat_map(|asked| asked.split(' ')).filter(|one| !scope.contains(one));
        let scopes: Vec<&str> = scope.split(' ').chain(asked).filter(|one| !one.is_empty()).collect();
        match &self.login {
            Some(login) if login.user.is_empty() => {
                let mut form = format!(
                    "grant_type=refresh_token&client_id=polyarch&refresh_token={}&scope={}",
                    escaped(login.secret.reveal()),
                    escaped(&scopes.join(" "))
                );
                if let Some(service) = service {
                    form.push_str("&service=");
                    form.push_str(&escaped(service));
                }
                TokenRequest { url: realm.into(), authorization: None, form: Some(form) }
            }
            login => {
                let mut url = realm.to_owned();
                if let Some(service) = service {
                    url = with(&url, "service", service);
                }
                for scope in scopes {
                    url = with(&url, "scope", scope);
                }
                TokenRequest { url, authorization: login.as_ref().map(Login::basic), form: None }
            }
        }
    }

    /// The limit of what `fetch` reads.
    pub(super) const fn limit() -> u64 {
        LIMIT
    }

    /// Everything that must not be shown.
    pub(super) fn secrets(&self) -> Vec<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut secrets: Vec<String> = state.tokens.values().map(|token| token.reveal().to_owned()).collect();
        if let Some(login) = &self.login {
            secrets.push(login.secret.reveal().to_owned());
            secrets.push(login.basic().trim_start_matches("Basic ").to_owned());
        }
        secrets
    }
}
