//! Certificates for tests, made by `openssl` when they are needed.

use super::jvm::target;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A certificate authority, its files in a folder of its own; they are gone when this is dropped.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

/// A certificate with its key.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The certificate alone, in PEM.
    pub certificate: PathBuf,
    /// Its key: PKCS #8 in PEM.
    pub key: PathBuf,
    /// Key, certificate and CA in one file, as Kafka's brokers like them.
    pub all: PathBuf,
}

impl Authority {
    /// A new one, known to nobody.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = target().join("certificates").join(format!("{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let authority = Self { folder };
        authority.openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority-{number} \
             -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign"
        ));
        authority
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for these names (`DNS:localhost,IP:127.0.0.1`), valid for a day.
    pub fn issue(&self, name: &str, names: &str) -> Certificate {
        self.issue_until(name, names, "20991231235959Z")
    }

    /// One that was valid until some years ago.
    pub fn issue_expired(&self, name: &str, names: &str) -> Certificate {
        self.issue_until(name, names, "20200102000000Z")
    }

    fn issue_until(&self, name: &str, names: &str, end: &str) -> Certificate {
        fs::write(
            self.folder.join(format!("{name}.cnf")),
            format!(
                "[ca]\ndefault_ca=a\n[a]\ndatabase={name}.index\nnew_certs_dir=.\nrand_serial=yes\ndefault_md=sha256\n\
                 policy=p\nunique_subject=no\nx509_extensions=x\n[p]\ncommonName=supplied\n\
                 [x]\nsubjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n"
            ),
        )
        .unwrap();
        fs::write(self.folder.join(format!("{name}.index")), "").unwrap();
        self.openssl(&format!(
            "req -new -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
        self.openssl(&format!(
            "ca -batch -notext -config {name}.cnf -cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.pem \
             -startdate 20200101000000Z -enddate {end}"
        ));
        let file = |kind: &str| self.folder.join(format!("{name}.{kind}"));
        let parts = [file("key"), file("pem"), self.pem()].map(|part| fs::read_to_string(part).unwrap());
        fs::write(file("all.pem"), parts.concat()).unwrap();
        Certificate { certificate: file("pem"), key: file("key"), all: file("all.pem") }
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(&self.folder)
            .output()
            .expect("openssl runs: ./tests/run installs it");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
