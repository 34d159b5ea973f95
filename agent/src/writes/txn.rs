//! Operations of transactions.

use super::check_uuid;
use lictor_state::{CatalogVerb, CheckOp, NodeOp, ServiceOp, TxnOp};
use lictor_wire::Str;

/// More operations than this are refused.
pub const OPS_MAX: usize = 128;

/// Checks and completes an operation. Nodes are of `datacenter` where they do not say.
///
/// # Errors
/// What is wrong with it.
pub fn operation(op: &mut TxnOp, datacenter: &Str) -> Result<(), String> {
    match op {
        TxnOp::Kv(op) => super::key(op.verb, &op.key),
        TxnOp::KvRead(read) if read.key.is_empty() => Err("Must provide key".to_owned()),
        TxnOp::Node(op) => node(op, datacenter),
        TxnOp::Service(op) => service(op),
        TxnOp::Check(op) => {
            check(op);
            Ok(())
        }
        _ => Ok(()),
    }
}

fn node(op: &mut NodeOp, datacenter: &Str) -> Result<(), String> {
    let node = &mut op.node;
    if op.verb != CatalogVerb::Get {
        if node.node.is_empty() {
            return Err("Must provide node".to_owned());
        }
        if !node.id.is_empty() {
            check_uuid(&node.id).map_err(|e| format!("Bad node ID: {e}"))?;
        }
    }
    if node.datacenter.is_empty() {
        node.datacenter = datacenter.clone();
    }
    Ok(())
}

fn service(op: &mut ServiceOp) -> Result<(), String> {
    let ServiceOp {
        verb,
        node,
        service,
    } = op;
    if *verb != CatalogVerb::Get {
        let faults = crate::mesh::proxy_faults(service);
        if !faults.is_empty() {
            return Err(crate::mesh::fault_list(&faults));
        }
        if service.id.is_empty() {
            service.id = service.service.clone();
        }
        if service.service.is_empty() && !service.id.is_empty() {
            return Err(
                "Must provide service name (Service.Service) when service ID is provided"
                    .to_owned(),
            );
        }
        if matches!(service.address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err("Invalid service address".to_owned());
        }
    }
    if let (CatalogVerb::Set | CatalogVerb::Cas, Some(meta)) = (*verb, &service.meta) {
        crate::registrar::check_meta(meta).map_err(|e| {
            format!(
                "Invalid Service Meta for node {node} and serviceID {}: {e}",
                service.id
            )
        })?;
    }
    Ok(())
}

fn check(op: &mut CheckOp) {
    if op.check.check_id.is_empty() && op.verb != CatalogVerb::Get {
        op.check.check_id = op.check.name.clone();
    }
}
