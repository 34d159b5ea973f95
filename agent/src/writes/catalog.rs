//! Registrations.

use lictor_state::fold;
use lictor_wire::{DeregisterRequest, HealthCheck, RegisterRequest, Str, Weights};

/// Checks and completes a registration.
///
/// # Errors
/// What is wrong with it.
pub fn registration(r: &mut RegisterRequest) -> Result<(), String> {
    r.token = Str::new();
    if r.node.is_empty() {
        return Err("Must provide node".to_owned());
    }
    if r.address.is_empty() && !r.skip_node_update {
        return Err("Must provide address if SkipNodeUpdate is not set".to_owned());
    }
    if !r.id.is_empty() {
        check_uuid(&r.id).map_err(|e| format!("Bad node ID: {e}"))?;
    }
    if let Some(service) = &mut r.service {
        if service.service.is_empty() && !service.id.is_empty() {
            return Err(
                "Must provide service name (Service.Service) when service ID is provided"
                    .to_owned(),
            );
        }
        if service.id.is_empty() {
            service.id = service.service.clone();
        }
        if matches!(service.address.as_str(), "0.0.0.0" | "::" | "[::]") {
            return Err("Invalid service address".to_owned());
        }
        if service.kind == "connect-proxy" {
            let texts = crate::mesh::proxy_faults(service);
            if !texts.is_empty() {
                return Err(crate::mesh::fault_list(&texts));
            }
        }
        if service.weights
            == (Weights {
                passing: 0,
                warning: 0,
            })
        {
            service.weights = Weights::default();
        }
        service.proxy = service
            .proxy
            .take()
            .map(|p| Box::new(crate::mesh::normal_proxy(*p)));
    }
    // A service without a name or id is no service.
    if r.service.as_ref().is_some_and(|s| s.service.is_empty()) {
        r.service = None;
    }
    if let Some(check) = r.check.take() {
        r.checks.push(*check);
    }
    let node = r.node.clone();
    for check in &mut r.checks {
        prepare_check(check, &node)?;
    }
    Ok(())
}

fn prepare_check(check: &mut HealthCheck, node: &Str) -> Result<(), String> {
    if check.check_id.is_empty() {
        check.check_id = check.name.clone();
    }
    if check.node.is_empty() {
        check.node = node.clone();
    }
    if fold(&check.node) != fold(node) {
        return Err(format!(
            "check's node \"{}\" does not match node name \"{node}\" in the registration request",
            check.node
        ));
    }
    Ok(())
}

/// A UUID in the usual form, in the words of Go's library where it is not.
pub fn check_uuid(text: &str) -> Result<(), String> {
    if text.len() != 36 {
        return Err("uuid string is wrong length".to_owned());
    }
    let fits = text.bytes().enumerate().all(|(at, b)| match at {
        8 | 13 | 18 | 23 => b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    if fits {
        Ok(())
    } else {
        Err("uuid is improperly formatted".to_owned())
    }
}

/// Checks and completes a removal.
///
/// # Errors
/// What is wrong with it.
pub fn deregistration(r: &mut DeregisterRequest) -> Result<(), String> {
    if r.node.is_empty() {
        return Err("Must provide node".to_owned());
    }
    r.token = Str::new();
    Ok(())
}
