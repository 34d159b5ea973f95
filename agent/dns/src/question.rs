//! A question, read from its packet, and the writing of its reply.

use crate::answer::Ask;
use crate::encode::{EdnsReply, Head, Scratch, TC};
use crate::record::{LONGEST_NAME, Reply, split};
use crate::respond::Transport;
use crate::settings::Settings;
use crate::trim::{self, Limits};
use crate::zone::Zone;
use hickory_proto::rr::rdata::opt::{EdnsCode, EdnsOption};
use hickory_proto::rr::{Name, RecordType};
use hickory_server::server::Request;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A question with all that its answer needs of its packet.
pub(crate) struct Question {
    pub(crate) request: Request,
    pub(crate) kind: RecordType,
    /// Where the domain begins among the labels of the name, if it is in one.
    pub(crate) domain_at: Option<usize>,
    pub(crate) edns: Option<EdnsReply>,
    pub(crate) transport: Transport,
    pub(crate) limits: Limits,
    pub(crate) recursion_available: bool,
    pub(crate) seed: u64,
    pub(crate) now: u32,
}

impl Question {
    pub(crate) fn read(
        request: Request,
        transport: Transport,
        settings: &Settings,
        seed: u64,
    ) -> Option<Question> {
        let [query] = request.queries.queries() else {
            return None;
        };
        // The name is repeated as it came: a pointer in it would point at something else.
        let bytes = request.queries.as_bytes();
        let name = bytes.get(..bytes.len().checked_sub(5)?)?;
        if split(name).map(|label| label.len() + 1).sum::<usize>() != name.len()
            || name.len() >= LONGEST_NAME
        {
            return None;
        }
        let edns = request.edns.as_ref().map(|edns| EdnsReply {
            size: edns
                .max_payload()
                .clamp(trim::PLAIN_UDP as u16, trim::LARGEST_UDP as u16),
            dnssec_ok: edns.flags().dnssec_ok,
            subnet: match edns.option(EdnsCode::Subnet) {
                Some(EdnsOption::Subnet(subnet)) => Some((subnet.addr(), subnet.source_prefix())),
                _ => None,
            },
        });
        let kind = query.query_type();
        Some(Question {
            kind,
            domain_at: None,
            edns,
            transport,
            limits: Limits::of(
                transport,
                kind,
                edns.map(|e| e.size),
                settings.udp_answer_limit,
            ),
            recursion_available: !settings.recursors.is_empty(),
            seed,
            now: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |t| t.as_secs() as u32),
            request,
        })
    }

    /// The labels of the name as it came.
    pub(crate) fn name(&self) -> &[u8] {
        let bytes = self.request.queries.as_bytes();
        bytes
            .get(..bytes.len().saturating_sub(5))
            .unwrap_or_default()
    }

    /// The labels of the domain that answers are below: that of the name, in the case it was
    /// asked in, else the first one.
    pub(crate) fn domain<'a>(&'a self, zone: &'a Zone) -> &'a [u8] {
        self.domain_at
            .and_then(|at| self.name().get(at..))
            .unwrap_or(&zone.domain)
    }

    /// The name in lower case.
    pub(crate) fn lower(&self) -> &Name {
        self.request.queries.queries()[0].name()
    }

    /// Where the client is: its subnet if it says so, else its address.
    pub(crate) fn client(&self) -> IpAddr {
        let subnet = self
            .edns
            .and_then(|e| e.subnet)
            .filter(|(_, prefix)| *prefix > 0);
        subnet.map_or_else(|| self.request.src().ip(), |(ip, _)| ip)
    }

    pub(crate) fn ask<'a>(&'a self, zone: &'a Zone) -> Ask<'a> {
        Ask {
            name: self.name(),
            kind: self.kind,
            domain: self.domain(zone),
            zone,
            now: self.now,
            seed: self.seed,
            most: self.limits.worth_making(),
            edns: self.edns.is_some(),
        }
    }

    pub(crate) fn write(
        &self,
        mut reply: Reply,
        zone: &Zone,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) {
        let settings = &zone.settings;
        let meta = &self.request.metadata;
        let head = Head {
            id: meta.id,
            recursion_desired: meta.recursion_desired,
            recursion_available: self.recursion_available,
            checking_disabled: meta.checking_disabled,
            name: self.name(),
            domain: self.domain(zone),
            kind: self.kind.into(),
            class: self.request.queries.queries()[0].query_class().into(),
            edns: self.edns,
        };
        let at = out.len();
        let cut = trim::write(
            &head,
            &mut reply,
            self.limits,
            !settings.disable_compression,
            scratch,
            out,
        );
        if cut && settings.enable_truncate {
            out[at + 2] |= TC;
        }
    }
}
