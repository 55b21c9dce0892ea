//! TLS, authentication and secrets, which several components share.

use super::ComponentId;
use crate::config::units::duration;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// `tls` of an exporter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClientTls {
    /// No TLS at all.
    pub insecure: bool,
    /// TLS without looking at the certificate.
    pub insecure_skip_verify: bool,
    /// Trusted instead of the system's roots.
    pub ca_file: Option<PathBuf>,
    /// The client's certificate.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The certificate and its key are read anew after this time; none means never.
    #[serde(with = "duration::option")]
    #[schemars(with = "duration::Text")]
    pub reload_interval: Option<Duration>,
    /// The name that the certificate must carry.
    pub server_name_override: Option<String>,
}

/// `tls` of a listener.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ServerTls {
    /// The server's certificate, with the chain up to its root.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// Clients must show a certificate that one of these authorities has signed.
    pub client_ca_file: Option<PathBuf>,
    /// The oldest version that is spoken.
    pub min_version: TlsVersion,
    /// The files are read anew after this time; none means never.
    #[serde(with = "duration::option")]
    #[schemars(with = "duration::Text")]
    pub reload_interval: Option<Duration>,
}

/// `tls.min_version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TlsVersion {
    /// `"1.2"`.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// `"1.3"`.
    #[serde(rename = "1.3")]
    Tls13,
}

/// `auth` of a listener or an exporter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Authentication {
    /// The extension that checks or adds the credentials.
    pub authenticator: ComponentId,
}

/// A value that is never shown: `Debug`, `Display` and serialization hide it.
#[derive(Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(description = "A secret: never shown.")]
pub struct Secret(String);

impl Secret {
    /// What stands where a secret would.
    pub const REDACTED: &'static str = "[REDACTED]";

    /// Hides `value`.
    pub fn new(value: String) -> Self {
        Secret(value)
    }

    /// The value, for the wire only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::REDACTED)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Secret::REDACTED)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Secret::REDACTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_shown_by_nothing_but_reveal() {
        let secret = Secret::new("hunter2".to_owned());
        let shown = [format!("{secret:?}"), secret.to_string(), serde_json::to_string(&secret).unwrap()];
        assert!(shown.iter().all(|text| !text.contains("hunter2")), "{shown:?}");
        assert_eq!(secret.reveal(), "hunter2");
    }
}
