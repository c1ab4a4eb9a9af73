//! Tests of settings that must be refused, and of those that must not.

use std::fs;

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

/// A folder with a self-signed certificate, its key, another key, and files that are neither.
fn folder() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["node".to_owned()]).unwrap().self_signed(&key).unwrap();
    fs::write(dir.path().join("cert.pem"), certificate.pem()).unwrap();
    fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    fs::write(dir.path().join("other.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    fs::write(dir.path().join("damaged.pem"), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
        .unwrap();
    fs::write(dir.path().join("empty.pem"), "").unwrap();
    fs::write(dir.path().join("secret"), "0123456789abcdef\n").unwrap();
    dir
}

/// Settings with these files of the folder; an empty name stands for a flag that is not given.
fn security(dir: &TempDir, cert: &str, key: &str, ca: &str) -> LinkSecurity {
    let file = |name: &str| (!name.is_empty()).then(|| dir.path().join(name));
    LinkSecurity { tls_cert: file(cert), tls_key: file(key), tls_ca: file(ca), ..LinkSecurity::default() }
}

/// Why a program that calls and a program that is called refuse these settings, in this order; `None` if they do not.
fn both(security: &LinkSecurity) -> [Option<String>; 2] {
    [security.channels().err().map(|error| error.to_string()), security.guard().err().map(|error| error.to_string())]
}

#[test]
fn nothing_given_protects_nothing() {
    let guard = LinkSecurity::default().guard().unwrap();
    assert!(!guard.has_tls() && !guard.has_secret());
    LinkSecurity::default().channels().unwrap();
}

#[test]
fn what_belongs_together_is_taken() {
    let dir = folder();
    let security = LinkSecurity {
        tls_server_name: Some("node".to_owned()),
        cluster_secret_file: Some(dir.path().join("secret")),
        ..security(&dir, "cert.pem", "key.pem", "cert.pem")
    };
    assert_eq!(both(&security), [None, None]);
    let guard = security.guard().unwrap();
    assert!(guard.has_tls() && guard.has_secret());
}

#[test]
fn half_of_what_belongs_together_is_refused_by_name() {
    let dir = folder();
    for (cert, key, missing) in [("cert.pem", "", "--tls-key"), ("", "key.pem", "--tls-cert")] {
        for message in both(&security(&dir, cert, key, "")) {
            assert!(message.as_ref().is_some_and(|message| message.contains(missing)), "{message:?}");
        }
    }
    // A caller may have no certificate of its own, and a node may serve without asking callers for one.
    let [caller, node] = both(&security(&dir, "", "", "cert.pem"));
    assert!(caller.is_none() && node.is_some_and(|message| message.contains("--tls-cert")));
    let [caller, node] = both(&security(&dir, "cert.pem", "key.pem", ""));
    assert!(node.is_none() && caller.is_some_and(|message| message.contains("--tls-ca")));
    let named = LinkSecurity { tls_server_name: Some("node".to_owned()), ..LinkSecurity::default() };
    assert!(named.channels().unwrap_err().to_string().contains("--tls-server-name"));
}

#[test]
fn files_that_cannot_be_used_are_refused_by_flag() {
    let dir = folder();
    let cases = [
        (["missing.pem", "key.pem", "cert.pem"], "--tls-cert"),
        (["empty.pem", "key.pem", "cert.pem"], "--tls-cert"),
        (["damaged.pem", "key.pem", "cert.pem"], "--tls-cert"),
        (["key.pem", "key.pem", "cert.pem"], "--tls-cert"),
        (["cert.pem", "missing.pem", "cert.pem"], "--tls-key"),
        (["cert.pem", "cert.pem", "cert.pem"], "--tls-key"),
        (["cert.pem", "other.pem", "cert.pem"], "--tls-key"),
        (["cert.pem", "key.pem", "missing.pem"], "--tls-ca"),
        (["cert.pem", "key.pem", "empty.pem"], "--tls-ca"),
        (["cert.pem", "key.pem", "damaged.pem"], "--tls-ca"),
    ];
    for ([cert, key, ca], flag) in cases {
        for message in both(&security(&dir, cert, key, ca)) {
            let message = message.unwrap_or_else(|| panic!("{cert} {key} {ca} were taken"));
            assert!(message.starts_with(flag), "{cert} {key} {ca}: {message}");
        }
    }
}

#[test]
fn a_name_that_no_certificate_bears_and_two_secrets_are_refused() {
    let dir = folder();
    let named = LinkSecurity { tls_server_name: Some("a b".to_owned()), ..security(&dir, "", "", "cert.pem") };
    assert!(named.channels().unwrap_err().to_string().contains("--tls-server-name"));
    let twice = LinkSecurity {
        cluster_secret_file: Some(dir.path().join("secret")),
        cluster_secret: Some("0123456789abcdef".parse().unwrap()),
        ..LinkSecurity::default()
    };
    for message in both(&twice) {
        assert!(message.is_some_and(|message| message.contains("--cluster-secret-file")));
    }
}
