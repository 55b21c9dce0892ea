//! Who may send: bearer tokens, as the `bearertokenauth` extension names them.

use crate::config::ComponentId;
use crate::config::model::{Authentication, BearerTokenAuth, Extension};
use crate::receiver::respond::Error;
use http::{HeaderMap, header};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why nobody could be let in.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// The authenticator is not there, or cannot check anything.
    #[error("auth: {0} is not a bearertokenauth extension")]
    NoAuthenticator(ComponentId),
    /// It has no token.
    #[error("auth: {0} has neither a token nor a file with one")]
    NoToken(ComponentId),
    /// The file with the tokens cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Checks the `authorization` of requests.
pub struct Authenticator {
    scheme: String,
    /// Where the tokens are read anew; else they are fixed.
    file: Option<PathBuf>,
    known: Mutex<Known>,
}

struct Known {
    credentials: Arc<[Vec<u8>]>,
    read_at: Instant,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authenticator").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Authenticator {
    /// What `auth` names among the extensions. A file must be readable from the start.
    pub fn new(
        auth: &Authentication,
        extensions: &BTreeMap<ComponentId, Extension>,
    ) -> Result<Self, AuthError> {
        let id = &auth.authenticator;
        let Some(Extension::BearerTokenAuth(BearerTokenAuth { scheme, token, filename })) =
            extensions.get(id)
        else {
            return Err(AuthError::NoAuthenticator(id.clone()));
        };
        let text = match (filename, token) {
            (Some(path), _) => std::fs::read_to_string(path)
                .map_err(|source| AuthError::File { path: path.clone(), source })?,
            (None, Some(token)) => token.reveal().to_owned(),
            (None, None) => return Err(AuthError::NoToken(id.clone())),
        };
        let credentials = credentials(scheme, &text).ok_or_else(|| AuthError::NoToken(id.clone()))?;
        let known = Mutex::new(Known { credentials, read_at: Instant::now() });
        Ok(Authenticator { scheme: scheme.clone(), file: filename.clone(), known })
    }

    /// An error unless the request carries one of the tokens.
    pub async fn check(&self, headers: &HeaderMap) -> Result<(), Error> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(given), None) = (values.next(), values.next()) else { return Err(Error::Unauthenticated) };
        let given = given.as_bytes();
        // A token that was taken away is noticed after a while, a new one at once.
        let look_after = if self.knows(given) { LOOK_AFTER } else { LOOK_AFTER_UNKNOWN };
        self.read_anew(look_after).await;
        if self.knows(given) { Ok(()) } else { Err(Error::Unauthenticated) }
    }

    fn knows(&self, given: &[u8]) -> bool {
        let credentials = self.known.lock().credentials.clone();
        // All are compared, so that the time does not tell which one comes close.
        credentials.iter().fold(false, |known, credential| known | is_equal(credential, given))
    }

    /// Reads the file again if it has not been looked at for so long; on an error the tokens stay as they are.
    async fn read_anew(&self, look_after: Duration) {
        let Some(path) = &self.file else { return };
        {
            let mut known = self.known.lock();
            if known.read_at.elapsed() < look_after {
                return;
            }
            known.read_at = Instant::now();
        }
        match tokio::fs::read_to_string(path).await.map(|text| credentials(&self.scheme, &text)) {
            Ok(Some(credentials)) => self.known.lock().credentials = credentials,
            Ok(None) => {
                tracing::warn!(path = %path.display(), "no token in the file; the old ones stay in use");
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cannot read the tokens; the old ones stay in use");
            }
        }
    }
}

/// How long known tokens are used without a look at the file.
const LOOK_AFTER: Duration = Duration::from_secs(10);

/// How often unknown tokens make us look at the file at most.
const LOOK_AFTER_UNKNOWN: Duration = Duration::from_secs(1);

/// The values of `authorization` that are let in: one per line, behind the scheme.
fn credentials(scheme: &str, text: &str) -> Option<Arc<[Vec<u8>]>> {
    let tokens = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let credential =
        |token| if scheme.is_empty() { String::from(token) } else { format!("{scheme} {token}") };
    let credentials: Arc<[Vec<u8>]> = tokens.map(|token| credential(token).into_bytes()).collect();
    (!credentials.is_empty()).then_some(credentials)
}

/// Takes as long for every wrong value of the right length.
fn is_equal(credential: &[u8], given: &[u8]) -> bool {
    let differing = credential.iter().zip(given).fold(0, |differing, (a, b)| differing | (a ^ b));
    credential.len() == given.len() && std::hint::black_box(differing) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::Secret;
    use http::HeaderValue;
    use std::io::Write;

    fn authenticator(config: BearerTokenAuth) -> Result<Authenticator, AuthError> {
        let id = ComponentId::new("bearertokenauth");
        let extensions = BTreeMap::from([(id.clone(), Extension::BearerTokenAuth(config))]);
        Authenticator::new(&Authentication { authenticator: id }, &extensions)
    }

    async fn lets_in(authenticator: &Authenticator, values: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        authenticator.check(&headers).await.is_ok()
    }

    #[tokio::test]
    async fn only_the_token_behind_its_scheme_is_let_in() {
        let token = Some(Secret::new("hunter2".to_owned()));
        let authenticator = authenticator(BearerTokenAuth { token, ..BearerTokenAuth::default() }).unwrap();
        assert!(lets_in(&authenticator, &["Bearer hunter2"]).await);
        for wrong in
            [&["Bearer hunter"][..], &["Bearer hunter22"], &["hunter2"], &["Basic hunter2"], &[""], &[]]
        {
            assert!(!lets_in(&authenticator, wrong).await, "{wrong:?}");
        }
        assert!(
            !lets_in(&authenticator, &["Bearer wrong", "Bearer hunter2"]).await,
            "one header, one answer"
        );
        assert!(!format!("{authenticator:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn a_token_that_is_added_to_the_file_is_let_in() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        writeln!(file, "\n first \nsecond").unwrap();
        let filename = Some(file.path().to_owned());
        let authenticator =
            authenticator(BearerTokenAuth { filename, ..BearerTokenAuth::default() }).unwrap();
        assert!(lets_in(&authenticator, &["Bearer first"]).await);
        assert!(lets_in(&authenticator, &["Bearer second"]).await);
        assert!(!lets_in(&authenticator, &["Bearer third"]).await);
        writeln!(file, "third").unwrap();
        let start = Instant::now();
        while !lets_in(&authenticator, &["Bearer third"]).await {
            assert!(start.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    #[test]
    fn an_authenticator_without_a_token_is_refused() {
        let none = authenticator(BearerTokenAuth::default());
        assert!(matches!(none, Err(AuthError::NoToken(_))));
        let empty = tempfile::NamedTempFile::new().unwrap().path().to_owned();
        let filename = Some(empty);
        let missing = authenticator(BearerTokenAuth { filename, ..BearerTokenAuth::default() });
        assert!(matches!(missing, Err(AuthError::File { .. })), "it was deleted already");
        let auth = Authentication { authenticator: ComponentId::new("health_check") };
        assert!(matches!(Authenticator::new(&auth, &BTreeMap::new()), Err(AuthError::NoAuthenticator(_))));
    }
}
