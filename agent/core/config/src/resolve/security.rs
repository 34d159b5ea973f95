//! ACLs and TLS.

use lictor_wire::duration::go_quote;

use super::Resolver;
use crate::config::{AclConfig, AclTokens, TlsConfig, TlsProtocol};

impl Resolver<'_> {
    pub(super) fn acl(&mut self) -> AclConfig {
        let default_policy = self.one_of("acl.default_policy", &["allow", "deny"]);
        let down_policy = self.one_of(
            "acl.down_policy",
            &["allow", "deny", "extend-cache", "async-cache"],
        );
        AclConfig {
            enabled: self.bool("acl.enabled"),
            default_policy,
            down_policy,
            policy_ttl: self.duration("acl.policy_ttl"),
            role_ttl: self.duration("acl.role_ttl"),
            token_ttl: self.duration("acl.token_ttl"),
            enable_key_list_policy: self.bool("acl.enable_key_list_policy"),
            enable_token_persistence: self.bool("acl.enable_token_persistence"),
            enable_token_replication: self.bool("acl.enable_token_replication"),
            tokens: AclTokens {
                initial_management: self.owned("acl.tokens.initial_management"),
                replication: self.owned("acl.tokens.replication"),
                agent_recovery: self.owned("acl.tokens.agent_recovery"),
                default: self.owned("acl.tokens.default"),
                agent: self.owned("acl.tokens.agent"),
                config_file_service_registration: self
                    .owned("acl.tokens.config_file_service_registration"),
                dns: self.owned("acl.tokens.dns"),
            },
        }
    }

    fn one_of(&mut self, path: &str, names: &[&str]) -> String {
        let text = self.owned(path);
        if !names.contains(&text.as_str()) {
            let place = self.place(path);
            self.error(format!(
                "{path}: invalid value {}; must be one of {}{place}",
                go_quote(&text),
                names.join(", ")
            ));
        }
        text
    }

    pub(super) fn tls(&mut self) -> TlsConfig {
        let defaults = self.tls_protocol("tls.defaults", &TlsProtocol::default());
        let mut internal_rpc = self.tls_protocol("tls.internal_rpc", &defaults);
        internal_rpc.verify_server_hostname = self.bool("tls.internal_rpc.verify_server_hostname");
        // A name that is to be verified needs a certificate that has it.
        internal_rpc.verify_outgoing |= internal_rpc.verify_server_hostname;
        self.rpc_files(&internal_rpc);
        let https = self.tls_protocol("tls.https", &defaults);
        let mut grpc = self.tls_protocol("tls.grpc", &defaults);
        grpc.use_auto_cert = self.bool("tls.grpc.use_auto_cert");
        if https.cert_file.is_empty() != https.key_file.is_empty() {
            let (given, missing) = match https.cert_file.is_empty() {
                true => ("key_file", "cert_file"),
                false => ("cert_file", "key_file"),
            };
            self.error(format!(
                "tls.https.{given} is set, but tls.https.{missing} is not"
            ));
        }
        if https.verify_incoming && https.ca_file.is_empty() && https.ca_path.is_empty() {
            self.error(
                "tls.https.verify_incoming is set, but neither tls.https.ca_file nor tls.https.ca_path is",
            );
        }
        let https_on = self.maybe_int("ports.https").is_some_and(|port| port > 0);
        if https_on && https.cert_file.is_empty() && https.key_file.is_empty() {
            self.warn("ports.https is on, but no certificate is set (tls.https.cert_file, tls.https.key_file): no client can connect to it");
        }
        if self
            .given
            .keys
            .keys()
            .any(|path| path.starts_with("tls.defaults."))
        {
            self.warn(
                "tls.defaults holds for HTTPS and RPC: there is no gRPC in this version of Lictor",
            );
        }
        TlsConfig {
            internal_rpc,
            https,
            grpc,
        }
    }

    /// What verification on the servers' port needs.
    fn rpc_files(&mut self, rpc: &TlsProtocol) {
        const AT: &str = "tls.internal_rpc";
        if rpc.cert_file.is_empty() != rpc.key_file.is_empty() {
            let (given, missing) = match rpc.cert_file.is_empty() {
                true => ("key_file", "cert_file"),
                false => ("cert_file", "key_file"),
            };
            self.error(format!("{AT}.{given} is set, but {AT}.{missing} is not"));
        }
        let no_ca = rpc.ca_file.is_empty() && rpc.ca_path.is_empty();
        let flags = [
            ("verify_incoming", rpc.verify_incoming),
            match rpc.verify_server_hostname {
                // It implies the other.
                true => ("verify_server_hostname", true),
                false => ("verify_outgoing", rpc.verify_outgoing),
            },
        ];
        for (name, _) in flags.iter().filter(|(_, on)| *on && no_ca) {
            self.error(format!(
                "{AT}.{name} is set, but neither {AT}.ca_file nor {AT}.ca_path is"
            ));
        }
        if rpc.verify_incoming && rpc.cert_file.is_empty() {
            self.error(format!(
                "{AT}.verify_incoming is set, but {AT}.cert_file is not: nobody could connect"
            ));
        }
    }

    /// The settings of one protocol; what it does not give is as in `under`.
    fn tls_protocol(&mut self, at: &str, under: &TlsProtocol) -> TlsProtocol {
        let text = |r: &Self, name: &str, under: &str| match r.text(&format!("{at}.{name}")) {
            "" => under.to_string(),
            text => text.to_string(),
        };
        let version = text(self, "tls_min_version", &under.min_version);
        let min_version = match version.as_str() {
            "TLSv1_0" | "TLSv1_1" | "TLSv1_2" | "TLSv1_3" => version,
            // Spellings of earlier releases.
            "tls10" => "TLSv1_0".into(),
            "tls11" => "TLSv1_1".into(),
            "tls12" => "TLSv1_2".into(),
            "tls13" => "TLSv1_3".into(),
            "TLS_AUTO" | "" => "TLSv1_2".into(),
            other => {
                let path = format!("{at}.tls_min_version");
                let place = self.place(&path);
                self.error(format!(
                    "{path}: value {} not supported, please specify one of [TLSv1_0,TLSv1_1,TLSv1_2,TLSv1_3]{place}",
                    go_quote(other)
                ));
                "TLSv1_2".into()
            }
        };
        let suites = text(self, "tls_cipher_suites", &under.cipher_suites.join(","));
        let flag = |r: &Self, name: &str, under: bool| {
            r.maybe_bool(&format!("{at}.{name}")).unwrap_or(under)
        };
        TlsProtocol {
            ca_file: text(self, "ca_file", &under.ca_file),
            ca_path: text(self, "ca_path", &under.ca_path),
            cert_file: text(self, "cert_file", &under.cert_file),
            key_file: text(self, "key_file", &under.key_file),
            min_version,
            cipher_suites: suites
                .split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(String::from)
                .collect(),
            verify_incoming: flag(self, "verify_incoming", under.verify_incoming),
            verify_outgoing: match at {
                // Clients are what calls out, servers of gRPC never do.
                "tls.grpc" => false,
                _ => flag(self, "verify_outgoing", under.verify_outgoing),
            },
            verify_server_hostname: false,
            use_auto_cert: false,
        }
    }
}
