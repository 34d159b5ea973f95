//! Keys that are known but not served: enterprise, mesh, not yet, old names.

use crate::given::{Given, Item, Origin};
use crate::keys::{Key, Kind, Schema, Support};

use super::{Resolver, listed};

/// Refuses or warns, key by key.
pub(super) fn check(r: &mut Resolver<'_>) {
    let mut mesh = Vec::new();
    look(r, r.given, Schema::agent(), "", &mut mesh);
    if !mesh.is_empty() {
        mesh.sort_unstable();
        mesh.dedup();
        r.warn(format!(
            "The service mesh is not part of Lictor; these keys have no effect: {}",
            mesh.join(", ")
        ));
    }
}

fn look(r: &mut Resolver<'_>, given: &Given, schema: &Schema, path: &str, mesh: &mut Vec<String>) {
    for (name, set) in &given.keys {
        let Some(key) = schema.key(name) else {
            continue;
        };
        let path = if path.is_empty() {
            (*name).to_string()
        } else {
            format!("{path}.{name}")
        };
        key_support(r, key, &set.item, &set.origin, &path, mesh);
        let inner: Option<fn() -> &'static Schema> = match key.kind {
            Kind::Object(schema) | Kind::Objects(schema) => Some(schema),
            _ => None,
        };
        if let (Some(schema), Item::Objects(objects)) = (inner, &set.item) {
            for object in objects {
                look(r, object, schema(), &path, mesh);
            }
        }
    }
}

fn key_support(
    r: &mut Resolver<'_>,
    key: &Key,
    item: &Item,
    origin: &Origin,
    path: &str,
    mesh: &mut Vec<String>,
) {
    match key.support {
        Support::Enterprise if !item.is_zero() => r.error(format!(
            "\"{path}\" is a Consul Enterprise configuration and will have no effect (at {origin})"
        )),
        Support::NotYet(accepted) if !listed(item, key.kind, accepted) => r.error(format!(
            "config key \"{path}\" is not supported by this version of Lictor (at {origin})"
        )),
        // Only the block's name: it is accepted whole.
        Support::Mesh => mesh.push(path.to_string()),
        Support::NoEffect(reason) if !item.is_zero() && !quiet(key) => {
            r.warn(format!("The '{path}' field has no effect: {reason}."));
        }
        _ => {}
    }
}

/// Keys whose lack of effect is what everyone expects anyway.
fn quiet(key: &Key) -> bool {
    matches!(
        key.path,
        "disable_update_check" | "disable_anonymous_signature"
    )
}
