//! Certificates for tests, made by `openssl` when they are needed.

use super::jvm::target;
use super::output::output;
use super::program::Program;
use std::fs;
use std::path::{Path, PathBuf};
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

    /// One that will be valid in some years.
    pub fn issue_early(&self, name: &str, names: &str) -> Certificate {
        self.issue_between(name, names, "20980101000000Z", "20991231235959Z")
    }

    /// A self-signed one with a key on this curve, as CA or not, and with its names unless there are none.
    pub fn self_signed(&self, name: &str, curve: &str, is_ca: bool, names: &str) -> Certificate {
        let ca = if is_ca { "TRUE" } else { "FALSE" };
        let names = if names.is_empty() { String::new() } else { format!("-addext subjectAltName={names}") };
        self.openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:{curve} -nodes -keyout {name}.key -out {name}.pem -days 2 \
             -subj /CN=localhost -addext basicConstraints=critical,CA:{ca} {names}"
        ));
        self.bundle(name, &self.file(&format!("{name}.pem")))
    }

    /// One of X.509 version 1, which has no extensions.
    pub fn issue_version_1(&self, name: &str) -> Certificate {
        self.request(name);
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2"
        ));
        self.bundle(name, &self.pem())
    }

    /// One that an elliptic CA on this curve has signed with this digest, with the CA's own certificate.
    pub fn issue_elliptic(
        &self,
        name: &str,
        names: &str,
        curve: &str,
        digest: &str,
    ) -> (PathBuf, Certificate) {
        let ca = self.self_signed(&format!("{name}-ca"), curve, true, "");
        self.request(name);
        fs::write(self.file(&format!("{name}.ext")), format!("subjectAltName={names}\n")).unwrap();
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA {name}-ca.pem -CAkey {name}-ca.key -CAcreateserial -out {name}.pem -days 2 \
             -{digest} -extfile {name}.ext"
        ));
        (ca.certificate.clone(), self.bundle(name, &ca.certificate))
    }

    fn request(&self, name: &str) {
        self.openssl(&format!(
            "req -new -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
        ));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn bundle(&self, name: &str, ca: &Path) -> Certificate {
        let file = |kind: &str| self.file(&format!("{name}.{kind}"));
        let parts = [&file("key"), &file("pem"), ca].map(|part| fs::read_to_string(part).unwrap());
        fs::write(file("all.pem"), parts.concat()).unwrap();
        Certificate { certificate: file("pem"), key: file("key"), all: file("all.pem") }
    }

    fn issue_until(&self, name: &str, names: &str, end: &str) -> Certificate {
        self.issue_between(name, names, "20200101000000Z", end)
    }

    fn issue_between(&self, name: &str, names: &str, start: &str, end: &str) -> Certificate {
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
        self.request(name);
        self.openssl(&format!(
            "ca -batch -notext -config {name}.cnf -cert ca.pem -keyfile ca.key -in {name}.csr -out {name}.pem \
             -startdate {start} -enddate {end}"
        ));
        self.bundle(name, &self.pem())
    }

    fn openssl(&self, arguments: &str) {
        let mut openssl = Command::new("openssl");
        let output = output(openssl.args(arguments.split_whitespace()).current_dir(&self.folder));
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// `openssl s_server` with a certificate, for kinds that a server of rustls can't have. It ends when dropped.
pub struct Server {
    _program: Program,
    pub port: u16,
}

impl Server {
    pub fn start(certificate: &Certificate) -> Self {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_server", "-accept", "127.0.0.1:0", "-naccept", "1000"]);
        openssl.arg("-cert").arg(&certificate.certificate).arg("-key").arg(&certificate.key);
        let program = Program::start(openssl);
        let port = program.expect("ACCEPT ").rsplit(':').next().unwrap().parse().unwrap();
        Self { _program: program, port }
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}
