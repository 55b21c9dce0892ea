//! The headers and credentials that the user wants on each request.

use crate::config::model::{Authentication, BearerTokenAuth, ComponentId, Extension, Secret};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Why headers or credentials cannot be used. None of these shows a value.
#[derive(Debug, thiserror::Error)]
pub enum HeaderError {
    /// A name that HTTP does not allow.
    #[error("headers: {0:?} is no header name")]
    Name(String),
    /// A value that HTTP does not allow.
    #[error("headers: the value of {0:?} has characters that a header cannot have")]
    Value(String),
    /// A header that tells the peer how the request is made.
    #[error("headers: {0:?} is set by the exporter itself")]
    Reserved(String),
    /// An extension that gives no credentials, or does not exist.
    #[error("auth: extension {0} gives no credentials to exporters")]
    NoAuthenticator(ComponentId),
    /// Neither a token nor a file.
    #[error("auth: extension {0} has neither a token nor a filename")]
    NoToken(ComponentId),
    /// A token that cannot stand in a header.
    #[error("auth: the token of extension {0} has characters that a header cannot have")]
    Token(ComponentId),
    /// The token's file cannot be read.
    #[error("auth: {}: {source}", path.display())]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The headers of every request: what the user wrote and who we are. Values are marked sensitive.
pub fn template(headers: &BTreeMap<String, Secret>) -> Result<HeaderMap, HeaderError> {
    let mut template = HeaderMap::with_capacity(headers.len().saturating_add(8));
    template.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    for (name, value) in headers {
        let key = HeaderName::try_from(name).map_err(|_| HeaderError::Name(name.clone()))?;
        if is_reserved(&key) {
            return Err(HeaderError::Reserved(name.clone()));
        }
        let mut value =
            HeaderValue::from_str(value.reveal()).map_err(|_| HeaderError::Value(name.clone()))?;
        value.set_sensitive(true);
        template.insert(key, value);
    }
    Ok(template)
}

const USER_AGENT: &str = concat!("refusal-collector/", env!("CARGO_PKG_VERSION"));

fn is_reserved(name: &HeaderName) -> bool {
    let is_framing = [
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        header::TE,
        header::UPGRADE,
    ]
    .contains(name);
    is_framing || name.as_str().starts_with("grpc-")
}

/// The `authorization` of each request.
#[derive(Debug)]
pub enum Credentials {
    /// None, or as the user wrote it under `headers`.
    None,
    /// A token from the configuration.
    Fixed(HeaderValue),
    /// A token from a file that may change.
    File(TokenFile),
}

impl Credentials {
    /// What `auth` names among the extensions. A file must be readable from the start.
    pub fn new(
        auth: Option<&Authentication>,
        extensions: &BTreeMap<ComponentId, Extension>,
    ) -> Result<Self, HeaderError> {
        let Some(Authentication { authenticator: id }) = auth else { return Ok(Credentials::None) };
        let Some(Extension::BearerTokenAuth(auth)) = extensions.get(id) else {
            return Err(HeaderError::NoAuthenticator(id.clone()));
        };
        match auth {
            BearerTokenAuth { filename: Some(path), scheme, .. } => {
                let file = |source| HeaderError::TokenFile { path: path.clone(), source };
                let value = credential(scheme, &std::fs::read_to_string(path).map_err(file)?);
                let value = value.ok_or_else(|| HeaderError::Token(id.clone()))?;
                let current = Mutex::new((Instant::now(), value));
                Ok(Credentials::File(TokenFile { scheme: scheme.clone(), path: path.clone(), current }))
            }
            BearerTokenAuth { token: Some(token), scheme, .. } => credential(scheme, token.reveal())
                .map(Credentials::Fixed)
                .ok_or_else(|| HeaderError::Token(id.clone())),
            _ => Err(HeaderError::NoToken(id.clone())),
        }
    }

    /// The value of `authorization` now.
    pub async fn current(&self) -> Option<HeaderValue> {
        match self {
            Credentials::None => None,
            Credentials::Fixed(value) => Some(value.clone()),
            Credentials::File(file) => Some(file.current().await),
        }
    }
}

/// A file with a token that is read anew when it has not been looked at for ten seconds.
#[derive(Debug)]
pub struct TokenFile {
    scheme: String,
    path: PathBuf,
    current: Mutex<(Instant, HeaderValue)>,
}

impl TokenFile {
    /// The newest token; the last good one as long as the file cannot be read.
    async fn current(&self) -> HeaderValue {
        let is_due = {
            let mut current = self.current.lock();
            let is_due = current.0.elapsed() >= TOKEN_LIFE;
            if is_due {
                current.0 = Instant::now();
            }
            is_due
        };
        if is_due {
            match tokio::fs::read_to_string(&self.path).await {
                Ok(content) => match credential(&self.scheme, &content) {
                    Some(value) => self.current.lock().1 = value,
                    None => {
                        tracing::warn!(path = %self.path.display(), "the token file holds no token; the old one stays in use");
                    }
                },
                Err(error) => {
                    tracing::warn!(path = %self.path.display(), %error, "cannot read the token file; the old token stays in use");
                }
            }
        }
        self.current.lock().1.clone()
    }
}

/// How long a token from a file is used without looking.
const TOKEN_LIFE: Duration = Duration::from_secs(10);

/// The scheme and the first line that is not empty.
fn credential(scheme: &str, content: &str) -> Option<HeaderValue> {
    let token = content.lines().map(str::trim).find(|line| !line.is_empty())?;
    let credential = if scheme.is_empty() { token.to_owned() } else { format!("{scheme} {token}") };
    let mut value = HeaderValue::try_from(credential).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &str, value: &str) -> Result<HeaderMap, HeaderError> {
        template(&BTreeMap::from([(name.to_owned(), Secret::new(value.to_owned()))]))
    }

    #[test]
    fn the_users_headers_are_sent_and_never_shown() {
        let template = headers("X-Api-Key", "hunter2").unwrap();
        assert_eq!(template["x-api-key"], "hunter2");
        assert!(!format!("{template:?}").contains("hunter2"));
        assert!(template["user-agent"].to_str().unwrap().starts_with("refusal-collector/"));
        assert_eq!(headers("user-agent", "mine").unwrap()["user-agent"], "mine");
    }

    #[test]
    fn headers_that_cannot_be_sent_are_refused_without_their_values() {
        for (name, value) in [
            ("a b", "hunter2"),
            ("x", "hunter2\n"),
            ("Content-Type", "hunter2"),
            ("grpc-timeout", "hunter2"),
            ("te", "hunter2"),
        ] {
            let error = headers(name, value).unwrap_err().to_string();
            assert!(error.contains(name) && !error.contains("hunter2"), "{error}");
        }
    }

    fn bearer(auth: BearerTokenAuth) -> Result<Credentials, HeaderError> {
        let id = ComponentId::new("bearertokenauth");
        let extensions = BTreeMap::from([(id.clone(), Extension::BearerTokenAuth(auth))]);
        Credentials::new(Some(&Authentication { authenticator: id }), &extensions)
    }

    #[tokio::test]
    async fn a_token_comes_from_the_configuration_or_from_a_file() {
        let token = Some(Secret::new("abc".into()));
        let fixed = bearer(BearerTokenAuth { token, ..BearerTokenAuth::default() }).unwrap();
        assert_eq!(fixed.current().await.unwrap(), "Bearer abc");

        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "\n one \ntwo\n").unwrap();
        let auth = BearerTokenAuth { filename: Some(path.clone()), ..BearerTokenAuth::default() };
        let Ok(Credentials::File(file)) = bearer(auth.clone()) else { panic!() };
        assert_eq!(file.current().await, "Bearer one");
        std::fs::write(&path, "three").unwrap();
        file.current.lock().0 -= TOKEN_LIFE;
        assert_eq!(file.current().await, "Bearer three");
        std::fs::remove_file(&path).unwrap();
        file.current.lock().0 -= TOKEN_LIFE;
        assert_eq!(file.current().await, "Bearer three");
        assert!(matches!(bearer(auth), Err(HeaderError::TokenFile { .. })));
    }

    #[test]
    fn an_authenticator_must_have_something_to_show() {
        assert!(matches!(bearer(BearerTokenAuth::default()), Err(HeaderError::NoToken(_))));
        let auth = Authentication { authenticator: ComponentId::new("health_check") };
        let error = Credentials::new(Some(&auth), &BTreeMap::new()).unwrap_err();
        assert!(matches!(error, HeaderError::NoAuthenticator(_)));
    }
}
