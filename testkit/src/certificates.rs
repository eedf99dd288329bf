//! Certificates for `localhost`, of an authority of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process;

const DEADLINE: Duration = Duration::from_secs(60);

/// Files, all PEM.
#[derive(Debug)]
pub struct Certificates {
    /// Of whoever signed.
    pub authority: PathBuf,
    /// Of the server.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificates {
    /// New ones, in this folder: `ca.pem`, `server.pem`, `server.key`.
    pub fn make(folder: &Path) -> Result<Certificates> {
        Self::make_for(folder, 2)
    }

    /// The same, of which the server's is good for so many days; -1: it expired yesterday.
    pub fn make_for(folder: &Path, days: i32) -> Result<Certificates> {
        let file = |name: &str| folder.join(name).display().to_string();
        let openssl = |arguments: &[&str]| {
            let mut command = Command::new("openssl");
            command.args(arguments);
            process::run("openssl", command, folder, DEADLINE)
        };
        let (authority, authority_key) = (file("ca.pem"), file("ca.key"));
        let (certificate, key, request) = (file("server.pem"), file("server.key"), file("server.csr"));
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let extended = ["-addext", "basicConstraints=critical,CA:TRUE", "-days", "2"];
        let own = ["req", "-x509", "-subj", "/CN=tests", "-keyout", &authority_key, "-out", &authority];
        openssl(&[&own[..], &new_key, &extended].concat())?;
        let asked = ["req", "-subj", "/CN=localhost", "-keyout", &key, "-out", &request];
        openssl(&[&asked[..], &new_key, &["-addext", "subjectAltName=DNS:localhost"]].concat())?;
        let signed = ["x509", "-req", "-in", &request, "-CA", &authority, "-CAkey", &authority_key];
        let days = days.to_string();
        openssl(
            &[&signed[..], &["-out", &certificate, "-days", &days, "-copy_extensions", "copy"]].concat(),
        )?;
        Ok(Certificates { authority: authority.into(), certificate: certificate.into(), key: key.into() })
    }
}
